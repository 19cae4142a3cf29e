"""Where mails about mails go: a Maildir, which any IMAP server can serve, and their due times.

An event happens about one event delay after the message was accepted, is written to `new/` at once, and ends with its
line in the ledger. What was waiting when the sandbox stopped is taken up from the ledger.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from streams.sandbox.ledger import Accepted, Ledger, Reported
from streams.sandbox.outcomes import due_ms, uuid_event_id
from streams.sandbox.smtp_reports import report


class Maildir:
    """Delivers; a name is never used twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._serial = itertools.count()
        for name in ("cur", "new", "tmp"):
            (path / name).mkdir(parents=True, exist_ok=True)

    def deliver(self, mail: bytes, at_ms: int) -> None:
        """One mail, complete before it can be seen."""
        name = f"{at_ms // 1000}.M{at_ms % 1000}P{os.getpid()}Q{next(self._serial)}.sandbox"
        waiting = self.path / "tmp" / name
        waiting.write_bytes(mail)
        waiting.rename(self.path / "new" / name)


class Returns:
    """Reports of the SMTP sandbox: planned, delivered, written down. `pending` hears +1 and -1."""

    provider = "smtp"

    def __init__(self, ledger: Ledger, maildir: Maildir, host: str, unit_ms: float, now_ms: Callable[[], int],
                 pending: Callable[[int], None]) -> None:  # fmt: skip
        self._ledger = ledger
        self._maildir = maildir
        self._host = host
        self._unit_ms = unit_ms
        self._now_ms = now_ms
        self._pending = pending
        self._timers: set[asyncio.TimerHandle] = set()

    def wants(self, event: str) -> bool:
        """Every event is a mail."""
        return True

    def schedule(self, record: Accepted) -> None:
        """Plan the mail about a record, if its fate has one and there is somebody to send it to."""
        if not record.plan.events or not record.detail:
            return
        self._pending(1)
        at_ms = due_ms(record, 1, self._unit_ms)
        loop = asyncio.get_running_loop()

        def deliver() -> None:
            self._timers.discard(timer)
            self._deliver(record, at_ms)

        timer = loop.call_later(max(0.0, (at_ms - self._now_ms()) / 1000), deliver)
        self._timers.add(timer)

    def stop(self) -> None:
        """Forget the timers; the next start plans them again."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _deliver(self, record: Accepted, at_ms: int) -> None:
        event = record.plan.events[0]
        self._maildir.deliver(report(record, event, self._host, at_ms), self._now_ms())
        self._pending(-1)
        self._ledger.report(
            Reported(
                "smtp", uuid_event_id(record, 0), event, record.recipient, record.provider_message_id,
                record.variables, at_ms, "delivered", 1, 250, self._now_ms(),
            )
        )  # fmt: skip
