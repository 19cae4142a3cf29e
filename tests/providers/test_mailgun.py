"""Mailgun: a batch becomes one request, an answer one outcome per recipient, a webhook is judged by its signature."""

from __future__ import annotations

import dataclasses
import gzip
import hmac
import json
from email import message_from_bytes
from email.message import Message as Mime
from email.policy import HTTP
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.event import ReasonKind
from streams.core.message import Attachment, Mailbox
from streams.core.outcome import Accepted, AttemptResult, Deferred, Rejected, Scope, Split, Uncertain
from streams.providers.base import (
    Batch,
    CannotTell,
    Entry,
    Found,
    HttpRequest,
    HttpResponse,
    Inbound,
    ListName,
    NoResponse,
    NotFound,
    Provider,
    Question,
    Refused,
    Slot,
    Verified,
)
from streams.providers.mailgun import Config, Mailgun, create
from streams.providers.mailgun.request import _quote

PAYLOADS = Path(__file__).parent.parent / "payloads" / "mailgun"
ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklm"
NOW = 1_700_000_100_000
KEY = "key-example-signing-0001"
CONFIG = Config("mg.example.com", "key-1", signing_keys=(KEY,))
K = ReasonKind


def mailgun(**changes: Any) -> Mailgun:
    return create("mg", dataclasses.replace(CONFIG, **changes))


def entry(number: int = 0, **variables: str) -> Entry:
    return Entry(f"{ID}{'abcdefghij'[number]}", 1, Mailbox(f"user{number}@example.net"), variables)


def batch(*entries: Entry, **parts: Any) -> Batch:
    parts = {"subject": ("Hello",), "text": ("Hi",), **parts}
    return Batch(Mailbox("a@mg.example.com", "Shop"), entries or (entry(),), **parts)


def fields(request: HttpRequest) -> dict[str, list[str]]:
    content_type = dict(request.headers)["content-type"]
    if content_type.startswith("application/x-www-form-urlencoded"):
        return parse_qs(request.body.decode("ascii"), strict_parsing=True, keep_blank_values=True)
    result: dict[str, list[str]] = {}
    for part in parts(request):
        name = part.get_param("name", header="content-disposition")
        result.setdefault(str(name), []).append(str(part.get_payload(decode=True), "utf-8", "replace"))
    return result


def parts(request: HttpRequest) -> list[Mime]:
    head = f"Content-Type: {dict(request.headers)['content-type']}\r\n\r\n".encode()
    form = message_from_bytes(head + request.body, policy=HTTP)
    return list(form.iter_parts())  # type: ignore[attr-defined]


def test_it_is_a_provider() -> None:
    provider: Provider = mailgun()
    assert (provider.name, provider.type, provider.can_find) == ("mg", "mailgun", True)
    assert provider.limits.max_recipients == 1000
    assert provider.visibility_delay_s == 1800


