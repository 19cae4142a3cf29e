"""Settings of bounce mailboxes; see :mod:`streams.settings.model` for the rules."""

# ruff: noqa: RUF009  (key() makes a field, like dataclasses.field)
from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from streams.settings.keys import key, required
from streams.settings.secret import Secret

MAX_MAILBOXES = 16
"""Mailboxes are metric labels: their number is bounded."""


class MailboxTls(StrEnum):
    """How the connection is protected; there is no other way."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"


class After(StrEnum):
    """What becomes of a mail that Kafka has."""

    DELETE = "delete"
    SEEN = "seen"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class MailboxSettings:
    """One mailbox where bounces and complaints arrive, read over IMAP by `streams poll`. See docs/bounces.md."""

    name: str = field(metadata={"hidden": True})
    host: str = required("The IMAP server, whose certificate must carry this name.", "imap.example.com")
    user: str = required("Who logs in.", "bounces@example.com")
    password: Secret = required("The password, by reference.", "env:BOUNCES_PASSWORD")
    port: int = key(993, "Its port: 993 for `implicit`, usually 143 for `starttls`.", least=1, most=65535)
    tls: MailboxTls = key(MailboxTls.IMPLICIT, "`implicit`, or `starttls`; never without TLS.")
    ca_file: str = key("", "PEM file of the authorities to trust; empty trusts the system's.")
    folder: str = key("INBOX", "The folder that is read.")
    after: After = key(
        After.MOVE,
        "What becomes of a mail once Kafka has it: `move` it to `move_to`, `delete` it, or mark it as `seen` (then "
        "nobody else may read in the folder: what is seen already is not fetched).",
    )
    move_to: str = key("Stored", "Folder for stored mails; made if it is missing.")
    provider: str = key(
        "",
        "The configured provider whose mails come back here: named in events, and asked whose a mail is that carries "
        "no id of ours but the provider's. Empty: only what carries ours is understood.",
    )
    verp_secrets: tuple[Secret, ...] = key(
        (),
        "Keys of signed return paths, the newest first. With them a bounce that is not signed is told, but suppresses "
        "nobody.",
    )
    hook: str = key("", "Function that has the last word on each mail.", example="shop.bounces:judge")
    batch: int = key(50, "Mails fetched at once.", least=1, most=500)
    max_bytes: int = key(
        262_144, "Of a longer mail only the beginning is fetched: what counts comes first.", least=4096, most=900_000
    )
    wait_s: float = key(
        60.0,
        "How long one wait for new mail lasts (with IDLE), or the pause between two looks (without).",
        least=0.1,
        most=1500,
    )
    timeout_s: float = key(30.0, "How long the server may be silent.", least=1, most=300)
