"""The whole system: four providers, every way in. See :mod:`streams.demo.system` for the rest of it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from streams.broker import free_port
from streams.demo.config import MAILGUN, MORE, RULES, SES, TRACKING_URL
from streams.demo.system import DemoFailed, DemoSystem


class WholeSystem(DemoSystem):
    """With SMTP and its bounce mailbox, DirectMail, queues, links of our own, and the process that fetches."""

    def __init__(self, folder: Path, run: str, bootstrap: str | None = None) -> None:
        super().__init__(folder, run, bootstrap)
        self._smtp_port, self._imap_port, self._poll_port = free_port(), free_port(), free_port()

    def start(self, phase: Callable[[str], None]) -> None:
        """As :meth:`DemoSystem.start`."""
        if find_spec("aiosmtpd") is None:
            raise DemoFailed("its mail server needs the extra `sandbox`: pip install 'streams-mail[sandbox]'")
        super().start(phase)

    def nothing_waits(self) -> bool:
        """Whether every report has been posted or fetched."""
        stats = self.stats()
        if stats["pending_webhooks"] or stats["queue"]["left"]:
            return False
        mailbox = self.folder / "sandbox" / "maildir"
        return not any(True for name in ("new", "cur") for _ in (mailbox / name).iterdir())

    def _sandbox_options(self) -> list[str]:
        ports = ["--smtp-port", str(self._smtp_port), "--starttls-port", "0", "--imap-port", str(self._imap_port)]
        return [*ports, "--queue", "envelope", "--queue-share", "0.25", "--mns-share", "0.5"]

    def _start_more(self, env: dict[str, str]) -> None:
        self._spawn("poll", [], env)
        self._await("poll", f"http://127.0.0.1:{self._poll_port}/health/ready")

    def _texts(self) -> dict[str, str]:
        more = MORE.format(
            poll_port=self._poll_port,
            smtp_port=self._smtp_port,
            imap_port=self._imap_port,
            folder=self.folder,
            sandbox=self.sandbox_url,
            tracking=TRACKING_URL,
        )
        return {"mailgun": MAILGUN, "ses": SES.format(sandbox=self.sandbox_url), "rules": RULES, "more": more}