class TestRequest:
    def test_a_single_send_is_a_form_with_our_id_and_a_message_id(self) -> None:
        request = mailgun().build_request(batch(entry(0, name="Ann"), subject=("Hi ", Slot("name"))), NOW)
        assert (request.method, request.url) == ("POST", "https://api.mailgun.net/v3/mg.example.com/messages")
        assert dict(request.headers)["authorization"] == "Basic YXBpOmtleS0x"
        assert fields(request) == {
            "to": ["user0@example.net"],
            "from": ['"Shop" <a@mg.example.com>'],
            "subject": ["Hi Ann"],
            "text": ["Hi"],
            "h:Message-Id": [f"<{ID}a@mg.example.com>"],
            "v:message_id": [f"{ID}a"],
            "v:attempt": ["1"],
        }

    def test_a_batch_hides_its_recipients_from_each_other_and_fills_slots_per_recipient(self) -> None:
        entries = (entry(0, name="Ann"), dataclasses.replace(entry(1, name="Jörg & Söhne"), attempt=3), entry(2))
        sent = fields(mailgun().build_request(batch(*entries, html=("<p>", Slot("name"), "</p>")), NOW))
        assert sent["to"] == ["user0@example.net", "user1@example.net", "user2@example.net"]
        assert sent["html"] == ["<p>%recipient.x_name%</p>"]
        assert sent["v:message_id"] == ["%recipient.message_id%"]
        assert sent["v:attempt"] == ["%recipient.attempt%"]
        assert "h:Message-Id" not in sent
        assert json.loads(sent["recipient-variables"][0]) == {
            "user0@example.net": {"message_id": f"{ID}a", "attempt": "1", "x_name": "Ann"},
            "user1@example.net": {"message_id": f"{ID}b", "attempt": "3", "x_name": "Jörg & Söhne"},
            "user2@example.net": {"message_id": f"{ID}c", "attempt": "1", "x_name": ""},
        }

    def test_options_come_from_the_message_before_the_configuration(self) -> None:
        provider = mailgun(track_opens=True, track_clicks=False, require_tls=True, test_mode=True)
        sent = fields(provider.build_request(batch(track_clicks=True), NOW))
        assert sent["o:tracking-opens"] == sent["o:tracking-clicks"] == sent["o:tracking"] == ["yes"]
        assert (sent["o:require-tls"], sent["o:testmode"]) == (["true"], ["yes"])
        off = fields(mailgun().build_request(batch(track_opens=False, track_clicks=False), NOW))
        assert off["o:tracking"] == ["no"]

    def test_at_most_three_tags_of_128_ascii_characters_are_sent(self) -> None:
        sent = fields(mailgun().build_request(batch(tags=("a" * 200, "ü", "b", "b", "c", "d")), NOW))
        assert sent["o:tag"] == ["a" * 128, "b", "c"]

    def test_headers_cannot_be_injected_nor_reserved_ones_set(self) -> None:
        headers = (
            ("List-Unsubscribe", "<https://x>"),
            ("X-A", "1\r\nBcc: evil@example.org"),
            ("Bcc", "x"),
            ("X B", "y"),
        )
        sent = fields(mailgun().build_request(batch(headers=headers, subject=("a\r\nBcc: e@example.org",)), NOW))
        assert sent["h:List-Unsubscribe"] == ["<https://x>"]
        assert sent["h:X-A"] == ["1 Bcc: evil@example.org"]
        assert sent["subject"] == ["a Bcc: e@example.org"]
        assert not {"h:Bcc", "h:X B"} & sent.keys()

    def test_an_address_cannot_bring_another_recipient(self) -> None:
        hostile = Entry(f"{ID}a", 1, Mailbox("a@example.net>, <evil@example.org", 'x" <evil@example.org>, "'))
        sent = fields(mailgun().build_request(batch(hostile), NOW))
        assert sent["to"] == [r'"x\" <evil@example.org>, \"" <a_example.net____evil@example.org>']

    def test_a_domain_beyond_ascii_is_sent_as_a_label(self) -> None:
        request = mailgun().build_request(batch(Entry(f"{ID}a", 1, Mailbox("a@exämple.net"))), NOW)
        assert fields(request)["to"] == ["a@xn--exmple-cua.net"]

    def test_files_travel_in_a_multipart_form(self) -> None:
        files = (
            Attachment("r\u00e9sum\u00e9.pdf", "application/pdf", b"%PDF\r\n--=_streams_form\r\n\x00"),
            Attachment("logo.png", "image/png", b"png", content_id="logo"),
        )
        request = mailgun().build_request(batch(html=("<img src='cid:logo'>",), attachments=files), NOW)
        found = {part.get_param("name", header="content-disposition"): part for part in parts(request)}
        assert found["attachment"].get_payload(decode=True) == files[0].data
        assert found["inline"].get_filename() == "logo"
        assert fields(request)["v:message_id"] == [f"{ID}a"]

    def test_a_finished_message_goes_out_byte_by_byte(self) -> None:
        request = mailgun().build_request(batch(mime=b"Subject: x\r\n\r\n\xffbody"), NOW)
        assert request.url.endswith("/messages.mime")
        message = next(p for p in parts(request) if p.get_param("name", header="content-disposition") == "message")
        assert message.get_filename() == "message.mime"
        assert message.get_payload(decode=True) == b"Subject: x\r\n\r\n\xffbody"
        assert set(fields(request)) == {"to", "message", "v:message_id", "v:attempt"}

    def test_a_copy_shows_the_visible_recipients_and_goes_to_the_envelope_recipient(self) -> None:
        request = mailgun().build_request(batch(visible_to=(Mailbox("boss@example.net", "Boss"),)), NOW)
        assert request.url.endswith("/messages.mime")
        assert fields(request)["to"] == ["user0@example.net"]
        assert b"\r\nTo: Boss <boss@example.net>\r\n" in request.body

    def test_a_request_may_be_compressed(self) -> None:
        plain, small = (mailgun(gzip=g).build_request(batch(), NOW) for g in (False, True))
        assert dict(small.headers)["content-encoding"] == "gzip"
        assert gzip.decompress(small.body) == plain.body

    @given(st.text())
    def test_any_text_survives_the_form(self, text: str) -> None:
        written = text.encode("utf-8", "replace").decode()
        assert parse_qsl("k=" + _quote(text).decode("ascii"), keep_blank_values=True) == [("k", written)]


