"""Faults on request. A rule is a JSON object; rules are tried in the order of their creation, the first that hits acts.

Fields of a rule (all but `kind` optional):
  kind        what happens, see the table
  provider    `mailgun` | `ses` | `smtp` | `directmail` (default: all)
  account     Mailgun: the domain of the call; SES, DirectMail: the access key id; SMTP: the user (default: all)
  stage       SMTP only: `greeting`, `login`, `mail`, `rcpt`, `data` (before the message) or `end` (after its final
              dot, the default). `status` is then the reply code and `body` the reply's text
  scope       `send` (default): calls that send mail; `any`: every API call of the provider
  rate        share of the matching calls (or entries) that are hit, 0..1 (default 1)
  count       the rule ends after so many hits
  seconds     the rule ends after so many seconds (for connect_refused: required, and its length)
  status, body, code, retry_after     the answer; sensible per provider and status. retry_after goes out as Retry-After:
              seconds as a number, a text as it is
  retry_date  true: the seconds of retry_after go out as a date (RFC 9110 10.2.3)
  hold_s      how long a timeout holds its connection before cutting it, or how long a slow answer takes (default 30)

kind             accepted?  the client sees
status           no         `status` (default 500)
throttle         no         Mailgun 429 with its text; SES 429 TooManyRequestsException; DirectMail 400
                            Throttling.User (or `code`, `body`)
timeout_before   no         nothing for hold_s, then the connection is cut
reset_before     no         a reset instead of an answer
status_after     yes        `status` (default 502) although the mail was taken
timeout_after    yes        nothing for hold_s, then the connection is cut
reset_after      yes        a reset instead of an answer
slow             yes        the right answer, in single bytes spread over hold_s
connect_refused  no         no listener for `seconds`, open connections are cut (the whole sandbox: it has one port)
unverified, paused, suspended   SES only, no: the account state's own error; GetAccount shows paused and suspended
entry            SES only: SendBulkEmail entries get Status `code` (default TRANSIENT_FAILURE), each decided alone
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from enum import StrEnum
from typing import Any, Final

import msgspec

from streams.sandbox.ledger import PROVIDERS

SMTP_STAGES: Final = ("greeting", "login", "mail", "rcpt", "data", "end")


class Kind(StrEnum):
    """See the module's table."""

    STATUS = "status"
    THROTTLE = "throttle"
    TIMEOUT_BEFORE = "timeout_before"
    RESET_BEFORE = "reset_before"
    STATUS_AFTER = "status_after"
    TIMEOUT_AFTER = "timeout_after"
    RESET_AFTER = "reset_after"
    SLOW = "slow"
    CONNECT_REFUSED = "connect_refused"
    UNVERIFIED = "unverified"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    ENTRY = "entry"


REQUEST_KINDS: Final = frozenset(
    {
        Kind.STATUS, Kind.THROTTLE, Kind.TIMEOUT_BEFORE, Kind.RESET_BEFORE, Kind.STATUS_AFTER, Kind.TIMEOUT_AFTER,
        Kind.RESET_AFTER, Kind.SLOW,
    }
)  # fmt: skip
ACCOUNT_KINDS: Final = frozenset({Kind.UNVERIFIED, Kind.PAUSED, Kind.SUSPENDED})
ENTRY_KINDS: Final = frozenset({Kind.ENTRY})


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """One rule."""

    kind: Kind
    provider: str | None = None
    account: str | None = None
    scope: str = "send"
    stage: str | None = None
    rate: float = 1.0
    count: int | None = None
    seconds: float | None = None
    status: int | None = None
    body: str | None = None
    code: str | None = None
    retry_after: float | str | None = None
    retry_date: bool = False
    hold_s: float = 30.0
    id: int = 0
    hits: int = 0
    ends_ms: int | None = None

    @property
    def retry_after_s(self) -> float | None:
        """The wait in seconds, None where there is none or only a text."""
        return self.retry_after if isinstance(self.retry_after, int | float) else None

    def retry_header(self, now_ms: int) -> dict[str, str]:
        """The header of the answer, empty without ``retry_after``."""
        if self.retry_after is None or isinstance(self.retry_after, str):
            return {} if self.retry_after is None else {"Retry-After": self.retry_after}
        if self.retry_date:
            return {"Retry-After": formatdate(now_ms / 1000 + self.retry_after, usegmt=True)}
        return {"Retry-After": f"{self.retry_after:g}"}


