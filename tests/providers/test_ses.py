"""SES: a batch becomes one signed request, an answer one outcome per recipient, GetAccount the quotas."""

from __future__ import annotations

import dataclasses
import json
from base64 import b64decode
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from streams.core.event import ReasonKind
from streams.core.message import Attachment, Mailbox
from streams.core.outcome import Accepted, AttemptResult, Deferred, Outcome, Rejected, Scope, Split, Uncertain
from streams.providers.base import (
    Batch,
    CannotTell,
    Entry,
    HttpRequest,
    HttpResponse,
    NoResponse,
    Provider,
    Question,
    Slot,
)
from streams.providers.ses import Config, Quota, Ses, create
from streams.providers.ses.response import ERRORS, STATUSES, Fate

ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklm"
NOW = 1_767_225_600_000
CONFIG = Config("eu-west-1", access_key_id="AKIAEXAMPLE", secret_access_key="secret", configuration_set="cs1")
K = ReasonKind


def ses(**changes: Any) -> Ses:
    return create("ses", dataclasses.replace(CONFIG, **changes))


def entry(number: int = 0, attempt: int = 1, **variables: str) -> Entry:
    return Entry(f"{ID}{'abcdefghij'[number]}", attempt, Mailbox(f"user{number}@example.net"), variables)


def batch(*entries: Entry, **parts: Any) -> Batch:
    parts = {"subject": ("Hello",), "text": ("Hi",), **parts}
    return Batch(Mailbox("a@example.com", "Shop"), entries or (entry(),), **parts)


def sent(request: HttpRequest) -> dict[str, Any]:
    body = json.loads(request.body)
    assert isinstance(body, dict)
    return body


def test_it_is_a_provider() -> None:
    provider: Provider = ses()
    assert (provider.name, provider.type, provider.can_find) == ("ses", "ses", False)
    assert provider.limits.max_recipients == 50
    assert provider.visibility_delay_s == 900