class TestFits:
    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"text": ("use %recipient.x_name% here",)}, "content"),
            ({"subject": ("%recipient%",)}, "content"),
            ({"text": (Slot("name"), "recipient.message_id%")}, "content"),
            ({"headers": (("X-A", "%recipient.a%"),)}, "content"),
            ({"mime": b"x"}, "finished"),
            ({"visible_to": (Mailbox("b@example.net"),)}, "visible"),
            ({"visible_cc": (Mailbox("b@example.net"),)}, "visible"),
        ],
    )
    def test_what_mailgun_would_interpret_goes_one_by_one(self, changes: dict[str, Any], word: str) -> None:
        assert word in mailgun().fits(batch(entry(0), entry(1), **changes))
        assert mailgun().fits(batch(entry(0), **changes)) == ""

    def test_a_personal_value_cannot_ask_for_another_recipients_data(self) -> None:
        assert "personal" in mailgun().fits(batch(entry(0), entry(1, name="%recipient.message_id%")))

    def test_a_plain_batch_fits_up_to_a_thousand(self) -> None:
        many = tuple(Entry(f"{ID}a", 1, Mailbox(f"u{n}@example.net"), {"name": "x"}) for n in range(1001))
        assert mailgun().fits(batch(*many[:1000], text=("Hi ", Slot("name"), " 100%"))) == ""
        assert "1000" in mailgun().fits(batch(*many))


def answer(status: int, body: object, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw)


def outcome(status: int, body: object, **headers: str) -> Any:
    result = mailgun().read_response(batch(), answer(status, body, **headers), NOW)
    assert isinstance(result, tuple)
    assert len(result) == 1
    return result[0]


QUEUED = {"id": "<20260101.1.A@mg.example.com>", "message": "Queued. Thank you."}
LIMIT = {
    "message": "Domain mg.example.com is not allowed to send: account-requests-per-sec limit exceeded, try again after 120 seconds"
}


