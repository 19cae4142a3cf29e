"""Where an SMTP server is and how to log in there. Plain values; nothing is contacted."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache

IMPLICIT_TLS_PORTS = frozenset({465, 2465})


class Tls(StrEnum):
    """How a connection is encrypted."""

    IMPLICIT = "implicit"  # from the first byte (RFC 8314)
    STARTTLS = "starttls"  # or not at all: an offer that is missing is a refusal
    NONE = "none"


class Pipelining(StrEnum):
    """What may leave before the answers to what left before it, where the server offers PIPELINING (RFC 2920)."""

    OFF = "off"
    ENVELOPE = "envelope"  # MAIL, RCPT and DATA of a message together
    OVERLAP = "overlap"  # and behind the end of the message before them


def tls_of_port(port: int) -> Tls:
    """What is usual at a port, where nothing is said: never unencrypted."""
    return Tls.IMPLICIT if port in IMPLICIT_TLS_PORTS else Tls.STARTTLS


@dataclass(frozen=True, slots=True)
class Server:
    """One account at one server. ``ca_file`` replaces the system's authorities; ``username`` empty: no login."""

    host: str
    port: int
    tls: Tls
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    helo: str = ""
    connect_timeout_s: float = 10.0
    max_messages: int = 100
    max_age_s: float = 300.0
    idle_s: float = 15.0
    pipelining: Pipelining = Pipelining.ENVELOPE


@lru_cache(maxsize=64)
def tls_context(ca_file: str) -> ssl.SSLContext:
    """A context that checks certificate and name. Shared: building one costs more than a connection."""
    return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file or None)


@cache
def own_name() -> str:
    """How to greet where nothing is configured: the host's name if it has a domain (RFC 5321 §4.1.3)."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() and " " not in name else "[127.0.0.1]"