async def test_it_cannot_be_asked() -> None:
    async def never(request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        raise AssertionError(request)

    assert isinstance(await ses().find(Question(ID, 1, "u@example.net", NOW), never, NOW), CannotTell)


class TestRequest:
    def test_a_single_send_is_a_raw_message_with_our_tags(self) -> None:
        request = ses().build_request(batch(entry(0, 2, name="Ann"), subject=("Hi ", Slot("name")), tags=("a b",)), NOW)
        assert (request.method, request.url) == (
            "POST",
            "https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails",
        )
        body = sent(request)
        mime = message_from_bytes(b64decode(body["Content"]["Raw"].pop("Data")), policy=default)
        assert body == {
            "FromEmailAddress": "Shop <a@example.com>",
            "Destination": {"ToAddresses": ["user0@example.net"]},
            "Content": {"Raw": {}},
            "EmailTags": [
                {"Name": "message_id", "Value": f"{ID}a"},
                {"Name": "attempt", "Value": "2"},
                {"Name": "tag1", "Value": "a_b"},
            ],
            "ConfigurationSetName": "cs1",
        }
        assert (mime["subject"], mime["message-id"]) == ("Hi Ann", f"<{ID}a@example.com>")

    def test_a_batch_has_its_content_inline_and_its_values_per_recipient(self) -> None:
        entries = (entry(0, name='Ann "A"'), entry(1, 3, name="Jörg"), entry(2))
        request = ses().build_request(
            batch(
                *entries,
                subject=("Hi ", Slot("name")),
                html=("<p>", Slot("name"), "</p>"),
                headers=(("List-Unsubscribe", "<https://x>"), ("Bcc", "evil@example.org")),
                reply_to=(Mailbox("r@example.com", "Réné"),),
            ),
            NOW,
        )
        assert request.url.endswith("/v2/email/outbound-bulk-emails")
        body = sent(request)
        assert body["DefaultContent"]["Template"] == {
            "TemplateContent": {"Subject": "Hi {{x_name}}", "Text": "Hi", "Html": "<p>{{x_name}}</p>"},
            "TemplateData": "{}",
            "Headers": [{"Name": "List-Unsubscribe", "Value": "<https://x>"}],
        }
        assert body["ReplyToAddresses"] == ["=?utf-8?b?UsOpbsOp?= <r@example.com>"]
        data = [
            json.loads(e["ReplacementEmailContent"]["ReplacementTemplate"]["ReplacementTemplateData"])
            for e in body["BulkEmailEntries"]
        ]
        assert data == [{"x_name": 'Ann "A"'}, {"x_name": "Jörg"}, {"x_name": ""}]
        second = body["BulkEmailEntries"][1]
        assert second["Destination"] == {"ToAddresses": ["user1@example.net"]}
        assert second["ReplacementTags"][:2] == [
            {"Name": "message_id", "Value": f"{ID}b"},
            {"Name": "attempt", "Value": "3"},
        ]

    def test_a_domain_beyond_ascii_is_sent_as_a_label(self) -> None:
        to = Entry(f"{ID}a", 1, Mailbox("a@exämple.net", "Ärmel"))
        assert sent(ses().build_request(batch(to), NOW))["Destination"]["ToAddresses"] == ["a@xn--exmple-cua.net"]

    def test_tracking_of_one_message_overrides_the_configuration_set(self) -> None:
        body = sent(ses().build_request(batch(track_opens=True, track_clicks=False), NOW))
        assert body["ConfigurationOverrides"] == {
            "Tracking": {"OpenTrackingEnabled": "ENABLED", "ClickTrackingEnabled": "DISABLED"}
        }

    def test_tags_are_made_to_fit(self) -> None:
        body = sent(ses(configuration_set="").build_request(batch(tags=("ü" * 300, "b", "b", "")), NOW))
        assert [t["Value"] for t in body["EmailTags"][2:]] == ["_" * 256, "b"]
        assert "ConfigurationSetName" not in body

    def test_a_finished_message_goes_out_byte_by_byte(self) -> None:
        body = sent(ses().build_request(batch(mime=b"Subject: x\r\n\r\n\xff"), NOW))
        assert b64decode(body["Content"]["Raw"]["Data"]) == b"Subject: x\r\n\r\n\xff"

    def test_another_endpoint_can_be_given(self) -> None:
        assert (
            ses(endpoint_url="http://127.0.0.1:1").build_request(batch(), NOW).url.startswith("http://127.0.0.1:1/v2/")
        )
        assert "amazonaws.com.cn/" in ses(region="cn-north-1").build_request(batch(), NOW).url

    @pytest.mark.parametrize("size", [1, 2])
    def test_a_request_is_what_awss_own_model_describes(self, size: int) -> None:
        model = ServiceModel(Loader().load_service_model("sesv2", "service-2"))
        operation = model.operation_model("SendEmail" if size == 1 else "SendBulkEmail")
        parts = {
            "headers": (("X-A", "b"),),
            "reply_to": (Mailbox("r@example.com"),),
            "tags": ("t",),
            "track_opens": True,
        }
        request = ses().build_request(batch(*(entry(n) for n in range(size)), html=("<p>", Slot("n")), **parts), NOW)
        body = sent(request)
        report = ParamValidator().validate(body, operation.input_shape)
        assert not report.has_errors(), report.generate_report()
        assert body.keys() <= operation.input_shape.members.keys()
        assert request.url.endswith(operation.http["requestUri"])


class TestFits:
    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"text": ("{{name}}",)}, "{{"),
            ({"html": ("<style>a{b{}}</style>",)}, "{{"),
            ({"text": ("a{", Slot("x"))}, "{{"),
            ({"text": (Slot("x"), "}")}, "{{"),
            ({"text": ("C:\\", Slot("x"))}, "{{"),
            ({"subject": ("{{",)}, "{{"),
            ({"mime": b"x"}, "finished"),
            ({"visible_to": (Mailbox("b@example.net"),)}, "visible"),
            ({"attachments": (Attachment("a", "text/plain", b"x"),)}, "attachments"),
            ({"headers": (("X-A", "ü"),)}, "X-A"),
            ({"headers": (("X-A", "a\r\nb"),)}, "X-A"),
            ({"headers": (("X-A", "a" * 996),)}, "X-A"),
            ({"headers": tuple((f"X-{n}", "a") for n in range(16))}, "15"),
            ({"html": ("x" * 500_001,)}, "500000"),
        ],
    )
    def test_what_the_bulk_call_cannot_say_goes_one_by_one(self, changes: dict[str, Any], word: str) -> None:
        assert word in ses().fits(batch(entry(0), entry(1), **changes))
        assert ses().fits(batch(entry(0), **changes)) == ""

    def test_a_local_part_beyond_ascii_and_long_values_go_by_themselves(self) -> None:
        assert "ASCII" in ses().fits(batch(entry(0), Entry(ID, 1, Mailbox("ü@example.net"))))
        assert "long" in ses().fits(batch(entry(0), entry(1, name="x" * 50_000)))

    def test_a_plain_batch_fits_up_to_fifty(self) -> None:
        many = tuple(Entry(f"{ID}a", 1, Mailbox(f"u{n}@example.net"), {"n": "{{x}}"}) for n in range(51))
        assert ses().fits(batch(*many[:50], text=("Hi ", Slot("n"), " {a} }"))) == ""
        assert "50" in ses().fits(batch(*many))


