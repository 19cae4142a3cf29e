"""What normalise asks of a bounce mailbox: a raw mail in, sightings out; a user's hook has the last word.

Rules:

1. Only what became of a message is a sighting: relayed, expanded and taken-back complaints change nothing.
2. An id that a sender of bounces may have made up is a claim. With ``keys``, a bounce whose id is not signed is told,
   but stops no mail to the address. A complaint always does: too much caution costs one address, too little the sender.
3. A hook that fails changes nothing: one log line, and the built-in verdict stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from typing import Protocol, cast

from streams.bounces.report import read_mail
from streams.bounces.verdict import Kind, Report, Verdict
from streams.core.ids import fingerprint
from streams.core.receipt import ReceiptKind
from streams.providers.base import Reading, Sighting, Unreadable

TYPE = "bounces"

RECEIPTS: Mapping[Kind, ReceiptKind] = {
    Kind.FAILED: ReceiptKind.BOUNCED,
    Kind.DELAYED: ReceiptKind.DEFERRED,
    Kind.DELIVERED: ReceiptKind.DELIVERED,
    Kind.COMPLAINT: ReceiptKind.COMPLAINED,
    Kind.UNSUBSCRIBE: ReceiptKind.UNSUBSCRIBED,
}
"""What is not here concerns no message."""

_FORGEABLE = frozenset({Kind.FAILED})

log = logging.getLogger(__name__)


class Refusal(ValueError):
    """A hook that cannot be used; the text says why."""


class Hook(Protocol):
    """Sees a raw mail and what it was read as; returns another report, or None to leave it."""

    def __call__(self, raw: bytes, report: Report) -> Report | None: ...


def load_hook(path: str) -> Hook | None:
    """The function that ``package.module:function`` names, None for an empty text. Raises :class:`Refusal`."""
    if not path:
        return None
    module_name, colon, name = path.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise Refusal(f"must be package.module:function, not {path!r}")
    try:
        found = getattr(import_module(module_name), name, None)
    except Exception as exc:  # importing a user's module may raise anything
        raise Refusal(f"{module_name} cannot be imported: {type(exc).__name__}: {exc}") from exc
    if not callable(found):
        raise Refusal(f"{module_name} has no function {name}")
    return cast(Hook, found)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A reader of ``webhooks.bounces``. ``provider`` is who sends the mails that come back here, if it is one."""

    name: str
    provider: str = ""
    keys: Sequence[bytes] = ()
    hook: Callable[[bytes, Report], Report | None] | None = None
    type: str = TYPE

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable:
        """The sightings in one raw mail."""
        report = self._asked(payload, read_mail(payload, self.keys))
        return Reading(tuple(self._sightings(report, payload, received_ms)), report.unknown_words)

    def _asked(self, raw: bytes, report: Report) -> Report:
        if self.hook is None:
            return report
        try:
            answer: object = self.hook(raw, report)
        except Exception as exc:  # noqa: BLE001  (a user's code may raise anything)
            said = " ".join(str(exc).split())[:200]
            log.error("%s: the hook failed, the built-in verdict stands: %s: %s", self.name, type(exc).__name__, said)
            return report
        if answer is None:
            return report
        if isinstance(answer, Report):
            return answer
        log.error("%s: the hook must return a Report or None, not %s", self.name, type(answer).__name__)
        return report

    def _sightings(self, report: Report, payload: bytes, received_ms: int) -> Iterator[Sighting]:
        for verdict in report.verdicts:
            kind = RECEIPTS.get(verdict.kind)
            if kind is None:
                continue
            yield Sighting(
                kind,
                _identity(report, verdict, payload),
                verdict.occurred_ms or received_ms,
                report.message_id,
                report.attempt,
                "" if report.message_id else report.provider_message_id if self.provider else "",
                verdict.recipient,
                verdict.reason,
                verdict.bounce_type,
                verdict.suppress and (not self.keys or report.signed or verdict.kind not in _FORGEABLE),
                provider=self.provider,
            )


def _identity(report: Report, verdict: Verdict, payload: bytes) -> str:
    """The same for every report of one end of one attempt; a delay is one fact per report."""
    whose = report.message_id or report.provider_message_id
    parts = [verdict.kind.value, whose, str(report.attempt), verdict.recipient.lower()]
    if not whose or verdict.kind is Kind.DELAYED:
        parts.append(report.reported_id or blake2b(payload, digest_size=16).hexdigest())
    return fingerprint(*(part.encode("utf-8", "replace") for part in parts))
