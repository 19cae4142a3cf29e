"""The internal encoding keeps everything, forgives other versions and survives any bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.command import Cancel, Retry, Settle
from streams.core.event import Automated, BounceType, Reason, ReasonKind
from streams.core.message import Attachment, Content, Mailbox, Message, RecordRef, Role, Stream, Template
from streams.core.receipt import Facts, Receipt, ReceiptKind
from streams.serde.internal import Malformed, pack, packer, register, unpack, unpacker

CONTENT = Content(
    sender=Mailbox("shop@example.com", "Shop"),
    template=Template("welcome", "3", "Hello {{ name }}", text="…"),
    headers=(("X-One", "1"),),
    attachments=(Attachment("a.pdf", "application/pdf", b"\x00\xff"),),
    track_opens=True,
)
MESSAGE = Message(
    message_id="m",
    tenant="acme",
    stream=Stream.BULK,
    idempotency_key="k",
    recipient=Mailbox("zoë@bücher.example", "Zoë"),
    content_hash="h",
    fingerprint="f",
    requested_ms=1,
    accepted_ms=2,
    content=CONTENT,
    content_ref=RecordRef("contents", 1, 1 << 40),
    role=Role.BCC,
    data={"list": [1, 2.5, None, {"x": "y"}], "raw": "ß"},
    metadata={"a": "b"},
)
RECEIPT = Receipt(
    "m",
    ReceiptKind.BOUNCED,
    "r",
    1_760_000_000_000,
    reason=Reason(ReasonKind.BAD_MAILBOX, "550", "5.1.1", "no such user"),
    bounce_type=BounceType.HARD,
    automated=Automated.SCANNER,
    facts=Facts("acme", "bulk", "k", "a@example.com", 5, ("t",), {"x": "y"}),
)


@pytest.mark.parametrize(
    "record",
    [CONTENT, MESSAGE, RECEIPT, Retry("m", 1, "ann", True), Cancel("m", "ann"), Settle("m", 1, "p", 5)],
    ids=lambda record: type(record).__name__,
)
def test_every_record_comes_back_as_it_was_written(record: object) -> None:
    assert unpack(pack(record)) == record


def test_kind_bytes_are_stable() -> None:
    kinds = {type(r).__name__: pack(r)[0] for r in (MESSAGE, CONTENT, RECEIPT, Retry("m", 1), Cancel("m", ""))}
    assert kinds == {"Message": 1, "Content": 2, "Receipt": 3, "Retry": 4, "Cancel": 5}
    assert pack(Settle("m", 1, "", 0))[0] == 6


@dataclass(frozen=True, slots=True)
class OldRow:
    state: str
    gone: int = 0


@dataclass(frozen=True, slots=True)
class NewRow:
    state: str
    added: tuple[str, ...] = ()
    more: dict[str, str] = field(default_factory=dict)


def test_a_row_can_be_read_by_the_version_before_and_after() -> None:
    assert unpacker(NewRow)(packer(OldRow)(OldRow("sent", 7))) == NewRow("sent")
    assert unpacker(OldRow)(packer(NewRow)(NewRow("sent", ("x",)))) == OldRow("sent")


def test_registering_twice_is_harmless_and_contradictions_are_refused() -> None:
    register(0x7A, OldRow)
    register(0x7A, OldRow)
    assert unpack(pack(OldRow("x"))) == OldRow("x")
    for kind, cls in (
        (0x7A, NewRow),
        (0x79, OldRow),
        (0x7B, NewRow),
        (0, NewRow),
        (0xC3, NewRow),
        (256, NewRow),
    ):
        with pytest.raises(ValueError):
            register(kind, cls)


def test_an_unregistered_class_is_a_bug() -> None:
    with pytest.raises(KeyError):
        pack(object())


@pytest.mark.parametrize("data", [b"", b"\x00x", b"\xff", b"\x03", b"\x03\x93\x01", b"\x03" + b"\x91" * 5000])
def test_unreadable_bytes_are_a_value(data: bytes) -> None:
    assert isinstance(unpack(data), Malformed)


def test_a_wrong_type_is_malformed_and_names_the_field() -> None:
    found = unpack(b"\x04" + msgspec.msgpack.encode({"message_id": "m", "expected_attempt": "one"}))
    assert isinstance(found, Malformed)
    assert "expected_attempt" in found.detail


@given(st.integers(0, 8), st.binary(max_size=200))
def test_no_bytes_make_unpack_raise(kind: int, body: bytes) -> None:
    unpack(bytes((kind,)) + body)
    unpacker(Receipt)(body)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3),
        ),
        max_size=3,
    )
)
def test_personal_data_survives_whatever_json_it_is(data: dict[str, Any]) -> None:
    message = Message("m", "t", Stream.BULK, "k", Mailbox("a@b.c"), "h", "f", 1, 2, data=data)
    assert unpack(pack(message)) == message
