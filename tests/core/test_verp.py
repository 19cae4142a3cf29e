"""Return paths that say which attempt came back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.ids import message_id, recipient_key
from streams.core.verp import Trace, message_id_header, parse, return_path, trace

OURS = message_id("shop", "order-1", recipient_key("shop", "ann@example.com"))
KEY, OLD_KEY = b"a key of 32 bytes or whatever", b"the one before"


def test_a_return_path_gives_its_message_and_attempt_back() -> None:
    assert parse(return_path("bounces.example.com", OURS, 3)) == (OURS, 3)
    assert return_path("bounces.example.com", OURS, 3) == f"b+{OURS}.3@bounces.example.com"


def test_a_mailbox_with_sub_addressing_keeps_its_name() -> None:
    assert return_path("back@example.com", OURS, 1, KEY).startswith(f"back+{OURS}.1.")


@given(attempt=st.integers(1, 9_999), idempotency_key=st.text(max_size=50), key=st.binary(max_size=80))
def test_every_return_path_is_lower_case_and_at_most_64_octets(attempt: int, idempotency_key: str, key: bytes) -> None:
    ours = message_id("shop", idempotency_key, recipient_key("shop", "ann@example.com"))
    address = return_path("bounces.example.com", ours, attempt, key)
    assert address == address.lower()
    assert len(address.rpartition("@")[0]) <= 64
    assert parse(address.upper()) == (ours, attempt)


@pytest.mark.parametrize(
    "rewritten",
    [
        "{local}@bounces.example.com",
        "<{local}@bounces.example.com>",
        "prvs=1234abcdef={local}@bounces.example.com",
        "SRS0=HHH=TT=bounces.example.com={local}@forwarder.example",
        "rfc822; {local}@bounces.example.com",
    ],
)
def test_what_forwarders_do_to_a_return_path_does_not_hide_it(rewritten: str) -> None:
    local = return_path("bounces.example.com", OURS, 2, KEY).partition("@")[0]
    assert trace(rewritten.format(local=local), [KEY]) == Trace(OURS, 2, signed=True)


def test_a_host_that_drops_the_plus_part_in_front_still_leaves_the_id() -> None:
    assert parse(f"{OURS}.2@bounces.example.com") == (OURS, 2)


def test_a_former_key_still_verifies_and_a_strange_one_does_not() -> None:
    address = return_path("bounces.example.com", OURS, 1, OLD_KEY)
    assert trace(address, [KEY, OLD_KEY]) == Trace(OURS, 1, signed=True)
    assert trace(address, [KEY]) == Trace(OURS, 1, signed=False)
    assert trace(return_path("bounces.example.com", OURS, 1), [KEY]) == Trace(OURS, 1, signed=False)


def test_a_mac_belongs_to_one_attempt_of_one_message() -> None:
    mac = return_path("d.example", OURS, 1, KEY).rpartition("@")[0].rpartition(".")[2]
    assert trace(f"b+{OURS}.2.{mac}@d.example", [KEY]) == Trace(OURS, 2, signed=False)


def test_a_signed_token_is_preferred_to_the_one_in_front_of_it() -> None:
    text = f"b+{OURS}.7@x.example {return_path('d.example', OURS, 1, KEY)}"
    assert trace(text, [KEY]) == Trace(OURS, 1, signed=True)


def test_a_message_id_header_is_read_the_same_way() -> None:
    header = message_id_header("example.com", OURS, 4, KEY)
    assert header.startswith(f"<{OURS}.4.")
    assert trace(f"References: <other@x> {header}", [KEY]) == Trace(OURS, 4, signed=True)


@pytest.mark.parametrize(
    "address", ["", "@", "ann@example.com", f"b+{OURS}@x", f"b+{OURS}.0@x", f"b+x{OURS}.1@x", f"b+{OURS}.12345@x"]
)
def test_other_addresses_are_not_ours(address: str) -> None:
    assert parse(address) is None


@pytest.mark.parametrize(("ours", "attempt"), [("no-id", 1), (OURS, 0), (OURS, 10_000), (OURS.upper(), 1)])
def test_no_return_path_is_made_of_something_else(ours: str, attempt: int) -> None:
    with pytest.raises(ValueError, match=r"message ids|attempt"):
        return_path("d.example", ours, attempt)


def test_a_local_part_that_hosts_may_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        return_path("our-bounce-mailbox@example.com", OURS, 1, KEY)


@given(st.text())
def test_any_text_is_read_without_fault(text: str) -> None:
    trace(text, [KEY])