class TestResponse:
    def test_an_acceptance_gives_everybody_the_id_without_brackets(self) -> None:
        result = mailgun().read_response(batch(entry(0), entry(1)), answer(200, QUEUED), NOW)
        assert result == (Accepted("20260101.1.A@mg.example.com"),) * 2

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            {},
            [],
            {"id": "", "message": "Queued."},
            {"id": "<x@y>", "message": "Stored."},
            {"message": "Queued."},
        ],
        ids=str,
    )
    def test_a_200_that_proves_nothing_is_uncertain(self, body: object) -> None:
        assert isinstance(outcome(200, body), Uncertain)

    def test_the_greeting_of_a_wrong_path_holds_the_account(self) -> None:
        held = outcome(200, b"Mailgun Magnificent API")
        assert (held.reason.kind, held.scope) == (K.CONFIGURATION, Scope.ACCOUNT)

    @pytest.mark.parametrize(
        ("status", "body", "kind"),
        [
            (401, b"Forbidden", K.CREDENTIALS),
            (402, {"message": "payment required"}, K.ACCOUNT),
            (403, {"message": "Domain x is not allowed to send: disabled"}, K.ACCOUNT),
            (404, {"message": "domain not found"}, K.CONFIGURATION),
            (302, b"", K.CONFIGURATION),
        ],
    )
    def test_what_every_message_would_meet_holds_the_account(self, status: int, body: object, kind: K) -> None:
        held = outcome(status, body)
        assert isinstance(held, Deferred)
        assert (held.reason.kind, held.scope, held.result) == (kind, Scope.ACCOUNT, AttemptResult.AUTH)

    @pytest.mark.parametrize(
        ("status", "body", "headers", "wait_s"),
        [
            (429, LIMIT, {}, 120.0),
            (403, LIMIT, {}, 120.0),
            (420, {"message": "recipient limit exceeded, try again after Tue, 14 Nov 2023 23:15:00 GMT"}, {}, 3600.0),
            (420, {"message": "recipient limit exceeded, try again after Tue, 14 Nov 2000 23:15:00 GMT"}, {}, 0.0),
            (429, {"message": "try again after 99999999 seconds"}, {}, None),
            (429, {"message": "try again after 9999999 seconds"}, {}, 86_400.0),
            (429, b"slow down", {"retry_after": "7"}, 7.0),
            (429, b"slow down", {"retry_after": "Tue, 14 Nov 2023 22:16:00 GMT"}, 20.0 - 20.0 + 20.0),
            (429, b"slow down", {"retry_after": "soon"}, None),
            (429, b"", {}, None),
        ],
    )
    def test_a_throttle_pauses_the_lane_for_as_long_as_it_says(
        self, status: int, body: object, headers: dict[str, str], wait_s: float | None
    ) -> None:
        now_ms = 1_700_000_100_000  # 22:15:00
        result = mailgun().read_response(batch(), answer(status, body, **headers), now_ms)
        assert isinstance(result, tuple)
        paused = result[0]
        assert isinstance(paused, Deferred)
        assert (paused.scope, paused.result) == (Scope.LANE, AttemptResult.THROTTLED)
        assert paused.retry_after_s == (60.0 if "22:16" in headers.get("retry_after", "") else wait_s)

    @pytest.mark.parametrize(
        ("status", "words", "kind", "scope"),
        [
            (
                400,
                "'to' parameter is not a valid address. please check documentation",
                K.INVALID_ADDRESS,
                Scope.RECIPIENT,
            ),
            (400, "'from' parameter is not a valid address. please check", K.INVALID_REQUEST, Scope.MESSAGE),
            (400, "Need at least one of 'text' or 'html' parameters specified", K.INVALID_REQUEST, Scope.MESSAGE),
            (400, "something else", K.INVALID_REQUEST, Scope.MESSAGE),
            (
                403,
                "Free accounts are for test purposes only. Please add u@example.net to the authorized recipients",
                K.ACCOUNT,
                Scope.RECIPIENT,
            ),
            (413, "too big", K.MESSAGE_TOO_LARGE, Scope.MESSAGE),
            (422, "odd", K.INVALID_REQUEST, Scope.MESSAGE),
        ],
    )
    def test_a_refusal_names_whose_fault_it_is(self, status: int, words: str, kind: K, scope: Scope) -> None:
        refused = outcome(status, {"message": words})
        assert isinstance(refused, Rejected)
        assert (refused.reason.kind, refused.scope, refused.reason.detail) == (kind, scope, words)

    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_a_refused_batch_is_split_to_find_the_one_at_fault(self, status: int) -> None:
        refused = answer(status, {"message": "'to' parameter is not a valid address"})
        assert isinstance(mailgun().read_response(batch(entry(0), entry(1)), refused, NOW), Split)

    def test_a_fault_that_all_share_is_not_split(self) -> None:
        refused = answer(400, {"message": "'from' parameter is not a valid address"})
        result = mailgun().read_response(batch(entry(0), entry(1)), refused, NOW)
        assert isinstance(result, tuple)
        assert all(isinstance(one, Rejected) for one in result)

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 202, 204, 101])
    def test_an_answer_that_proves_no_refusal_is_uncertain(self, status: int) -> None:
        assert isinstance(outcome(status, {"message": "oops"}), Uncertain)

    def test_without_a_connection_nothing_was_taken(self) -> None:
        result = mailgun().read_response(batch(), NoResponse(sent=False, detail="refused"), NOW)
        assert isinstance(result, tuple)
        assert isinstance(result[0], Deferred)
        assert (result[0].scope, result[0].result) == (Scope.PROVIDER, AttemptResult.CONNECT_ERROR)

    @pytest.mark.parametrize(("timeout", "kind"), [(True, K.TIMEOUT), (False, K.NETWORK)])
    def test_without_an_answer_nobody_knows(self, timeout: bool, kind: K) -> None:
        silence = NoResponse(sent=True, detail="lost", timeout=timeout)
        result = mailgun().read_response(batch(entry(0), entry(1)), silence, NOW)
        assert isinstance(result, tuple)
        assert [type(one) for one in result] == [Uncertain] * 2
        assert result[0].reason.kind is kind  # type: ignore[union-attr]

    @given(st.integers(100, 599), st.binary(max_size=100), st.integers(1, 3))
    def test_any_answer_gives_one_outcome_per_entry_or_a_split(self, status: int, body: bytes, size: int) -> None:
        many = batch(*(entry(n) for n in range(size)))
        result = mailgun().read_response(many, HttpResponse(status, {}, body), NOW)
        assert isinstance(result, Split) if not isinstance(result, tuple) else len(result) == size
        assert size > 1 or not isinstance(result, Split)


