"""What a bounce mailbox tells normalise, what it may suppress, and what a user's hook can do."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from streams.bounces import Form, Kind, Mailbox, Refusal, Report, load_hook, read_mail
from streams.bounces.configured import readers_of
from streams.core.event import BounceType, Reason, ReasonKind
from streams.core.receipt import ReceiptKind
from streams.providers.base import Reading, Sighting
from streams.settings import SettingsError, load_settings
from tests.bounces.compose import KEY, Origin, feedback, group, report

PAYLOADS = Path(__file__).parent.parent / "payloads" / "bounces"
NOW_MS = 1_800_000_000_000
ANN = Origin("ann@example.net", 2)
BOUNCE = report(ANN.path, group(ANN.recipient, "failed", "5.1.1", "smtp; 550 5.1.1 unknown"), returned=ANN.headers())


def told(raw: bytes | str, mailbox: Mailbox | None = None) -> tuple[Sighting, ...]:
    reading = (mailbox or Mailbox("returns")).read_events(raw if isinstance(raw, bytes) else raw.encode(), NOW_MS)
    assert isinstance(reading, Reading)
    return reading.sightings


def test_a_bounce_is_a_sighting_of_our_message_and_attempt() -> None:
    (seen,) = told(BOUNCE, Mailbox("returns", "relay"))
    assert (seen.kind, seen.message_id, seen.attempt) == (ReceiptKind.BOUNCED, ANN.id, 2)
    assert (seen.bounce_type, seen.suppress, seen.recipient) == (BounceType.HARD, True, ANN.recipient)
    assert seen.reason == Reason(ReasonKind.BAD_MAILBOX, "550", "5.1.1", "550 5.1.1 unknown")
    assert (seen.provider, seen.occurred_ms) == ("relay", 1_767_225_600_000)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("failed", ReceiptKind.BOUNCED),
        ("delayed", ReceiptKind.DEFERRED),
        ("delivered", ReceiptKind.DELIVERED),
        ("relayed", None),
        ("expanded", None),
        ("nonsense", None),
    ],
)
def test_only_what_became_of_a_message_is_told(action: str, kind: ReceiptKind | None) -> None:
    raw = report(ANN.path, group(ANN.recipient, action, "" if action == "nonsense" else "4.0.0"))
    assert [seen.kind for seen in told(raw)] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("word", "kind", "suppress"),
    [
        ("abuse", ReceiptKind.COMPLAINED, True),
        ("opt-out", ReceiptKind.UNSUBSCRIBED, True),
        ("not-spam", None, False),
        ("fraud", None, False),
    ],
)
def test_complaints_and_wishes_to_leave_are_told_and_suppress(
    word: str, kind: ReceiptKind | None, suppress: bool
) -> None:
    raw = feedback("fbl@example.com", f"Feedback-Type: {word}\nVersion: 1\nUser-Agent: x\n", ANN.headers())
    assert [(seen.kind, seen.suppress) for seen in told(raw)] == ([(kind, suppress)] if kind else [])


def test_words_that_nobody_knows_are_counted() -> None:
    reading = Mailbox("returns").read_events(report(ANN.path, group("a@b.example", "boiled", "")).encode(), NOW_MS)
    assert isinstance(reading, Reading) and reading.unknown_words == ("action:boiled",)
    reading = Mailbox("returns").read_events(b"Subject: hello\n\nhow are you?", NOW_MS)
    assert reading == Reading((), ("mail:unrecognised",))


def test_the_same_end_told_twice_is_one_fact_and_every_delay_is_one_of_its_own() -> None:
    other = BOUNCE.replace("dsn-1@mx", "dsn-2@mx").replace("DATE", "x")
    assert told(BOUNCE)[0].sighting_id == told(other)[0].sighting_id
    delay = report(ANN.path, group(ANN.recipient, "delayed", "4.4.1"))
    ids = {told(mail)[0].sighting_id for mail in (delay, delay, delay.replace("dsn-1@mx", "dsn-2@mx"))}
    assert len(ids) == 2


def test_attempts_are_told_apart() -> None:
    first = Origin(ANN.recipient, 1)
    assert (
        told(BOUNCE)[0].sighting_id
        != told(BOUNCE.replace(ANN.path, first.path).replace(ANN.header, first.header))[0].sighting_id
    )


def test_without_our_id_the_providers_is_looked_up_if_the_provider_is_known() -> None:
    raw = report("bounces@example.com", group("a@b.example", "failed", "5.1.1"), returned=ANN.headers(with_id=False))
    (seen,) = told(raw, Mailbox("returns", "relay"))
    assert (seen.message_id, seen.provider_message_id) == ("", "20260101.0001@relay.example")
    (seen,) = told(raw)
    assert (seen.message_id, seen.provider_message_id) == ("", "")


def test_the_id_of_ses_is_what_its_api_answered() -> None:
    returned = "Message-ID: <0102018f-abcd-000000@eu-west-1.amazonses.com>\nTo: a@b.example\n"
    raw = report("bounces@example.com", group("a@b.example", "failed", "5.1.1"), returned=returned)
    assert told(raw, Mailbox("returns", "ses"))[0].provider_message_id == "0102018f-abcd-000000"


@pytest.mark.parametrize(
    ("keys", "suppress"), [((), True), ((KEY,), True), ((b"another", KEY), True), ((b"another",), False)]
)
def test_with_keys_only_a_signed_bounce_suppresses(keys: tuple[bytes, ...], suppress: bool) -> None:
    (seen,) = told(BOUNCE, Mailbox("returns", keys=keys))
    assert (seen.kind, seen.suppress) == (ReceiptKind.BOUNCED, suppress)


def test_a_made_up_return_path_suppresses_nobody_where_there_are_keys() -> None:
    forged = BOUNCE.replace(ANN.path, f"b+{ANN.id}.2@bounces.example.com").replace(
        ANN.header, f"<{ANN.id}.2@x.example>"
    )
    (seen,) = told(forged, Mailbox("returns", keys=(KEY,)))
    assert (seen.message_id, seen.suppress) == (ANN.id, False)


def test_a_complaint_suppresses_even_unsigned() -> None:
    returned = f"X-Streams-Message-Id: {ANN.id}.2\n"
    raw = feedback("fbl@example.com", "Feedback-Type: abuse\nVersion: 1\nUser-Agent: x\n", returned)
    assert told(raw, Mailbox("returns", keys=(KEY,)))[0].suppress


def test_a_signed_id_further_down_is_believed_before_a_made_up_one() -> None:
    stranger = Origin("bob@example.net", 1)
    raw = BOUNCE.replace(f"To: {ANN.path}", f"To: b+{stranger.id}.1@bounces.example.com", 1)
    assert read_mail(raw.encode(), [KEY]).message_id == ANN.id


# ---------------------------------------------------------------------------------------------- hooks


def soften(raw: bytes, report: Report) -> Report | None:
    if b"unknown" not in raw:
        return None
    return replace(
        report, verdicts=tuple(replace(v, bounce_type=BounceType.SOFT, suppress=False) for v in report.verdicts)
    )


def test_a_hook_has_the_last_word() -> None:
    (seen,) = told(BOUNCE, Mailbox("returns", hook=soften))
    assert (seen.bounce_type, seen.suppress) == (BounceType.SOFT, False)


def test_a_hook_that_returns_none_leaves_the_verdict() -> None:
    assert told(BOUNCE, Mailbox("returns", hook=lambda raw, report: None)) == told(BOUNCE)


def test_a_hook_may_make_a_verdict_where_there_was_none() -> None:
    def judge(raw: bytes, report: Report) -> Report:
        assert report.form is Form.OTHER
        return replace(report, verdicts=(replace(read_mail(BOUNCE.encode()).verdicts[0], kind=Kind.FAILED),))

    note = f"To: {ANN.path}\nSubject: unser Server sagt nein\n\nnein"
    (seen,) = told(note, Mailbox("returns", hook=judge))
    assert (seen.message_id, seen.kind) == (ANN.id, ReceiptKind.BOUNCED)


def broken(raw: bytes, report: Report) -> Report:
    raise RuntimeError("a bug\nof the user's")


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (broken, "returns: the hook failed, the built-in verdict stands: RuntimeError: a bug of the user's"),
        (lambda raw, report: "hard", "returns: the hook must return a Report or None, not str"),
    ],
)
def test_a_hook_that_fails_is_one_log_line_and_the_verdict_stands(
    hook: Callable[..., object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert told(BOUNCE, Mailbox("returns", hook=hook)) == told(BOUNCE)  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records] == [said]


def test_a_hook_is_found_by_its_dotted_path(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shop_bounces")
    module.judge = soften  # type: ignore[attr-defined]
    module.number = 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_bounces", module)
    assert load_hook("shop_bounces:judge") is soften
    assert load_hook("") is None
    for wrong, why in [
        ("shop_bounces", "must be package.module:function"),
        ("shop_bounces:jugde", "has no function jugde"),
        ("shop_bounces:number", "has no function number"),
        ("not_there_at_all:judge", "not_there_at_all cannot be imported: ModuleNotFoundError"),
        ("os; print(1):x", "must be package.module:function"),
    ]:
        with pytest.raises(Refusal, match=why):
            load_hook(wrong)


# ---------------------------------------------------------------------------------------------- configuration

BOX = {
    "STREAMS_KAFKA__BOOTSTRAP": "broker:9092",
    "STREAMS_MAILBOXES__RETURNS__HOST": "imap.example.com",
    "STREAMS_MAILBOXES__RETURNS__USER": "bounces@example.com",
    "STREAMS_MAILBOXES__RETURNS__PASSWORD": "env:BOX",
    "BOX": "secret-word",
}


def test_a_configured_mailbox_is_a_reader_of_bounces() -> None:
    env = BOX | {"STREAMS_MAILBOXES__RETURNS__VERP_SECRETS": "env:NEW,env:OLD", "NEW": "n", "OLD": "o"}
    reader = readers_of(load_settings(None, env))["returns"]
    assert (reader.name, reader.type, reader.keys, reader.hook) == ("returns", "bounces", (b"n", b"o"), None)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"HOOK": "nothing"}, r"hook: must be package\.module:function"),
        ({"PROVIDER": "relay"}, "provider names relay, which is not configured"),
        ({"MOVE_TO": "INBOX"}, "move_to must be another folder"),
        ({"AFTER": "burn"}, "after"),
        ({"TLS": "none"}, "tls"),
        ({"PASSWORD": "secret-word"}, "password"),
    ],
)
def test_a_mailbox_that_cannot_work_is_refused_in_one_line(more: dict[str, str], why: str) -> None:
    env = BOX | {f"STREAMS_MAILBOXES__RETURNS__{key}": value for key, value in more.items()}
    with pytest.raises(SettingsError, match=why) as failure:
        readers_of(load_settings(None, env))
    assert "\n" not in str(failure.value)
    assert "secret-word" not in str(failure.value)
