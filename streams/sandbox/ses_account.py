"""The rest of the SES account: quota, suppression list, templates. Answers are plain dictionaries; refusals are
ApiErrors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from streams.sandbox.config import SesConfig
from streams.sandbox.faults import Kind
from streams.sandbox.ledger import Accepted, Ledger, ListChange
from streams.sandbox.ses_model import ApiError, CreateEmailTemplate, PutSuppressedDestination, TemplateContent
from streams.sandbox.ses_send import LIST
from streams.sandbox.suppressions import Entry, SuppressionLists

_DAY_MS: Final = 24 * 3600 * 1000
_SIMULATOR: Final = "@simulator.amazonses.com"


class Quota:
    """Recipients per second (a bucket that holds one second) and per rolling day.

    A call is admitted while anything is left, whatever its size; the debt blocks the calls after it. Simulator
    addresses count for the rate, not for the day.
    """

    def __init__(self, max_rate: float, max_24h: float, now_ms: int) -> None:
        self._max_rate = max_rate
        self._max_24h = max_24h
        self._left = max_rate
        self._at_ms = now_ms
        self._minutes: deque[tuple[int, int]] = deque()
        self._day = 0

    def take(self, recipients: list[str], now_ms: int) -> None:
        """Admits a call. Raises ApiError."""
        if self._max_24h >= 0 and self.sent_24h(now_ms) >= self._max_24h:
            raise ApiError("LimitExceededException", "Daily message quota exceeded.")
        if self._max_rate > 0:
            self._left = min(self._max_rate, self._left + (now_ms - self._at_ms) / 1000 * self._max_rate)
            self._at_ms = now_ms
            if self._left <= 0:
                raise ApiError("TooManyRequestsException", "Maximum sending rate exceeded.", 429)
            self._left -= len(recipients)
        self.count(sum(not address.lower().endswith(_SIMULATOR) for address in recipients), now_ms)

    def count(self, recipients: int, at_ms: int) -> None:
        """Adds recipients to the day."""
        minute = at_ms // 60_000
        if self._minutes and self._minutes[-1][0] == minute:
            self._minutes[-1] = (minute, self._minutes[-1][1] + recipients)
        else:
            self._minutes.append((minute, recipients))
        self._day += recipients

    def sent_24h(self, now_ms: int) -> int:
        """Recipients of the last day."""
        while self._minutes and self._minutes[0][0] * 60_000 < now_ms - _DAY_MS:
            self._day -= self._minutes.popleft()[1]
        return self._day


class SesAccount:
    """Account-wide calls."""

    def __init__(self, config: SesConfig, ledger: Ledger, lists: SuppressionLists, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._ledger = ledger
        self._lists = lists
        self._now_ms = now_ms
        self.quota = Quota(config.max_send_rate, config.max_24h, now_ms())
        self.templates: dict[str, TemplateContent] = {}

    def get_account(self, state: Kind | None) -> dict[str, Any]:
        """GetAccount."""
        return {
            "DedicatedIpAutoWarmupEnabled": False,
            "EnforcementStatus": "SHUTDOWN" if state is Kind.SUSPENDED else "HEALTHY",
            "ProductionAccessEnabled": state is not Kind.UNVERIFIED,
            "SendQuota": {
                "Max24HourSend": self._config.max_24h,
                "MaxSendRate": self._config.max_send_rate or 1_000_000.0,
                "SentLast24Hours": float(self.quota.sent_24h(self._now_ms())),
            },
            "SendingEnabled": state not in (Kind.PAUSED, Kind.SUSPENDED),
            "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
        }

    def suppress_after(self, record: Accepted, at_ms: int) -> None:
        """Hard bounces and complaints enter the account's list; the simulator's addresses never do."""
        reason = {"bounced": "BOUNCE", "complained": "COMPLAINT"}.get(record.plan.end)
        if reason is None or not self._config.auto_suppress or record.recipient.lower().endswith(_SIMULATOR):
            return
        attributes = {"MessageId": record.provider_message_id}
        content = {"Reason": reason, "LastUpdateTime": at_ms / 1000, "Attributes": attributes}
        self._lists.add_from_event(LIST, record.recipient, at_ms, content)

    def put_suppressed(self, call: PutSuppressedDestination) -> dict[str, Any]:
        """PutSuppressedDestination."""
        if call.reason not in ("BOUNCE", "COMPLAINT"):
            raise ApiError("BadRequestException", "Reason is BOUNCE or COMPLAINT.")
        now = self._now_ms()
        self._change(call.email_address, {"Reason": call.reason, "LastUpdateTime": now / 1000})
        return {}

    def get_suppressed(self, address: str) -> dict[str, Any]:
        """GetSuppressedDestination."""
        return {"SuppressedDestination": _shown(self._found(address))}

    def delete_suppressed(self, address: str) -> dict[str, Any]:
        """DeleteSuppressedDestination."""
        self._found(address)
        self._change(address, None)
        return {}

    def list_suppressed(self, query: Mapping[str, str], reasons: list[str]) -> dict[str, Any]:
        """ListSuppressedDestinations; the token is the last address of the page before."""
        try:
            size = min(1000, max(1, int(query.get("PageSize", "1000"))))
            begin = datetime.fromisoformat(query.get("StartDate", "1970-01-01T00:00:00Z")).timestamp()
            end = datetime.fromisoformat(query.get("EndDate", "9999-01-01T00:00:00Z")).timestamp()
        except ValueError as error:
            raise ApiError("BadRequestException", "PageSize is no number, or a date is none.") from error
        after = query.get("NextToken", "")
        entries = [
            entry
            for entry in self._lists.entries(LIST, self._now_ms())
            if entry.address > after
            and (not reasons or entry.content["Reason"] in reasons)
            and begin <= entry.content["LastUpdateTime"] < end
        ]
        names = ("EmailAddress", "Reason", "LastUpdateTime")
        summaries = [{name: _shown(entry)[name] for name in names} for entry in entries[:size]]
        more = {"NextToken": entries[size - 1].address} if len(entries) > size else {}
        return {"SuppressedDestinationSummaries": summaries, **more}

    def create_template(self, call: CreateEmailTemplate) -> dict[str, Any]:
        """CreateEmailTemplate. Templates are not kept over a restart."""
        if call.template_name in self.templates:
            raise ApiError("AlreadyExistsException", f"Template {call.template_name} already exists")
        self.templates[call.template_name] = call.template_content
        return {}

    def get_template(self, name: str) -> dict[str, Any]:
        """GetEmailTemplate."""
        if name not in self.templates:
            raise ApiError("NotFoundException", f"Template {name} does not exist", 404)
        content = self.templates[name]
        shown = {"Subject": content.subject, "Text": content.text, "Html": content.html}
        given = {key: value for key, value in shown.items() if value is not None}
        return {"TemplateName": name, "TemplateContent": given}

    def delete_template(self, name: str) -> dict[str, Any]:
        """DeleteEmailTemplate."""
        self.get_template(name)
        del self.templates[name]
        return {}

    def _found(self, address: str) -> Entry:
        entry = self._lists.find(LIST, address, self._now_ms())
        if entry is None:
            raise ApiError(
                "NotFoundException", f"Email address {address} does not exist on your suppression list.", 404
            )
        return entry

    def _change(self, address: str, entry: dict[str, Any] | None) -> None:
        change = ListChange(LIST, address, entry, self._now_ms())
        self._lists.apply(change)
        self._ledger.change_list(change)


def _shown(entry: Entry) -> dict[str, Any]:
    return {"EmailAddress": entry.address, **entry.content}