def _problem(rule: Fault) -> str | None:
    if rule.provider not in (None, *PROVIDERS):
        return f"provider is one of {', '.join(PROVIDERS)}"
    if rule.stage not in (None, *SMTP_STAGES):
        return f"stage is one of {', '.join(SMTP_STAGES)}"
    if rule.scope not in ("send", "any"):
        return "scope is 'send' or 'any'"
    if not 0 <= rule.rate <= 1:
        return "rate is between 0 and 1"
    if rule.status is not None and not 200 <= rule.status <= 599:
        return "status is between 200 and 599"
    if (
        rule.hold_s < 0
        or (rule.seconds is not None and rule.seconds <= 0)
        or (rule.count is not None and rule.count < 1)
    ):
        return "hold_s must not be negative; seconds and count are positive"
    if rule.retry_date and rule.retry_after_s is None:
        return "retry_date needs seconds in retry_after"
    if rule.kind is Kind.CONNECT_REFUSED and rule.seconds is None:
        return "connect_refused needs seconds"
    return None


class Faults:
    """The rules in force. Draws are seeded."""

    def __init__(self, seed: int, now_ms: Callable[[], int]) -> None:
        self._rules: list[Fault] = []
        self._ids = itertools.count(1)
        self._random = random.Random(seed)
        self._now_ms = now_ms
        self.injected: Counter[str] = Counter()

    def add(self, content: Any) -> Fault:
        """Adds a rule given as decoded JSON. Raises ValueError with a sentence for a wrong one."""
        try:
            rule = msgspec.convert(content, Fault)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error
        if (problem := _problem(rule)) is not None:
            raise ValueError(problem)
        rule.id, rule.hits = next(self._ids), 0
        rule.ends_ms = None if rule.seconds is None else self._now_ms() + int(rule.seconds * 1000)
        if rule.kind is not Kind.CONNECT_REFUSED:  # that one acts at once
            self._rules.append(rule)
        else:
            self.injected[rule.kind] += 1
        return rule

    def active(self) -> list[Fault]:
        """The rules that have not ended."""
        now = self._now_ms()
        self._rules = [
            rule
            for rule in self._rules
            if (rule.ends_ms is None or now < rule.ends_ms) and (rule.count is None or rule.hits < rule.count)
        ]
        return self._rules

    def remove(self, rule_id: int | None) -> int:
        """Ends one rule, or all; returns how many."""
        before = len(self._rules)
        self._rules = [] if rule_id is None else [rule for rule in self._rules if rule.id != rule_id]
        return before - len(self._rules)

    def hit(
        self, provider: str, account: str, sending: bool, kinds: frozenset[Kind], stage: str = "end"
    ) -> Fault | None:
        """The rule that hits this call, counted; None for most calls."""
        if not self._rules:
            return None
        for rule in self.active():
            if rule.kind not in kinds or (rule.scope == "send" and not sending):
                continue
            if rule.provider not in (None, provider) or rule.account not in (None, account):
                continue
            if (rule.stage or "end") != stage:
                continue
            if rule.rate < 1 and self._random.random() >= rule.rate:
                continue
            rule.hits += 1
            self.injected[rule.kind] += 1
            return rule
        return None

    def state(self, provider: str, account: str) -> Kind | None:
        """The account state in force, if it is not the good one; looking at it counts nothing."""
        for rule in self.active() if self._rules else ():
            if rule.kind in ACCOUNT_KINDS and rule.provider in (None, provider) and rule.account in (None, account):
                return rule.kind
        return None