def signed(timestamp: int | str = 1_700_000_000, key: str = KEY, **more: str) -> dict[str, object]:
    token = "t" * 50
    mac = hmac.new(key.encode(), f"{timestamp}{token}".encode(), sha256).hexdigest()
    return {"timestamp": timestamp, "token": token, "signature": mac, **more}


def verify(signature: object, provider: Mailgun | None = None, now_ms: int = NOW) -> object:
    body = json.dumps({"signature": signature, "event-data": {}}).encode()
    return (provider or mailgun()).verify(Inbound({}, body), now_ms)


class TestVerify:
    def test_the_published_vector_is_authentic(self) -> None:
        verdict = mailgun().verify(Inbound({}, (PAYLOADS / "delivered.json").read_bytes()), NOW)
        assert isinstance(verdict, Verified)
        assert verdict.token == verdict.key == "0123456789abcdef0123456789abcdef0123456789abcdef01"

    def test_the_timestamp_may_be_text_or_a_number(self) -> None:
        assert isinstance(verify(signed(1_700_000_000)), Verified)
        assert isinstance(verify(signed("1700000000")), Verified)

    def test_any_of_two_keys_is_good_while_one_is_rotated(self) -> None:
        provider = mailgun(signing_keys=("new", KEY))
        assert isinstance(verify(signed(key="new"), provider), Verified)
        assert isinstance(verify(signed(), provider), Verified)

    def test_a_subaccount_may_prove_itself_by_its_parents_key(self) -> None:
        parent = str(signed()["signature"])
        assert isinstance(verify(signed(key="subaccount", **{"parent-signature": parent})), Verified)

    @pytest.mark.parametrize("keys", [(), ("",), ("other",)])
    def test_a_signature_no_key_fits_is_refused(self, keys: tuple[str, ...]) -> None:
        forged = signed(key=keys[0] if keys and keys[0] != "other" else "")
        verdict = verify(forged, mailgun(signing_keys=keys))
        assert isinstance(verdict, Refused)
        assert verdict.result == "bad_signature"

    @pytest.mark.parametrize("age_s", [25 * 3600, -6 * 60])
    def test_a_signature_outside_its_window_is_stale(self, age_s: int) -> None:
        verdict = verify(signed(), now_ms=1_700_000_000_000 + age_s * 1000)
        assert isinstance(verdict, Refused)
        assert verdict.result == "stale"

    @pytest.mark.parametrize("age_s", [8 * 3600, 23 * 3600, -4 * 60])
    def test_a_late_repeat_is_still_authentic(self, age_s: int) -> None:
        assert isinstance(verify(signed(), now_ms=1_700_000_000_000 + age_s * 1000), Verified)

    @pytest.mark.parametrize(
        "signature",
        [
            None,
            [],
            {},
            {**signed(), "token": ""},
            {**signed(), "token": "a b"},
            {**signed(), "token": "ü"},
            {**signed(), "timestamp": ""},
            {**signed(), "timestamp": 1.5},
            {**signed(), "timestamp": "\u0661"},
            {**signed(), "signature": str(signed()["signature"]).upper()},
            {**signed(), "signature": "é" * 64},
            {**signed(), "signature": True},
        ],
        ids=str,
    )
    def test_a_block_of_the_wrong_shape_is_malformed(self, signature: object) -> None:
        verdict = verify(signature)
        assert isinstance(verdict, Refused)
        assert verdict.result == "malformed"

    def test_of_a_repeated_signature_one_alone_is_judged_and_its_token_handed_on(self) -> None:
        good, other = json.dumps(signed()), json.dumps({**signed(), "token": "x"})
        behind = mailgun().verify(Inbound({}, f'{{"signature": {other}, "signature": {good}}}'.encode()), NOW)
        assert isinstance(behind, Verified)
        assert behind.token == "t" * 50
        before = f'{{"signature": {good}, "signature": {other}}}'.encode()
        assert isinstance(mailgun().verify(Inbound({}, before), NOW), Refused)

    def test_in_a_legacy_form_the_last_signature_fields_count(self) -> None:
        good = signed()
        shadowed = urlencode([("token", "shadow"), ("timestamp", "1"), ("signature", "x"), *good.items()])
        assert isinstance(mailgun().verify(Inbound({}, shadowed.encode()), NOW), Verified)
        forged = urlencode([*good.items(), ("token", "shadow")])
        assert isinstance(mailgun().verify(Inbound({}, forged.encode()), NOW), Refused)

    @pytest.mark.parametrize("name", ["legacy_bounced.form", "failed_permanent.json", "opened.json"])
    def test_the_payloads_are_authentic(self, name: str) -> None:
        assert isinstance(mailgun().verify(Inbound({}, (PAYLOADS / name).read_bytes()), NOW), Verified)

    @given(st.binary(max_size=200))
    def test_any_bytes_are_refused_without_an_exception(self, body: bytes) -> None:
        assert isinstance(mailgun().verify(Inbound({}, body), NOW), Refused)
        assert isinstance(mailgun().verify(Inbound({}, b'{"signature":' + body), NOW), Refused)