class TestSigning:
    def test_a_request_carries_the_signature_that_aws_computes(self) -> None:
        request = ses(session_token="session").build_request(batch(), NOW)
        headers = dict(request.headers)
        assert headers["x-amz-security-token"] == "session"
        credential = f"AKIAEXAMPLE/{headers['x-amz-date'][:8]}/eu-west-1/ses/aws4_request"
        assert headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={credential}")
        again = AWSRequest(
            request.method,
            request.url,
            headers={
                "content-type": headers["content-type"],
                "X-Amz-Security-Token": "session",
                "X-Amz-Date": headers["x-amz-date"],
            },
            data=request.body,
        )
        again.context["timestamp"] = headers["x-amz-date"]
        auth = SigV4Auth(Credentials("AKIAEXAMPLE", "secret", "session"), "ses", "eu-west-1")
        expected = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
        assert headers["authorization"].endswith(f"Signature={expected}")

    def test_without_credentials_a_request_goes_out_unsigned_and_aws_refuses_it(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        provider = ses(access_key_id="", secret_access_key="")
        assert "authorization" not in dict(provider.build_request(batch(), NOW).headers)
        with pytest.raises(ValueError, match="no AWS credentials"):
            provider.prepare()

    def test_the_default_chain_is_used_and_looked_up_again_when_aws_calls_them_expired(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        provider = ses(access_key_id="", secret_access_key="")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FIRST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        provider.prepare()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SECOND")
        assert "Credential=FIRST/" in dict(provider.build_request(batch(), NOW).headers)["authorization"]
        provider.read_response(batch(), error("ExpiredTokenException", 403, "expired"), NOW)
        assert "Credential=SECOND/" in dict(provider.build_request(batch(), NOW).headers)["authorization"]


def answer(body: object, status: int = 200, **headers: str) -> HttpResponse:
    return HttpResponse(status, headers, json.dumps(body).encode())


def error(code: str, status: int = 400, message: str = "") -> HttpResponse:
    return HttpResponse(status, {"x-amzn-errortype": code}, json.dumps({"message": message}).encode())


def outcome(response: HttpResponse | NoResponse, *entries: Entry) -> Outcome:
    result = ses().read_response(batch(*entries), response, NOW)
    assert isinstance(result, tuple)
    assert len(set(result)) == 1
    return result[0]


def bulk(*statuses: tuple[str, str], entries: tuple[Entry, ...] = ()) -> Any:
    results = [{"Status": s, "Error": e, "MessageId": "m-1" if s == "SUCCESS" else None} for s, e in statuses]
    entries = entries or tuple(entry(n) for n in range(max(2, len(statuses))))
    return ses().read_response(batch(*entries), answer({"BulkEmailEntryResults": results}), NOW)


T, A = AttemptResult, Scope
STATUS_CASES = [
    ("ACCOUNT_THROTTLED", Deferred, K.THROTTLED, A.LANE, T.THROTTLED),
    ("TRANSIENT_FAILURE", Deferred, K.PROVIDER_ERROR, A.PROVIDER, T.TRANSIENT),
    ("ACCOUNT_DAILY_QUOTA_EXCEEDED", Deferred, K.THROTTLED, A.LANE, T.THROTTLED),
    ("MESSAGE_REJECTED", Rejected, K.CONTENT, A.MESSAGE, T.PERMANENT),
    ("INVALID_PARAMETER", Rejected, K.INVALID_REQUEST, A.MESSAGE, T.PERMANENT),
    ("TEMPLATE_NOT_FOUND", Deferred, K.CONFIGURATION, A.ACCOUNT, T.AUTH),
    ("CONFIGURATION_SET_NOT_FOUND", Deferred, K.CONFIGURATION, A.ACCOUNT, T.AUTH),
    ("MAIL_FROM_DOMAIN_NOT_VERIFIED", Deferred, K.CONFIGURATION, A.ACCOUNT, T.AUTH),
    ("INVALID_SENDING_POOL_NAME", Deferred, K.CONFIGURATION, A.ACCOUNT, T.AUTH),
    ("ACCOUNT_SUSPENDED", Deferred, K.ACCOUNT, A.ACCOUNT, T.AUTH),
    ("ACCOUNT_SENDING_PAUSED", Deferred, K.ACCOUNT, A.ACCOUNT, T.AUTH),
    ("CONFIGURATION_SET_SENDING_PAUSED", Deferred, K.ACCOUNT, A.ACCOUNT, T.AUTH),
    ("FAILED", Deferred, K.PROVIDER_ERROR, A.MESSAGE, T.TRANSIENT),
    ("NEW_STATUS", Uncertain, K.UNKNOWN, A.PROVIDER, T.UNCERTAIN),
]


class TestBulkAnswer:
    @pytest.mark.parametrize(
        ("status", "type_", "kind", "scope", "result"), STATUS_CASES, ids=[c[0] for c in STATUS_CASES]
    )
    def test_each_status_concerns_its_own_entry(self, status: str, type_: type, kind: K, scope: A, result: T) -> None:
        taken, other = bulk(("SUCCESS", ""), (status, "words"))
        assert taken == Accepted("m-1")
        assert isinstance(other, type_)
        assert (other.reason.kind, other.scope, other.result) == (kind, scope, result)
        assert (other.reason.code, other.reason.detail) == (status, "words")

    def test_every_status_of_the_table_is_tested(self) -> None:
        assert {case[0] for case in STATUS_CASES} == STATUSES.keys() | {"NEW_STATUS"}

    def test_failed_is_given_up_after_a_second_try(self) -> None:
        _, again = bulk(("FAILED", ""), ("FAILED", ""), entries=(entry(0), entry(1, attempt=2)))
        assert isinstance(again, Rejected)

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_results_that_do_not_match_the_request_prove_nothing(self, count: int) -> None:
        result = bulk(*[("SUCCESS", "")] * count, entries=(entry(0), entry(1)))
        assert [type(one) for one in result] == [Uncertain, Uncertain]

    @pytest.mark.parametrize(
        "body", [{}, {"BulkEmailEntryResults": None}, {"BulkEmailEntryResults": [1, 2]}, []], ids=str
    )
    def test_a_strange_answer_proves_nothing(self, body: object) -> None:
        result = ses().read_response(batch(entry(0), entry(1)), answer(body), NOW)
        assert [type(one) for one in result] == [Uncertain, Uncertain]  # type: ignore[union-attr]

    def test_a_success_without_an_id_proves_nothing(self) -> None:
        result = ses().read_response(
            batch(entry(0), entry(1)), answer({"BulkEmailEntryResults": [{"Status": "SUCCESS"}] * 2}), NOW
        )
        assert [type(one) for one in result] == [Uncertain, Uncertain]  # type: ignore[union-attr]

    def test_a_bad_address_is_the_recipients_fault(self) -> None:
        _, bad = bulk(("SUCCESS", ""), ("INVALID_PARAMETER", "Local address contains control or whitespace"))
        assert (bad.scope, bad.reason.kind) == (Scope.RECIPIENT, K.INVALID_ADDRESS)


ERROR_CASES = [
    ("TooManyRequestsException", 429, "Maximum sending rate exceeded.", Deferred, K.THROTTLED, A.LANE, None),
    ("ThrottlingException", 400, "Maximum sending rate exceeded.", Deferred, K.THROTTLED, A.LANE, None),
    ("ThrottlingException", 400, "Daily message quota exceeded.", Deferred, K.THROTTLED, A.LANE, 900.0),
    ("Throttling", 400, "Rate exceeded", Deferred, K.THROTTLED, A.LANE, None),
    ("LimitExceededException", 400, "Daily message quota exceeded", Deferred, K.THROTTLED, A.LANE, 900.0),
    (
        "LimitExceededException",
        400,
        "There are too many instances of the resource.",
        Deferred,
        K.THROTTLED,
        A.LANE,
        900.0,
    ),
    ("LimitExceededException", 400, "Maximum sending rate exceeded", Deferred, K.THROTTLED, A.LANE, None),
    ("LimitExceeded", 400, "", Deferred, K.THROTTLED, A.LANE, 900.0),
    (
        "MessageRejected",
        400,
        "Email address is not verified. The following identities failed the check in region EU-WEST-1: a@example.com",
        Deferred,
        K.CONFIGURATION,
        A.ACCOUNT,
        None,
    ),
    (
        "MessageRejected",
        400,
        "Email address is not verified. The following identities failed the check in region EU-WEST-1: user0@example.net",
        Rejected,
        K.ACCOUNT,
        A.RECIPIENT,
        None,
    ),
    ("MessageRejected", 400, "Email address is not verified.", Deferred, K.CONFIGURATION, A.ACCOUNT, None),
    ("MessageRejected", 400, "Invalid content", Rejected, K.CONTENT, A.MESSAGE, None),
    ("BadRequestException", 400, "Missing final '@domain'", Rejected, K.INVALID_ADDRESS, A.RECIPIENT, None),
    ("BadRequestException", 400, "Duplicate header 'Subject'", Rejected, K.INVALID_REQUEST, A.MESSAGE, None),
    ("MailFromDomainNotVerifiedException", 400, "", Deferred, K.CONFIGURATION, A.ACCOUNT, None),
    ("AccountSuspendedException", 400, "", Deferred, K.ACCOUNT, A.ACCOUNT, None),
    ("SendingPausedException", 400, "", Deferred, K.ACCOUNT, A.ACCOUNT, None),
    ("AccountSendingPausedException", 400, "", Deferred, K.ACCOUNT, A.ACCOUNT, None),
    ("ConfigurationSetSendingPausedException", 400, "", Deferred, K.ACCOUNT, A.ACCOUNT, None),
    ("NotFoundException", 404, "", Deferred, K.CONFIGURATION, A.ACCOUNT, None),
    ("ConfigurationSetDoesNotExist", 400, "", Deferred, K.CONFIGURATION, A.ACCOUNT, None),
    ("TemplateDoesNotExist", 400, "", Deferred, K.CONFIGURATION, A.ACCOUNT, None),
    ("InternalServiceErrorException", 500, "", Uncertain, K.PROVIDER_ERROR, A.PROVIDER, None),
    ("ConcurrentModificationException", 500, "", Uncertain, K.PROVIDER_ERROR, A.PROVIDER, None),
    ("InvalidClientTokenId", 403, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("UnrecognizedClientException", 403, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("SignatureDoesNotMatch", 403, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("InvalidSignatureException", 403, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("IncompleteSignatureException", 400, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("MissingAuthenticationTokenException", 403, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("ExpiredToken", 403, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("ExpiredTokenException", 403, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("AccessDenied", 403, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("AccessDeniedException", 403, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("RequestExpired", 400, "", Deferred, K.CONFIGURATION, A.ACCOUNT, None),
    ("RequestTimeTooSkewed", 403, "", Deferred, K.CONFIGURATION, A.ACCOUNT, None),
    # without a code, by status
    ("", 400, "odd", Rejected, K.INVALID_REQUEST, A.MESSAGE, None),
    ("", 403, "", Deferred, K.CREDENTIALS, A.ACCOUNT, None),
    ("", 404, "", Deferred, K.CONFIGURATION, A.ACCOUNT, None),
    ("", 413, "", Rejected, K.MESSAGE_TOO_LARGE, A.MESSAGE, None),
    ("", 429, "", Deferred, K.THROTTLED, A.LANE, None),
    ("", 301, "", Deferred, K.CONFIGURATION, A.ACCOUNT, None),
    ("NewException", 400, "", Rejected, K.INVALID_REQUEST, A.MESSAGE, None),
    ("ServiceUnavailable", 503, "", Uncertain, K.PROVIDER_ERROR, A.PROVIDER, None),
    ("", 500, "", Uncertain, K.PROVIDER_ERROR, A.PROVIDER, None),
    ("", 502, "", Uncertain, K.PROVIDER_ERROR, A.PROVIDER, None),
    ("", 202, "", Uncertain, K.PROVIDER_ERROR, A.PROVIDER, None),
]


class TestAnswer:
    def test_an_acceptance_gives_the_id(self) -> None:
        assert outcome(answer({"MessageId": "0100-x"})) == Accepted("0100-x")

    @pytest.mark.parametrize("body", [{}, [], {"MessageId": ""}, {"MessageId": None}], ids=str)
    def test_an_acceptance_without_an_id_proves_nothing(self, body: object) -> None:
        assert isinstance(outcome(answer(body)), Uncertain)

    @pytest.mark.parametrize(
        ("code", "status", "message", "type_", "kind", "scope", "wait_s"),
        ERROR_CASES,
        ids=[f"{c[0]}-{c[1]}-{c[2][-20:]}" for c in ERROR_CASES],
    )
    def test_each_error_has_its_fate(
        self, code: str, status: int, message: str, type_: type, kind: K, scope: A, wait_s: float | None
    ) -> None:
        found = outcome(error(code, status, message))
        assert isinstance(found, type_)
        assert not isinstance(found, Accepted)
        assert (found.reason.kind, found.scope) == (kind, scope)
        assert getattr(found, "retry_after_s", None) == wait_s

    def test_every_error_of_the_table_is_tested(self) -> None:
        assert ERRORS.keys() <= {case[0] for case in ERROR_CASES}
        assert {fate for fate, _ in (*ERRORS.values(), *STATUSES.values())} == set(Fate)

    @pytest.mark.parametrize(
        "response",
        [
            error("SendingPausedException:http://internal.amazon.com/coral/com.amazonaws.sesv2/"),
            answer({"__type": "com.amazonaws.sesv2#SendingPausedException", "Message": "x"}, 400),
            answer({"__type": "SendingPausedException"}, 400),
            answer({"code": "SendingPausedException"}, 400),
        ],
    )
    def test_an_error_is_known_under_all_its_decorations(self, response: HttpResponse) -> None:
        found = outcome(response)
        assert isinstance(found, Deferred)
        assert found.reason.code == "SendingPausedException"

    @pytest.mark.parametrize("code", ["BadRequestException", "MessageRejected"])
    def test_a_refused_batch_is_split_to_find_the_one_at_fault(self, code: str) -> None:
        assert isinstance(ses().read_response(batch(entry(0), entry(1)), error(code), NOW), Split)

    def test_an_unverified_recipient_in_a_batch_is_not_taken_for_the_sender(self) -> None:
        words = "Email address is not verified. The following identities failed the check: user1@example.net"
        assert isinstance(
            ses().read_response(batch(entry(0), entry(1)), error("MessageRejected", 400, words), NOW), Split
        )

    def test_without_a_connection_nothing_was_taken(self) -> None:
        found = outcome(NoResponse(sent=False, detail="refused"), entry(0), entry(1))
        assert isinstance(found, Deferred)
        assert (found.scope, found.result) == (Scope.PROVIDER, AttemptResult.CONNECT_ERROR)

    @pytest.mark.parametrize(("timeout", "kind"), [(True, K.TIMEOUT), (False, K.NETWORK)])
    def test_without_an_answer_nobody_knows(self, timeout: bool, kind: K) -> None:
        found = outcome(NoResponse(sent=True, detail="lost", timeout=timeout), entry(0), entry(1))
        assert isinstance(found, Uncertain)
        assert (found.reason.kind, found.result) == (kind, AttemptResult.TIMEOUT)

    @given(st.integers(100, 599), st.binary(max_size=100), st.text(max_size=20), st.integers(1, 3))
    def test_any_answer_gives_one_outcome_per_entry_or_a_split(
        self, status: int, body: bytes, code: str, size: int
    ) -> None:
        many = batch(*(entry(n) for n in range(size)))
        result = ses().read_response(many, HttpResponse(status, {"x-amzn-errortype": code}, body), NOW)
        assert isinstance(result, Split) if not isinstance(result, tuple) else len(result) == size
        assert size > 1 or not isinstance(result, Split)


class TestQuota:
    def test_the_account_is_asked_with_a_signature(self) -> None:
        request = ses().quota_request(NOW)
        assert (request.method, request.url) == ("GET", "https://email.eu-west-1.amazonaws.com/v2/email/account")
        assert "authorization" in dict(request.headers)

    def test_the_quotas_are_read(self) -> None:
        body = {
            "SendQuota": {"Max24HourSend": -1.0, "MaxSendRate": 14, "SentLast24Hours": 12.0},
            "SendingEnabled": True,
            "EnforcementStatus": "PROBATION",
        }
        assert ses().read_quota(answer(body)) == Quota(14.0, -1.0, 12.0, sending_enabled=True, enforcement="PROBATION")
        paused = ses().read_quota(answer({**body, "SendingEnabled": False}))
        assert paused is not None
        assert not paused.sending_enabled

    @pytest.mark.parametrize(
        "response",
        [
            NoResponse(sent=True, detail=""),
            answer({}, 403),
            answer({}),
            answer([]),
            answer({"SendQuota": {"MaxSendRate": "x"}}),
        ],
        ids=str,
    )
    def test_an_answer_without_quotas_has_none(self, response: HttpResponse | NoResponse) -> None:
        assert ses().read_quota(response) is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"region": "europe"}, "region"),
        ({"configuration_set": "a b"}, "configuration_set"),
        ({"secret_access_key": ""}, "secret_access_key"),
        ({"endpoint_url": "https://x/v2"}, "endpoint_url"),
        ({"sns_endpoint_url": "x"}, "sns_endpoint_url"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_in_one_line(changes: dict[str, str], word: str) -> None:
    with pytest.raises(ValueError, match=word) as raised:
        ses(**changes)
    assert "\n" not in str(raised.value)


def test_secrets_do_not_show() -> None:
    assert "AKIAEXAMPLE" not in repr(CONFIG)
    assert "'secret'" not in repr(CONFIG)


SETS = {"transactional": "tx", "bulk": "news"}


class TestConfigurationSets:
    @pytest.mark.parametrize("count", [1, 2], ids=["single", "bulk call"])
    @pytest.mark.parametrize(
        ("sets", "stream", "chosen"),
        [
            (SETS, "transactional", "tx"),
            (SETS, "bulk", "news"),
            ({"bulk": "news"}, "transactional", "cs1"),
            ({}, "bulk", "cs1"),
            (SETS, "", "cs1"),
        ],
    )
    def test_each_stream_may_have_its_own(self, sets: dict[str, str], stream: str, chosen: str, count: int) -> None:
        request = ses(configuration_sets=sets).build_request(batch(*map(entry, range(count)), stream=stream), NOW)
        assert sent(request)["ConfigurationSetName"] == chosen

    @pytest.mark.parametrize("sets", [{"newsletter": "x"}, {"bulk": "not a name"}])
    def test_one_that_cannot_be_is_refused(self, sets: dict[str, str]) -> None:
        with pytest.raises(ValueError, match="configuration_set"):
            ses(configuration_sets=sets)

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_tenant_of_ses_is_named_in_each_call(self, count: int) -> None:
        request = ses(tenant_name="shop").build_request(batch(*map(entry, range(count))), NOW)
        assert sent(request)["TenantName"] == "shop"
        assert "TenantName" not in sent(ses().build_request(batch(), NOW))


class TestSharesProof:
    def test_webhooks_of_a_shared_topic_or_queue_may_be_the_others(self) -> None:
        queue = "https://sqs.eu-west-1.amazonaws.com/111122223333/events"
        one = ses(topic_arns=("arn:1", "arn:2"), sqs_queue_url=queue)
        assert one.proves_alike(ses(topic_arns=("arn:2",)))
        assert one.proves_alike(ses(sqs_queue_url=queue))
        assert not one.proves_alike(ses(topic_arns=("arn:3",)))
        assert not ses().proves_alike(ses())
        assert not one.proves_alike(object())
