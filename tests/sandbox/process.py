"""A sandbox in a process of its own: for tests that kill it, and for measuring what it costs.

`python -m tests.sandbox.process LEDGER [MAILGUN_WEBHOOK [SES_WEBHOOK]]` prints its URL on the first line.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import uvloop

from streams.sandbox import MailgunConfig, Sandbox, SandboxConfig, SesConfig, serve

ROOT = Path(__file__).parents[2]


def start(ledger: Path, *webhooks: str) -> tuple[subprocess.Popen[str], str]:
    """(process, base URL). The caller ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sandbox.process", str(ledger), *webhooks],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def main(ledger: str, mailgun_webhook: str = "", ses_webhook: str = "") -> None:
    config = SandboxConfig(
        ledger_path=Path(ledger),
        webhook_delay_s=0.05,
        mailgun=MailgunConfig(webhook_url=mailgun_webhook or None),
        ses=SesConfig(webhook_url=ses_webhook or None),
    )

    def ready(sandbox: Sandbox) -> None:
        print(sandbox.url, flush=True)

    uvloop.run(serve(config, ready))


if __name__ == "__main__":
    main(*sys.argv[1:])
