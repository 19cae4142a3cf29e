"""Which links may lead through us, and in which spelling they travel.

Rules:

1. Only absolute ``http`` and ``https`` URLs with a host; all else (``mailto:``, ``tel:``, anchors, relative links,
   scripts) is left alone, and so is whatever is too long or too odd to be sure of.
2. What is sealed is ASCII without controls, spaces or quotes, as a browser would send it: it can be a header's value.
"""

from __future__ import annotations

import re
from html import unescape
from html.entities import html5
from urllib.parse import quote, urlsplit

import idna

MAX_URL = 2_048

_reference = re.compile(r"&(?:#[0-9]{1,8};?|#[xX][0-9a-fA-F]{1,8};?|([A-Za-z][A-Za-z0-9]{0,40});?)")
_web = re.compile(r"https?://[^/?#\\]", re.IGNORECASE).match
_inside = re.compile(r"[\t\n\r]")  # a browser drops them
_odd = re.compile(r"[\x00-\x20\x7f\\]")
_sealed = re.compile(r"https?://[!#-;=?-\[\]-~]{1,2040}", re.IGNORECASE).fullmatch
_SAFE = "!#$%&'()*+,/:;=?@[]~-._^`{|}"


def attribute_text(raw: str) -> str:
    """The value of an attribute as it stands in HTML source, its character references resolved as in attributes."""
    return _reference.sub(_resolved, raw) if "&" in raw else raw


def trackable(value: str) -> str:
    """The URL to lead to, in its travelling form; empty if the link is to be left alone."""
    url = _inside.sub("", value.strip(" \t\n\r\f"))
    if not _web(url) or len(url) > MAX_URL or _odd.search(url.replace(" ", "")):
        return ""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return ""
    if not host:
        return ""
    if not parts.netloc.isascii():
        try:
            url = url.replace(host, idna.encode(host, uts46=True).decode("ascii"), 1)
        except UnicodeError:
            return ""
        if not urlsplit(url).netloc.isascii():
            return ""
    url = quote(url, safe=_SAFE)
    return url if is_sealed_form(url) else ""


def is_sealed_form(url: str) -> bool:
    """Whether a URL can be the value of ``Location`` as it is."""
    return bool(_sealed(url)) and bool(_web(url))


def _resolved(match: re.Match[str]) -> str:
    text, name = match[0], match[1]
    if name is None:
        return unescape(text)
    if text.endswith(";"):
        return html5.get(f"{name};", text)
    following = match.string[match.end() : match.end() + 1]
    return text if following == "=" else html5.get(name, text)  # "&copy=2" is a parameter, not a sign (HTML §13.2.5.73)
