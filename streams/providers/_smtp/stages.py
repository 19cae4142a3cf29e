"""Where in an SMTP session a reply was given: the same code means another thing at another place."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """In order."""

    CONNECT = "connect"  # up to the greeting
    HELLO = "hello"
    TLS = "tls"
    LOGIN = "login"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # before the message
    END = "end"  # after the final dot