QUESTION = Question(f"{ID}a", 2, "user0@example.net", NOW - 60_000)


def event(message_id: str, attempt: object) -> dict[str, object]:
    return {
        "event": "accepted",
        "timestamp": 1_700_000_041.5,
        "user-variables": {"message_id": message_id, "attempt": attempt},
        "message": {"headers": {"message-id": "x@mg.example.com"}},
    }


def page(*items: object, url: str = "https://api.mailgun.net/v3/mg.example.com/events/next") -> HttpResponse:
    return answer(200, {"items": items, "paging": {"next": url}})


class Script:
    """An exchange that plays answers in order and remembers what it was asked; the last one repeats."""

    def __init__(self, *answers: HttpResponse | NoResponse) -> None:
        self.answers = list(answers)
        self.asked: list[HttpRequest] = []

    async def __call__(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        self.asked.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class TestFind:
    async def test_an_attempt_is_found_by_our_own_id(self) -> None:
        script = Script(page(event("other", "2"), event(f"{ID}a", "1")), page(event(f"{ID}a", "2")))
        found = await mailgun().find(QUESTION, script, NOW)
        assert found == Found("x@mg.example.com", 1_700_000_041_500)
        first = urlsplit(script.asked[0].url)
        query = parse_qs(first.query)
        assert query["recipient"] == ["user0@example.net"]
        assert int(query["begin"][0]) * 1000 < QUESTION.sent_ms
        assert script.asked[1].url == "https://api.mailgun.net/v3/mg.example.com/events/next"

    async def test_events_may_be_read_with_a_key_of_their_own(self) -> None:
        script = Script(page())
        await mailgun(events_key="reader").find(QUESTION, script, NOW)
        assert dict(script.asked[0].headers)["authorization"] == "Basic YXBpOnJlYWRlcg=="

    async def test_only_a_complete_search_proves_absence(self) -> None:
        assert await mailgun().find(QUESTION, Script(page(event("other", "2")), page()), NOW) == NotFound()

    @pytest.mark.parametrize(
        "answers",
        [
            (NoResponse(sent=True, detail="timeout"),),
            (answer(401, b"Forbidden"),),
            (answer(500, {}),),
            (answer(200, b"<html>"),),
            (answer(200, {"message": "?"}),),
            (page(event("other", "2")), NoResponse(sent=False, detail="refused")),
            (page(event("other", "2"), url="https://evil.example/v3/events"),),
            (page(event("other", "2"), url="http://api.mailgun.net/v3/events"),),
            (page(event("other", "2"), url="https://api.mailgun.net@evil.example/"),),
            (page(event("other", "2"), url="//["),),
            (page(event("other", "2")),),  # pages without end
        ],
    )
    async def test_anything_else_tells_nothing(self, answers: tuple[HttpResponse | NoResponse, ...]) -> None:
        assert isinstance(await mailgun().find(QUESTION, Script(*answers), NOW), CannotTell)

    async def test_the_key_never_travels_to_another_host(self) -> None:
        script = Script(page(event("other", "2"), url="https://evil.example/v3/events"))
        await mailgun().find(QUESTION, script, NOW)
        assert [urlsplit(r.url).netloc for r in script.asked] == ["api.mailgun.net"]


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": "a/b"},
        {"domain": ""},
        {"base_url": "https://x/v3"},
        {"base_url": "x"},
        {"region": "mars"},
        {"schedule_ahead_s": 4 * 86_400},
        {"gap_events": ("stored",)},
        {"gap_events": ()},
        {"gap_pages_per_s": 0},
    ],
)
def test_a_configuration_that_cannot_work_is_refused_in_one_line(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))) as raised:
        mailgun(**changes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({}, "api.mailgun.net"),
        ({"region": "us"}, "api.mailgun.net"),
        ({"region": "eu"}, "api.eu.mailgun.net"),
        ({"region": "eu", "base_url": "https://proxy.example.com"}, "proxy.example.com"),
    ],
)
def test_every_call_goes_to_the_region_of_the_domain(options: dict[str, str], host: str) -> None:
    provider = create("mg", Config("mg.example.com", "key-1", **options))
    calls = [
        provider.build_request(batch(), NOW),
        provider.events_request(0, NOW),
        provider.list_request(ListName.BOUNCE, 0, NOW),
    ]
    assert {urlsplit(call.url).netloc for call in calls} == {host}


