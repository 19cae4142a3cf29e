"""What an SMTP server needs to be told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from streams.core.verp import return_path
from streams.providers._smtp.server import Pipelining, Server, Tls, tls_of_port

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:_-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_CONFIGURATION_SET = re.compile(r"[A-Za-z0-9_-]{0,64}")
_SAMPLE_ID = f"{'a' * 20}-{'a' * 20}"
_MAILGUN = re.compile(r"smtp(\.eu)?\.mailgun\.org")
_DIRECTMAIL = re.compile(r"smtpdm[a-z0-9-]*\.(aliyun|aliyuncs)\.com")
_SES = re.compile(r"email-smtp(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?")


class Encryption(StrEnum):
    """``auto`` goes by the port."""

    AUTO = "auto"
    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


class Service(StrEnum):
    """Whose server it is; ``auto`` goes by the host's name."""

    AUTO = "auto"
    PLAIN = "plain"
    MAILGUN = "mailgun"
    SES = "ses"
    DIRECTMAIL = "directmail"


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@dataclass(frozen=True, slots=True)
class Config:
    """Keys of ``[providers.NAME]`` with ``type = "smtp"``."""

    host: str = field(metadata=_doc("Name of the server; its certificate must be for this name."))
    port: int = field(
        default=587, metadata=_doc("465 for TLS from the start, 587 for STARTTLS.") | {"least": 1, "most": 65535}
    )
    tls: Encryption = field(
        default=Encryption.AUTO,
        metadata=_doc(
            "`auto`: implicit at ports 465 and 2465, else STARTTLS, which must then be offered. `none` sends "
            "everything in the clear, the password too."
        ),
    )
    ca_file: str = field(default="", metadata=_doc("PEM file of the authorities to trust; empty trusts the system's."))
    username: str = field(default="", metadata=_doc("Name to log in with; empty for a server that asks for none."))
    password: str = field(default="", repr=False, metadata=_doc("Password to log in with."))
    helo: str = field(default="", metadata=_doc("How we call ourselves in EHLO; empty for this host's name."))
    service: Service = field(
        default=Service.AUTO,
        metadata=_doc(
            "Whose headers and answers to use; `auto` knows the servers of Mailgun, SES and DirectMail by name."
        ),
    )
    reported_by: str = field(
        default="",
        metadata=_doc(
            "The `[providers.NAME]` whose webhooks tell about mail handed over here, being the same account; empty: "
            "every one of the service's type."
        ),
    )
    configuration_set: str = field(default="", metadata=_doc("SES only: the configuration set of every message."))
    return_path: str = field(
        default="",
        metadata=_doc(
            "Where bounces come back: a domain (`bounces.example.com`) or a mailbox with sub-addressing "
            "(`back@example.com`); each attempt gets an address of its own there. Empty: the sender's address. "
            "The services use their own."
        ),
    )
    return_path_key: str = field(
        default="",
        repr=False,
        metadata=_doc(
            "Signs the return path and Message-ID, so that a bounce can prove that it answers a mail of ours."
        ),
    )
    connect_timeout_s: float = field(
        default=10.0, metadata=_doc("How long connecting and logging in may take.") | {"least": 0.1, "most": 300}
    )
    max_messages: int = field(
        default=100, metadata=_doc("Messages over one connection.") | {"least": 1, "most": 100_000}
    )
    max_age_s: float = field(
        default=300.0, metadata=_doc("A connection is not used any longer than this.") | {"least": 1, "most": 86_400}
    )
    idle_s: float = field(
        default=15.0, metadata=_doc("An idle connection is closed after this.") | {"least": 0.1, "most": 3600}
    )
    pipelining: Pipelining = field(
        default=Pipelining.ENVELOPE,
        metadata=_doc(
            "What leaves together where the server offers PIPELINING: `off` nothing, `envelope` sender, recipient and "
            "`DATA`, `overlap` these behind the end of the message before, which not every server bears."
        ),
    )
    visibility_delay_s: float = field(
        default=900.0,
        metadata=_doc(
            "How long to wait for a bounce or another event that settles a doubtful send; then `on_uncertain` decides."
        ),
    )

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise ValueError(f"host must be a host name or an IP address, not {self.host!r}")
        if bool(self.username) != bool(self.password):
            raise ValueError("username and password belong together")
        if not all("!" <= c <= "~" for c in self.helo):
            raise ValueError("helo must be one word of ASCII")
        if not _CONFIGURATION_SET.fullmatch(self.configuration_set):
            raise ValueError("configuration_set may hold letters, digits, - and _, at most 64")
        if self.return_path:
            return_path(self.return_path, _SAMPLE_ID, 999, self.key)  # no retry policy goes so far
            host = self.return_path.rpartition("@")[2]
            if not _HOST.fullmatch(host):
                raise ValueError(f"return_path must be a domain or a mailbox, not {self.return_path!r}")

    @property
    def key(self) -> bytes:
        """The signing key of return paths, empty for none."""
        return self.return_path_key.encode()

    @property
    def known_service(self) -> Service:
        """``service`` with ``auto`` decided."""
        if self.service is not Service.AUTO:
            return self.service
        host = self.host.lower()
        if _MAILGUN.fullmatch(host):
            return Service.MAILGUN
        if _DIRECTMAIL.fullmatch(host):
            return Service.DIRECTMAIL
        return Service.SES if _SES.fullmatch(host) else Service.PLAIN

    @property
    def server(self) -> Server:
        """Where and how to connect."""
        tls = tls_of_port(self.port) if self.tls is Encryption.AUTO else Tls(self.tls.value)
        return Server(
            host=self.host.strip("[]"),
            port=self.port,
            tls=tls,
            username=self.username,
            password=self.password,
            ca_file=self.ca_file,
            helo=self.helo,
            connect_timeout_s=self.connect_timeout_s,
            max_messages=self.max_messages,
            max_age_s=self.max_age_s,
            idle_s=self.idle_s,
            pipelining=self.pipelining,
        )
