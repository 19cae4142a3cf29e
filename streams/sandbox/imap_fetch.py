"""What FETCH answers about one mail (RFC 3501, 7.4.2)."""

from __future__ import annotations

import time
from typing import Final

from streams.sandbox.imap_folders import SEEN, Folder, Mail
from streams.sandbox.imap_wire import Malformed

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def fetched(folder: Folder, mail: Mail, item: str) -> bytes:
    """One item (in capitals) with its value. Raises Malformed for one that is not known, and FileNotFoundError."""
    match item:
        case "UID":
            return f"UID {mail.uid}".encode()
        case "FLAGS":
            return f"FLAGS ({' '.join(sorted(mail.flags))})".encode()
        case "RFC822.SIZE":
            return f"RFC822.SIZE {mail.size}".encode()
        case "INTERNALDATE":
            return f'INTERNALDATE "{_date(mail.arrived_s)}"'.encode()
    name, bracket, rest = item.partition("[")
    section, _, part = rest.partition("]")
    if name not in ("BODY", "BODY.PEEK") or not bracket or section not in ("", "HEADER", "TEXT"):
        raise Malformed(f"cannot fetch {item}")
    content, label = _section(folder.read(mail), section), f"BODY[{section}]"
    if part:
        first, length = map(int, part.strip("<>").split("."))
        content, label = content[first : first + length], f"{label}<{first}>"
    if name == "BODY" and SEEN not in mail.flags:
        folder.flag(mail, mail.flags | {SEEN})
    return f"{label} {{{len(content)}}}\r\n".encode() + content


def _section(content: bytes, section: str) -> bytes:
    head, blank, body = content.partition(b"\r\n\r\n")
    return {"": content, "HEADER": head + blank, "TEXT": body}[section]


def _date(at_s: float) -> str:
    day = time.gmtime(at_s)
    return f"{day.tm_mday:2d}-{_MONTHS[day.tm_mon - 1]}-{day.tm_year} {time.strftime('%H:%M:%S', day)} +0000"
