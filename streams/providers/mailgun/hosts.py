"""Which hosts may be given the API key.

Rules:

1. The key goes to the API's own host, and to Mailgun's storage hosts: https, a name below ``.mailgun.net``, no port, no
   user. A URL that came in a webhook or a page is held against this before anything is sent.
2. A stored message is addressed by the domain it belongs to: another domain's is not ours.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

REGIONS: Final = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}
"""A domain and its messages live in one region only; the other answers 404."""

_STORAGE: Final = re.compile(r"(?:[a-z0-9-]{1,63}\.){1,4}mailgun\.net")
_KEY: Final = re.compile(r"[A-Za-z0-9_=+.~-]{1,512}")


def is_same_host(url: str, base_url: str) -> bool:
    """Whether ``url`` lies where we asked: the same scheme, host and port."""
    try:
        asked, base = urlsplit(url), urlsplit(base_url)
        return bool(asked.netloc) and (asked.scheme, asked.netloc) == (base.scheme, base.netloc)
    except ValueError:
        return False


def storage_url(url: str, base_url: str, domain: str) -> str:
    """``url`` if it names a stored message of ``domain`` at Mailgun, else empty.

    (Mailgun, "Retrieving stored messages": ``https://REGION.api.mailgun.net/v3/domains/DOMAIN/messages/KEY``.)
    """
    if len(url) > 2000 or not url.isascii() or not url.isprintable():
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    ours = is_same_host(url, base_url)
    theirs = parts.scheme == "https" and _STORAGE.fullmatch(parts.netloc) is not None
    match parts.path.split("/"):
        case ["", "v3", "domains", of_domain, "messages", key] if (
            (ours or theirs)
            and unquote(of_domain).lower() == domain.lower()
            and _KEY.fullmatch(key)
            and key.strip(".") != ""
            and not parts.query
            and not parts.fragment
        ):
            return url
    return ""
