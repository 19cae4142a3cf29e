"""Troubles are gathered to digests: each once, in groups, frozen before they are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.alert_mail import alert_request, subject_of, text_of
from streams.core.alerts import (
    ALERTS_TENANT,
    MAX_EXAMPLES,
    MAX_GROUPS,
    AlertRow,
    Trouble,
    TroubleKind,
    due_ms,
    frozen,
    gathered,
    kind_of,
    told,
    total,
    trouble_of,
)
from streams.core.event import Reason, ReasonKind, Status
from streams.core.message import Mailbox
from streams.core.receipt import ReceiptKind
from streams.core.request import SendRequest, read_request
from streams.serde.public import decode_request, encode_request
from tests.core.receipts import NOW_MS, facts, receipt

K, S, R = ReceiptKind, Status, ReasonKind
PASSWORD = Reason(R.CREDENTIALS, "535", "5.7.8", "no such\r\nuser")


def trouble(offset: int = 0, *, partition: int = 0, number: int = 0, **more: object) -> Trouble:
    fields: dict[str, object] = {
        "kind": TroubleKind.GIVEN_UP,
        "tenant": "acme",
        "message_id": f"m{number or offset}",
        "idempotency_key": "k",
        "domain": "example.com",
        "provider": "relay",
        "reason": R.CREDENTIALS,
        "detail": "535 no such user",
        "occurred_ms": NOW_MS + offset,
        "partition": partition,
        "offset": offset,
    }
    return Trouble(**(fields | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "status", "reason", "expected"),
    [
        (K.FAILED, S.FAILED, PASSWORD, TroubleKind.GIVEN_UP),
        (K.EXPIRED, S.EXPIRED, Reason(R.EXPIRED), TroubleKind.TOO_LATE),
        (K.UNCERTAIN_FINAL, S.UNCERTAIN, Reason(R.UNCERTAIN), TroubleKind.UNDECIDED),
        (K.RETRY, S.DEFERRED, PASSWORD, TroubleKind.ACCOUNT),
        (K.RETRY, S.DEFERRED, Reason(R.ACCOUNT), TroubleKind.ACCOUNT),
        (K.RETRY, S.DEFERRED, Reason(R.THROTTLED), None),
        (K.FAILED, S.DELIVERED, PASSWORD, None),
        (K.UNCERTAIN, S.UNCERTAIN, Reason(R.UNCERTAIN), None),
        (K.REJECTED, S.REJECTED, Reason(R.BAD_MAILBOX), None),
        (K.BOUNCED, S.BOUNCED, Reason(R.BAD_MAILBOX), None),
        (K.SENT, S.SENT, None, None),
    ],
)
def test_a_trouble_is_what_was_given_up_or_waits_for_a_person(
    kind: ReceiptKind, status: Status, reason: Reason | None, expected: TroubleKind | None
) -> None:
    assert kind_of(receipt(kind, 1, reason=reason), status) is expected


def test_an_alert_is_never_a_trouble_of_its_own() -> None:
    from dataclasses import replace

    failed = receipt(K.FAILED, 1, reason=PASSWORD)
    assert trouble_of(failed, facts(), S.FAILED, 0, 0) is not None
    assert trouble_of(failed, replace(facts(), tenant=ALERTS_TENANT), S.FAILED, 0, 0) is None


def test_a_trouble_says_neither_the_address_nor_more_than_a_line() -> None:
    words = Reason(R.CREDENTIALS, "535", "5.7.8", "no such\r\nuser <ann.b+c@example.com>")
    found = trouble_of(receipt(K.FAILED, 1, reason=words), facts(), S.FAILED, 3, 7)
    assert found is not None
    assert (found.domain, found.detail) == ("example.com", "535 5.7.8 no such user <…@example.com>")
    assert (found.partition, found.offset) == (3, 7)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), max_size=12))
def test_whatever_is_repeated_from_where_a_crash_began_counts_once(crashes: list[tuple[int, int]]) -> None:
    """Each partition's troubles come in its order; after a crash its emitter begins again somewhere before."""
    row = AlertRow("acme")
    at = dict.fromkeys(range(3), 0)
    for partition, back in crashes:
        at[partition] = max(0, at[partition] - back)
        for _ in range(back + 1):
            row = gathered(row, trouble(at[partition], partition=partition))
            at[partition] += 1
    assert total(row.open) == sum(at.values())


