"""A text part from HTML, for mail that has none: what a person would read, with links written out.

Rules:

1. Whatever the HTML is, this ends soon, needs little memory and never raises: pages beyond the bounds, and what cannot
   be parsed, give no text (the mail then has its HTML alone).
2. Styles and tables decide nothing: a table in mail is layout, and a margin may be a million lines. What is styled
   away (``display:none``) is left out.
3. :data:`OPEN` … :data:`CLOSE` around a number is a place that a recipient's value will take; it stays as it is.
"""

from __future__ import annotations

import re
from typing import Any

OPEN, CLOSE = "\ue000", "\ue001"

_MAX_CHARS = 300_000
_MAX_TAGS = 10_000
_MAX_DEPTH = 100
_MAX_GROWTH = 4
_BLOCKS = ("table", "thead", "tbody", "tfoot", "tr", "caption", "center", "section", "article")
_CELLS = ("td", "th")
_GONE = ("script", "style", "head", "title", "template", "noscript", "svg", "object", "iframe", "select", "button")
_hidden = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all", re.IGNORECASE).search
_shown_link = re.compile(rf"(?:https?://|mailto:|tel:|{OPEN})", re.IGNORECASE).match
_marks = re.compile(f"[{OPEN}{CLOSE}]")
_many_lines = re.compile(r"\n{3,}")
_trailing = re.compile(r"(?<![ \t\xa0])[ \t\xa0]++$", re.MULTILINE)  # each run is looked at once, however long


def text_of(html: str) -> str:
    """The text of a page; empty where none can be made."""
    if len(html) > _MAX_CHARS or html.count("<") > _MAX_TAGS:
        return ""
    try:
        text = _converted(html)
    except Exception:  # noqa: BLE001 - foreign pages, whatever they do to the parser
        return ""
    return text if len(text) <= _MAX_GROWTH * len(html) + 1000 else ""


def without_marks(text: str) -> str:
    """A source in which nothing looks like a place of ours."""
    return _marks.sub("", text)


def _converted(html: str) -> str:
    import lxml.html
    from inscriptis import Inscriptis
    from inscriptis.css_profiles import STRICT_CSS_PROFILE
    from inscriptis.model.config import ParserConfig

    parser = lxml.html.HTMLParser(
        encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=False
    )
    source = html.encode("utf-8", "replace")
    if not source.strip():
        return ""
    tree = lxml.html.document_fromstring(source, parser=parser, ensure_head_body=True)
    _check_depth(tree)
    _simplify(tree)
    text = Inscriptis(tree, ParserConfig(css=STRICT_CSS_PROFILE.copy())).get_text()
    lines = _many_lines.sub("\n\n", _trailing.sub("", text.replace("\r", ""))).strip()
    return f"{lines}\n" if lines else ""


def _check_depth(tree: Any) -> None:
    depth = 0
    stack = [iter(tree)]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
            continue
        depth = max(depth, len(stack))
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        stack.append(iter(child))


def _simplify(tree: Any) -> None:
    for element in list(tree.iter()):
        if not isinstance(element.tag, str):
            continue
        if element.tag in _GONE or _hidden(element.get("style", "")) or element.get("hidden") is not None:
            if element.getparent() is not None:
                element.drop_tree()
            continue
        if element.tag == "a":
            _write_out(element)
        elif element.tag in _BLOCKS:
            element.tag = "div"
        elif element.tag in _CELLS:
            element.tag = "span"
            element.tail = f" {element.tail or ''}"
        element.attrib.clear()


def _write_out(link: Any) -> None:
    """``text (address)``, or what stands for the picture that is the link."""
    target = (link.get("href") or "").strip()
    if not _shown_link(target):
        return
    shown = target.removeprefix("mailto:").removeprefix("tel:")
    text = " ".join("".join(link.itertext()).split())
    if not text:
        text = " ".join(filter(None, (image.get("alt", "").strip() for image in link.iter("img"))))
        link.text = text
    if not text or text.lower().rstrip("/") in (shown.lower().rstrip("/"), _bare(shown)):
        return
    last = link[-1] if len(link) else None
    if last is None:
        link.text = f"{link.text or ''} ({shown})"
    else:
        last.tail = f"{last.tail or ''} ({shown})"


def _bare(url: str) -> str:
    return url.lower().removeprefix("https://").removeprefix("http://").rstrip("/")
