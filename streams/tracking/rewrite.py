"""Puts our links and pixel into a body, with holes for what is personal, so that a batch stays one body.

Rules:

1. Nothing but the values of links changes, and the pixel comes in; every other character stays where it is.
2. A link that is the same for all is sealed once. A link with holes of its own becomes one hole: its URL is known, and
   sealed, only when a recipient's values are.
3. Links into our own pages, those a sender marked, and those named ``untouched`` stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streams.providers.base import Pattern, Slot, fill
from streams.tracking.html import MAX_CHARS, MAX_LINKS, Found, Href, find_links
from streams.tracking.urls import attribute_text, trackable

_MARKS = ("\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3")  # characters that no text should hold (Unicode §23.7)
_url = re.compile(r"https?://[^\s<>\"'`{}|^\\]{1,2048}", re.IGNORECASE)
_trailing = ".,;:!?)]*_~"
UNSUBSCRIBE_URL = "unsubscribe_url"


@dataclass(frozen=True, slots=True)
class Links:
    """How a link is rewritten: ``prefix``, the recipient's half in the slot ``who``, a dot, and ``seal(url)``."""

    prefix: str
    who: str
    seal: Callable[[str], str]
    ours: str
    """What the links of our own pages begin with."""
    untouched: frozenset[str] = frozenset()

    def target(self, raw: str, *, html: bool) -> str:
        """Where a link leads, in its travelling form; empty if it stays as it is."""
        text = attribute_text(raw) if html else raw
        if text.startswith(self.ours) or text in self.untouched or (not html and any(map(str.isspace, text))):
            return ""
        return trackable(text)


@dataclass(frozen=True, slots=True)
class PersonalLink:
    """A link that is another one for each recipient: its slot, and the pattern of the value it had."""

    name: str
    value: Pattern
    html: bool

    def written(self, links: Links, variables: Mapping[str, str], who: str) -> str:
        """What stands in its place for a recipient."""
        raw = fill(self.value, variables)
        url = links.target(raw, html=self.html)
        return f"{links.prefix}{who}.{links.seal(url)}" if url else raw


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A body with our links in it."""

    pattern: Pattern
    personal: tuple[PersonalLink, ...] = ()


def rewrite_html(pattern: Pattern, links: Links | None, pixel: Pattern = ()) -> Rewritten:
    """An HTML body with its links led through us (unless ``links`` is None), and the pixel at the end of its body."""
    joined = _Joined.of(pattern)
    if joined is None:
        return Rewritten((*pattern, *pixel))
    return _rewritten(joined, find_links(joined.text), links, pixel, html=True)


def rewrite_text(pattern: Pattern, links: Links) -> Rewritten:
    """A plain text with its URLs led through us."""
    joined = _Joined.of(pattern)
    if joined is None or len(joined.text) > MAX_CHARS:
        return Rewritten(pattern)
    places = []
    for match in _url.finditer(joined.text):
        places.append(Href(match.start(), match.start() + len(match[0].rstrip(_trailing)), quoted=True))
        if len(places) == MAX_LINKS:
            break
    return _rewritten(joined, Found(tuple(places), len(joined.text)), links, (), html=False)


def pixel_of(prefix: str, who: str) -> Pattern:
    """The image of one point that tells of an open."""
    style = "display:block;width:1px;height:1px;border:0"
    return (f'<img src="{prefix}', Slot(who), f'" width="1" height="1" alt="" style="{style}">')


@dataclass(slots=True)
class _Joined:
    """A pattern as one text, a mark for each slot."""

    text: str
    mark: str
    slots: tuple[Slot, ...]

    @classmethod
    def of(cls, pattern: Pattern) -> _Joined | None:
        """None if every mark we know stands in the text already."""
        slots = tuple(part for part in pattern if isinstance(part, Slot))
        if not slots:
            return cls("".join(map(str, pattern)), "", ())
        literal = "".join(part for part in pattern if isinstance(part, str))
        mark = next((mark for mark in _MARKS if mark not in literal), "")
        return cls("".join(p if isinstance(p, str) else mark for p in pattern), mark, slots) if mark else None

    def count(self, start: int, end: int) -> int:
        """How many slots stand between two places."""
        return self.text.count(self.mark, start, end) if self.mark else 0

    def cut(self, start: int, end: int, first: int) -> list[str | Slot]:
        """The pattern between two places; ``first`` is the number of the first slot there."""
        if not self.mark:
            return [self.text[start:end]] if start < end else []
        parts: list[str | Slot] = []
        for index, piece in enumerate(self.text[start:end].split(self.mark)):
            if index:
                parts.append(self.slots[first + index - 1])
            if piece:
                parts.append(piece)
        return parts


def _rewritten(joined: _Joined, found: Found, links: Links | None, pixel: Pattern, *, html: bool) -> Rewritten:
    out: list[str | Slot] = []
    personal: dict[Pattern, PersonalLink] = {}
    sealed: dict[str, str] = {}
    at = slots_done = counted = slots_seen = 0
    for place in found.links if links is not None else ():
        assert links is not None
        slots_seen += joined.count(counted, place.start)
        counted = place.start
        raw = joined.cut(place.start, place.end, slots_seen)
        own: list[str | Slot]
        if any(isinstance(part, Slot) for part in raw):
            if not place.quoted or _is_unsubscribe(raw):
                continue
            own = [Slot(_personal(personal, tuple(raw), html).name)]
        else:
            url = links.target("".join(map(str, raw)), html=html)
            if not url:
                continue
            if url not in sealed:
                sealed[url] = links.seal(url)
            own = [links.prefix, Slot(links.who), f".{sealed[url]}"]
        out += [*joined.cut(at, place.start, slots_done), *own]
        at = place.end
        slots_done = slots_seen + joined.count(place.start, place.end)
    end = max(found.body_end, at)
    out += [*joined.cut(at, end, slots_done), *pixel]
    out += joined.cut(end, len(joined.text), slots_done + joined.count(at, end))
    return Rewritten(_merged(out), tuple(personal.values()))


def _personal(known: dict[Pattern, PersonalLink], value: Pattern, html: bool) -> PersonalLink:
    if value not in known:
        known[value] = PersonalLink(f"k_{'h' if html else 't'}{len(known)}", value, html)
    return known[value]


def _is_unsubscribe(raw: list[str | Slot]) -> bool:
    return any(isinstance(part, Slot) and part.name[2:].startswith(UNSUBSCRIBE_URL) for part in raw)


def _merged(parts: list[str | Slot]) -> Pattern:
    merged: list[str | Slot] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)