def test_troubles_of_one_cause_are_one_group_with_a_few_examples() -> None:
    row = AlertRow("acme")
    for offset in range(10):
        row = gathered(row, trouble(offset))
    row = gathered(row, trouble(10, reason=R.MAILBOX_FULL))
    (passwords, full) = row.open.groups
    assert (passwords.count, len(passwords.examples), full.count) == (10, MAX_EXAMPLES, 1)
    assert (row.open.first_ms, row.open.last_ms) == (NOW_MS, NOW_MS + 10)


def test_a_digest_stays_small_whatever_happens() -> None:
    row = AlertRow("acme")
    for offset, reason in enumerate(list(ReasonKind) * 3):
        row = gathered(row, trouble(offset, reason=reason))
    assert len(row.open.groups) == MAX_GROUPS
    assert total(row.open) == 3 * len(ReasonKind)


def test_the_first_is_due_at_once_and_the_next_after_the_interval() -> None:
    row = AlertRow("acme")
    assert due_ms(row, 60_000) is None
    row = gathered(row, trouble(0))
    assert due_ms(row, 60_000) == 0
    row = frozen(row, NOW_MS)
    assert due_ms(row, 60_000) == 0, "what is frozen has to be told, again if need be"
    assert told(row, 7) is row, "another alert is not this one"
    row = told(row, 1)
    assert due_ms(row, 60_000) is None
    row = gathered(row, trouble(1))
    assert due_ms(row, 60_000) == NOW_MS + 60_000
    assert (row.number, total(row.open)) == (1, 1)


def test_an_account_that_is_still_refused_is_news_only_after_hours_unless_something_else_happens() -> None:
    hour_ms = 3_600_000
    row = told(frozen(gathered(AlertRow("acme"), trouble(0, kind=TroubleKind.ACCOUNT)), NOW_MS), 1)
    row = gathered(row, trouble(1, kind=TroubleKind.ACCOUNT))
    assert due_ms(row, 60_000) == NOW_MS + 6 * hour_ms
    assert due_ms(gathered(row, trouble(2, kind=TroubleKind.ACCOUNT, provider="ses")), 60_000) == NOW_MS + 60_000
    assert due_ms(gathered(row, trouble(2)), 60_000) == NOW_MS + 60_000, "messages given up are news"
    other = gathered(AlertRow("acme", told_ms=1, accounts=row.accounts), trouble(3, reason=R.NETWORK))
    over = told(frozen(other, NOW_MS), 1)
    again = gathered(over, trouble(4, kind=TroubleKind.ACCOUNT))
    assert due_ms(again, 60_000) == NOW_MS + 60_000, "it was well in between"


def digest_of(*troubles: Trouble) -> AlertRow:
    row = AlertRow("acme")
    for one in troubles:
        row = gathered(row, one)
    return frozen(row, NOW_MS)


def test_the_mail_says_what_happened_what_to_do_and_which_commands_do_it() -> None:
    row = digest_of(
        trouble(0),
        trouble(1),
        trouble(2, kind=TroubleKind.TOO_LATE, reason=R.EXPIRED, provider=""),
        trouble(3, kind=TroubleKind.UNDECIDED, reason=R.UNCERTAIN),
        trouble(4, kind=TroubleKind.ACCOUNT),
    )
    assert row.frozen is not None
    assert subject_of("acme", row.frozen) == (
        "acme: 3 messages given up, 1 message to be decided by a person, an account is refused"
    )
    text = text_of("acme", row.frozen, 15)
    assert "2 messages given up after all tries (last tried at relay): the provider refused the account's user" in text
    assert "What to do: correct the credentials" in text
    assert "streams retry --all --tenant acme --status failed --reason credentials" in text
    assert "streams failures --tenant acme --since 2027-01-15T08:00:00Z" in text
    assert "- m0, key k, to somebody at example.com" in text
    assert "1 message not sent: its time had passed" in text
    assert "within the next 15 minutes" in text


def test_the_request_is_valid_and_the_same_whenever_it_is_made() -> None:
    row = digest_of(trouble(0))
    assert row.frozen is not None
    make = lambda: alert_request("acme", row.frozen, Mailbox("a@example.com", "Mail"), "ops@acme.example")  # type: ignore[arg-type]  # noqa: E731
    assert encode_request(make()) == encode_request(make())
    decoded = decode_request(encode_request(make()))
    assert isinstance(decoded, dict)
    request = read_request(decoded)
    assert isinstance(request, SendRequest)
    assert (request.tenant, request.stream, request.headers) == (
        ALERTS_TENANT,
        "transactional",
        (("Auto-Submitted", "auto-generated"),),
    )
    assert request.idempotency_key == f"alert:acme:1:{NOW_MS}"
    assert request.expires_at_ms == NOW_MS + 86_400_000
