"""Amazon SES, API version 2: its send calls, its events over SNS, its quotas.

    config      the keys of ``[providers.NAME]``
    signing     AWS Signature Version 4
    request     a batch becomes one POST
    response    the answer becomes one outcome per recipient; quotas
    lists       the account's suppression list, both ways
    events      what it reports, in our words
    vocabulary  its words and what they mean

Whether a webhook is authentic is judged in ``streams.providers._sns``.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from streams.core.outcome import BatchOutcome
from streams.providers import _sns
from streams.providers._waiting import no_earlier
from streams.providers.base import (
    Batch,
    CannotTell,
    CertificateNeeded,
    Confirm,
    Exchange,
    Finding,
    HttpRequest,
    HttpResponse,
    Inbound,
    Limits,
    Listed,
    ListFailed,
    ListName,
    ListPage,
    NoResponse,
    Question,
    Quota,
    Reading,
    Refused,
    Unreadable,
    Verdict,
    Verified,
)
from streams.providers.ses import events, lists, request, response
from streams.providers.ses.config import Config
from streams.providers.ses.signing import Signer

__all__ = ["Config", "Quota", "Ses", "create"]

MAX_RECIPIENTS = 50
MAX_BYTES = 40_000_000

_STALE_CREDENTIALS = frozenset({"ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException"})


class Ses:
    """One SES account in one region (see :class:`~streams.providers.base.Provider`)."""

    type = "ses"
    can_find = False
    """SES cannot be asked; its ``Send`` event, which repeats our tags, settles a doubtful send."""
    may_forget_our_id = True
    """Notifications of an identity carry no tags."""

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config
        self.limits = Limits(MAX_RECIPIENTS, MAX_BYTES)
        self.visibility_delay_s = config.visibility_delay_s
        self.reads_lists = self.writes_lists = tuple(lists.REASONS)
        self._signer = Signer(config)
        self._certificates = _sns.Certificates(_sns.load_pinned(config.pinned_certificates))
        self._rules = _sns.Rules(frozenset(config.topic_arns), config.allow_signature_v1, config.max_webhook_age_s)

    def prepare(self) -> None:
        """Look up AWS credentials (blocking, once); raises ValueError if there are none."""
        self._signer.prepare()

    def expires_ms(self) -> int:
        """When the credentials end; 0 for lasting ones."""
        return self._signer.expires_ms()

    def fits(self, batch: Batch) -> str:
        return request.fits(batch, MAX_RECIPIENTS)

    def build_request(self, batch: Batch, now_ms: int) -> HttpRequest:
        return self._signed(request.build_request(self.config, batch, now_ms))

    def read_response(self, batch: Batch, answer: HttpResponse | NoResponse, now_ms: int) -> BatchOutcome:
        if isinstance(answer, HttpResponse) and response.error_code(answer) in _STALE_CREDENTIALS:
            self._signer.forget()
        return no_earlier(response.read_response(batch, answer), answer, now_ms)

    async def find(self, question: Question, exchange: Exchange, now_ms: int) -> Finding:
        return CannotTell("SES has no search; its Send event settles it")

    def quota_request(self, now_ms: int) -> HttpRequest:
        """Ask for the account's quotas (GetAccount, at most once a second)."""
        return self._signed(request.account_request(self.config))

    def read_quota(self, answer: HttpResponse | NoResponse) -> Quota | None:
        """The quotas, None if the answer has none."""
        return response.read_quota(answer)

    # -- suppression lists (see SyncsSuppressions)

    def list_request(self, name: ListName, since_ms: int, now_ms: int) -> HttpRequest:
        return self._signed(lists.list_request(self.config, name, since_ms))

    def read_list(
        self, name: ListName, since_ms: int, answer: HttpResponse | NoResponse, now_ms: int
    ) -> ListPage | ListFailed:
        page = lists.read_list(self.config, name, since_ms, answer)
        if isinstance(page, ListFailed) or page.next is None:
            return page
        return ListPage(page.entries, self._signed(page.next))

    def add_requests(self, entries: Sequence[Listed], now_ms: int) -> tuple[HttpRequest, ...]:
        return tuple(self._signed(one) for one in lists.add_requests(self.config, entries))

    def remove_requests(self, entries: Sequence[Listed], now_ms: int) -> tuple[HttpRequest, ...]:
        return tuple(self._signed(one) for one in lists.remove_requests(self.config, entries))

    def read_change(self, answer: HttpResponse | NoResponse, now_ms: int) -> ListFailed | None:
        return lists.read_change(answer)

    def _signed(self, request: HttpRequest) -> HttpRequest:
        return self._signer.sign(request, "ses", self.config.region)

    # -- webhooks

    def verify(self, inbound: Inbound, now_ms: int) -> Verdict:
        judged = _sns.verify(inbound.body, self._rules, self._certificates, now_ms)
        if isinstance(judged, Refused | CertificateNeeded):
            return judged
        if judged.type == _sns.SUBSCRIBE:
            confirm = self._confirm_request(judged)
            return Confirm(judged.topic_arn, judged.token, judged.region, confirm)
        return Verified(key=judged.message_id)

    def proves_alike(self, other: object) -> bool:
        """One of its topics, or its queue, is the other's too."""
        return isinstance(other, Ses) and (
            not set(self.config.topic_arns).isdisjoint(other.config.topic_arns)
            or bool(self.config.sqs_queue_url and self.config.sqs_queue_url == other.config.sqs_queue_url)
        )

    def learn_certificate(self, url: str, answer: HttpResponse | NoResponse, now_ms: int) -> None:
        self._certificates.learn(url, answer, now_ms)

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable:
        return events.read_events(payload, received_ms, suppress_invalid=self.config.suppress_invalid)

    def _confirm_request(self, envelope: _sns.Envelope) -> HttpRequest:
        """ConfirmSubscription at the topic's own region; the URL in the message is never followed."""
        form = {
            "Action": "ConfirmSubscription",
            "Version": "2010-03-31",
            "TopicArn": envelope.topic_arn,
            "Token": envelope.token,
        }
        if self._signer.ready:  # only a signed call may ask that nobody else can unsubscribe
            form["AuthenticateOnUnsubscribe"] = "true"
        headers = (("content-type", "application/x-www-form-urlencoded; charset=utf-8"),)
        url = f"{self.config.sns_endpoint(envelope.region)}/"
        post = HttpRequest("POST", url, headers, urlencode(form).encode("ascii", "replace"))
        return self._signer.sign(post, "sns", envelope.region) if self._signer.ready else post


def create(name: str, config: Config) -> Ses:
    """The adapter for the provider ``name``."""
    return Ses(name, config)
