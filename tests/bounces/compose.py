"""Writes ``tests/payloads/bounces``: mails composed from the formats of bounces, and the table of what each must read as.

python -m tests.bounces.compose

What is expected is written here beside each mail, from RFC 3463, RFC 3464, RFC 5965 and the large hosts' own pages; it
is never taken from the parser.
"""

from __future__ import annotations

import base64
import quopri
from dataclasses import dataclass, field
from email.header import Header
from pathlib import Path

from streams.core.ids import message_id, recipient_key
from streams.core.verp import message_id_header, return_path

PAYLOADS = Path(__file__).parent.parent / "payloads" / "bounces"
COLUMNS = ("file", "form", "kind", "recipient", "reason", "bounce", "suppress", "message_id", "attempt")
DATE = "Thu, 01 Jan 2026 00:00:00 +0000"
KEY = b"the key of the composed mails"
SENDER = "news@shop.example.com"


@dataclass(frozen=True)
class Want:
    """What one recipient must read as. ``reason`` and ``bounce`` empty for none."""

    kind: str
    recipient: str
    reason: str = ""
    bounce: str = ""
    suppress: bool = False


def hard(recipient: str, reason: str = "bad_mailbox", suppress: bool = True) -> Want:
    return Want("failed", recipient, reason, "hard", suppress)


def soft(recipient: str, reason: str) -> Want:
    return Want("failed", recipient, reason, "soft")


def block(recipient: str, reason: str) -> Want:
    return Want("failed", recipient, reason, "block")


def unknown(recipient: str) -> Want:
    return Want("failed", recipient, "unknown", "unknown")


def delayed(recipient: str, reason: str) -> Want:
    return Want("delayed", recipient, reason)


@dataclass
class Mails:
    """The mails so far, and the rows of the table."""

    files: dict[str, bytes] = field(default_factory=dict)
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, name: str, form: str, raw: bytes | str, wants: list[Want], ours: tuple[str, int] | None) -> None:
        file = f"{len(self.files) + 1:03}-{name}.eml"
        self.files[file] = raw if isinstance(raw, bytes) else raw.encode()
        identity, attempt = ours or ("", 0)
        for want in wants or [Want("", "")]:
            flag = "yes" if want.suppress else "no"
            self.rows.append(
                (file, form, want.kind, want.recipient, want.reason, want.bounce, flag, identity, str(attempt))
            )


class Origin:
    """Our mail to one recipient, and the forms in which a bounce may show it."""

    def __init__(self, recipient: str, attempt: int = 1) -> None:
        self.recipient, self.attempt = recipient, attempt
        self.id = message_id("shop", "campaign-7", recipient_key("shop", recipient))
        self.path = return_path("bounces.example.com", self.id, attempt, KEY)
        self.header = message_id_header("shop.example.com", self.id, attempt, KEY)

    @property
    def ours(self) -> tuple[str, int]:
        return self.id, self.attempt

    def headers(self, with_id: bool = True) -> str:
        mid = self.header if with_id else "<20260101.0001@relay.example>"
        return (
            f"From: Shop <{SENDER}>\nTo: {self.recipient}\nSubject: Your order\nMessage-ID: {mid}\n"
            f"Date: {DATE}\nMIME-Version: 1.0\nContent-Type: text/plain\n"
        )


def group(address: str, action: str, status: str, diagnostic: str = "", original: str = "", extra: str = "") -> str:
    lines = [f"Original-Recipient: rfc822;{original}"] if original else []
    lines.append(f"Final-Recipient: rfc822; {address}")
    lines += [f"Action: {action}"] if action else []
    lines += [f"Status: {status}"] if status else []
    lines += [extra] if extra else []
    lines += [f"Diagnostic-Code: {diagnostic}"] if diagnostic else []
    return "\n".join(lines) + "\n"


def report(
    to: str,
    groups: str,
    *,
    returned: str = "",
    returned_type: str = "message/rfc822",
    text: str = "This mail could not be delivered. Details follow.",
    sender: str = "MAILER-DAEMON@mx.example.net (Mail Delivery System)",
    subject: str = "Undelivered Mail Returned to Sender",
    headers: str = "Auto-Submitted: auto-replied\n",
    top: str = "multipart/report; report-type=delivery-status",
    per_message: str = "Reporting-MTA: dns; mx.example.net\nArrival-Date: Wed, 31 Dec 2025 23:00:00 +0000\n",
    status_type: str = "message/delivery-status",
    status_headers: str = "",
    boundary: str = "=_part_0001",
) -> str:
    third = f"\n--{boundary}\nContent-Type: {returned_type}\n\n{returned}\nThe body of our mail.\n" if returned else ""
    return (
        f"Return-Path: <>\nFrom: {sender}\nTo: {to}\nSubject: {subject}\nDate: {DATE}\n{headers}"
        f'Message-ID: <dsn-1@mx.example.net>\nMIME-Version: 1.0\nContent-Type: {top};\n\tboundary="{boundary}"\n\n'
        f"This is a MIME-encapsulated message.\n\n--{boundary}\nContent-Description: Notification\n"
        f"Content-Type: text/plain; charset=us-ascii\n\n{text}\n\n--{boundary}\nContent-Description: Delivery report\n"
        f"Content-Type: {status_type}\n{status_headers}\n{per_message}\n{groups}{third}\n--{boundary}--\n"
    )


def words(
    to: str,
    body: str,
    *,
    sender: str = "MAILER-DAEMON@mx.example.net",
    subject: str = "failure notice",
    headers: str = "",
    type_: str = "text/plain; charset=utf-8",
) -> str:
    encoded = subject if subject.isascii() else Header(subject, "utf-8").encode()
    return (
        f"Return-Path: <>\nFrom: {sender}\nTo: {to}\nSubject: {encoded}\nDate: {DATE}\n{headers}"
        f"MIME-Version: 1.0\nContent-Type: {type_}\nContent-Transfer-Encoding: 8bit\n\n{body}\n"
    )


def feedback(
    to: str, fields: str, returned: str, *, type_: str = "message/rfc822", sender: str = "fbl@isp.example"
) -> str:
    return (
        f"From: {sender}\nTo: {to}\nSubject: FW: Your order\nDate: {DATE}\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="=_fbl"\n\n'
        "--=_fbl\nContent-Type: text/plain\n\nThis is an abuse report for a mail from 192.0.2.1.\n\n"
        f"--=_fbl\nContent-Type: message/feedback-report\n\n{fields}\n"
        f"--=_fbl\nContent-Type: {type_}\nContent-Disposition: inline\n\n{returned}\nbody\n--=_fbl--\n"
    )


def compose() -> Mails:
    """All of them."""
    from tests.bounces import compose_other, compose_status, compose_words

    mails = Mails()
    compose_status.add_to(mails)
    compose_words.add_to(mails)
    compose_other.add_to(mails)
    return mails


def base64_of(text: str) -> str:
    return base64.encodebytes(text.encode()).decode()


def quoted(text: str) -> str:
    return quopri.encodestring(text.encode()).decode()


def main() -> None:
    """Write every file anew."""
    mails = compose()
    PAYLOADS.mkdir(parents=True, exist_ok=True)
    for old in PAYLOADS.glob("*.eml"):
        old.unlink()
    for name, raw in mails.files.items():
        (PAYLOADS / name).write_bytes(raw)
    lines = ["\t".join(COLUMNS), *("\t".join(row) for row in mails.rows)]
    (PAYLOADS / "expected.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