def test_what_is_due_later_is_given_with_its_time_where_that_is_wanted() -> None:
    late = batch(deliver_at_ms=NOW + 60_500)
    ahead = mailgun(schedule_ahead_s=3600.0)
    assert fields(ahead.build_request(late, NOW))["o:deliverytime"] == ["Tue, 14 Nov 2023 22:16:01 +0000"]
    assert "o:deliverytime" not in fields(ahead.build_request(late, NOW + 60_500)), "its time has come"
    assert "o:deliverytime" not in fields(mailgun().build_request(late, NOW))


def test_test_mode_asks_mailgun_not_to_send() -> None:
    assert fields(mailgun(test_mode=True).build_request(batch(), NOW))["o:testmode"] == ["yes"]
    assert "o:testmode" not in fields(mailgun().build_request(batch(), NOW))


def test_providers_with_one_signing_key_or_one_domain_prove_each_others_webhooks() -> None:
    here = mailgun()
    assert here.proves_alike(mailgun(domain="other.example.com"))
    assert here.proves_alike(mailgun(signing_keys=("another",)))
    assert not here.proves_alike(mailgun(domain="other.example.com", signing_keys=("another",)))
    assert not here.proves_alike(object())


def test_secrets_do_not_show() -> None:
    assert KEY not in repr(CONFIG)
    assert "key-1" not in repr(CONFIG)
