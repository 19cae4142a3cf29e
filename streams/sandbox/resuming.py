"""A sandbox that starts again takes up what its ledger tells: suppression lists, quotas, and what is left to report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from streams.sandbox.ledger import Accepted, Ledger, Reported
from streams.sandbox.ses_account import Quota
from streams.sandbox.suppressions import SuppressionLists


class _Reporter(Protocol):
    def wants(self, event: str, /) -> bool: ...


class Resumes(Protocol):
    """A provider, as far as an earlier run matters to it."""

    @property
    def reporter(self) -> _Reporter: ...

    def suppress(self, record: Accepted) -> None:
        """Remember whom this outcome put on a list."""

    def report(self, record: Accepted, done: frozenset[int]) -> None:
        """Report its events, but for those at these places."""


def resume(ledger: Ledger, providers: Mapping[str, Resumes], lists: SuppressionLists, ses: Quota) -> None:
    """Read the ledger and go on. Only records with something left to report are held meanwhile."""
    waiting: _Waiting = {}

    def accepted(record: Accepted) -> None:
        provider = providers.get(record.provider)
        if provider is None:  # a server that is not wanted this time
            return
        provider.suppress(record)
        if record.provider == "ses":
            ses.count(1, record.accepted_ms)
        if any(provider.reporter.wants(name) for name in record.plan.events):
            key = (record.provider, record.provider_message_id, record.recipient)
            waiting.setdefault(key, []).append((record, set()))

    ledger.load(accepted, lambda event: _strike_off(waiting, event), lists.apply)
    for rows in waiting.values():
        for record, done in rows:
            providers[record.provider].report(record, frozenset(done))


_Waiting = dict[tuple[str, str, str], list[tuple[Accepted, set[int]]]]


def _strike_off(waiting: _Waiting, event: Reported) -> None:
    """One event of a record need not be reported any more; a record without such leaves."""
    key = (event.webhook, event.provider_message_id, event.recipient)
    rows = waiting.get(key, [])
    for record, done in rows:
        for index, name in enumerate(record.plan.events):
            if name == event.event and index not in done:
                done.add(index)
                left = [row for row in rows if len(row[1]) < len(row[0].plan.events)]
                if left:
                    waiting[key] = left
                else:
                    del waiting[key]
                return
