"""Finds the links of an HTML text without touching it: a tokenizer of the HTML standard's states, for tags alone.

Rules:

1. Comments, declarations, and what stands in ``script``, ``style``, ``textarea`` and the like hold no links.
2. Time is linear: what is not closed ends the search. Size, tags and links are bounded; what lies behind is left as is.
3. The text is never built anew: we give places (start, end), and others put something there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARS = 1_000_000
MAX_TAGS = 50_000
MAX_LINKS = 500
NO_TRACK = "data-no-track"

_S = r"[ \t\n\f\r]"
_tag_name = re.compile(r"[A-Za-z][^ \t\n\f\r/>]*+")
_rest_of_tag = re.compile(rf"(?>[^>=]++|={_S}*+(?:\"[^\"]*+\"|'[^']*+'|(?![\"'])))*+>")
_attribute = re.compile(
    r"([^ \t\n\f\r/>=][^ \t\n\f\r/>=]*+)"
    rf"(?:{_S}*+={_S}*+(?:\"([^\"]*+)\"|'([^']*+)'|([^ \t\n\f\r>\"'][^ \t\n\f\r>]*+)))?"
)
_comment_end = re.compile(r"--!?>")
_RAW = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"})
_raw_ends = {name: re.compile(rf"</{name}(?=[ \t\n\f\r/>])", re.IGNORECASE) for name in _RAW}
_LINKS = frozenset({"a", "area"})


@dataclass(frozen=True, slots=True)
class Href:
    """Where the value of a link's ``href`` stands, without its quotes."""

    start: int
    end: int
    quoted: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The links, in order, and where the last thing of the body may be put (before ``</body>``, or at the end)."""

    links: tuple[Href, ...]
    body_end: int


def find_links(text: str) -> Found:
    """The links of an HTML text that may be counted, and the end of its body."""
    if len(text) > MAX_CHARS:
        return Found((), _body_end_of_a_giant(text))
    links: list[Href] = []
    body_end, at, tags = len(text), 0, 0
    while tags < MAX_TAGS:
        at = text.find("<", at)
        if at < 0:
            break
        end, name = _markup(text, at)
        if end < 0:
            break
        tags += 1
        if name:
            if name in _LINKS and text[at + 1] != "/" and len(links) < MAX_LINKS:
                href = _href(text, at + 1 + len(name), end)
                if href is not None:
                    links.append(href)
            elif name == "body" and text[at + 1] == "/":
                body_end = at
            elif name in _RAW and text[at + 1] != "/":
                closing = _raw_ends[name].search(text, end)
                if closing is None:
                    break
                end = closing.start()
            elif name == "plaintext":
                break
        at = end
    return Found(tuple(links), body_end)


def _markup(text: str, at: int) -> tuple[int, str]:
    """Behind what begins at ``at`` (-1 if it does not end), and the name in lower case if it is a tag."""
    following = text[at + 1 : at + 2]
    if following == "!" and text.startswith("--", at + 2):
        return _behind_comment(text, at + 4), ""
    start = at + 2 if following == "/" else at + 1
    name = _tag_name.match(text, start)
    if name is not None:
        rest = _rest_of_tag.match(text, name.end())
        return (rest.end() if rest else -1), name[0].lower()
    if following in ("!", "?", "/"):  # a declaration, or a comment by mistake
        end = text.find(">", at + 2)
        return (end + 1 if end >= 0 else -1), ""
    return at + 1, ""


def _behind_comment(text: str, at: int) -> int:
    for short in (">", "->"):  # <!--> and <!---> are comments already
        if text.startswith(short, at):
            return at + len(short)
    end = _comment_end.search(text, at)
    return end.end() if end else -1


def _href(text: str, at: int, end: int) -> Href | None:
    """The first ``href`` of the tag, None if it has none or asks to be left alone."""
    found: Href | None = None
    for attribute in _attribute.finditer(text, at, end - 1):
        name = attribute[1].lower()
        if name == NO_TRACK:
            return None
        if name == "href" and found is None:
            group = attribute.lastindex or 1
            if group == 1:
                return None  # without a value
            found = Href(*attribute.span(group), quoted=group != 4)
    return found


def _body_end_of_a_giant(text: str) -> int:
    end = text.lower().rfind("</body") if text.isascii() else text.rfind("</body")
    return end if end >= 0 else len(text)
