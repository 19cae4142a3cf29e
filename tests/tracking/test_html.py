"""Finding links: where a browser would find them, and in linear time whatever comes."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.tracking.html import MAX_CHARS, MAX_LINKS, MAX_TAGS, find_links

U = "https://a.example/"


def hrefs(text: str) -> list[str]:
    return [text[link.start : link.end] for link in find_links(text).links]


@pytest.mark.parametrize(
    ("text", "found"),
    {
        "double quotes": (f'<a href="{U}">x</a>', [U]),
        "single quotes": (f"<a href='{U}'>x</a>", [U]),
        "no quotes": (f"<a href={U}>x</a>", [U]),
        "no quotes and a slash": ("<a href=https://a/b/>x</a>", ["https://a/b/"]),
        "capitals": (f'<A CLASS="x" HREF="{U}">', [U]),
        "area": (f'<area shape=rect href="{U}">', [U]),
        "space around": (f'<a\n\thref \n = \n "{U}" >', [U]),
        "slashes between": (f'<a/href="{U}"/>', [U]),
        "a > in another value": (f'<a title="a > b" href="{U}">', [U]),
        "a quote in a name": (f'<a b"c href="{U}">', [U]),
        "the first of two": (f'<a href="{U}" href="https://b/">', [U]),
        "empty": ('<a href="">', [""]),
        "no value": ("<a href>", []),
        "no href": ('<a name="x">', []),
        "data-href": (f'<a data-href="{U}">', []),
        "xlink:href": (f'<a xlink:href="{U}">', []),
        "href in another's value": (f"<a title='href=\"{U}\"'>", []),
        "other elements": (f'<link href="{U}"><img src="{U}"><base href="{U}"><abbr href="{U}">', []),
        "asked to be left alone": (f'<a href="{U}" data-no-track>', []),
        "asked with a value": (f'<a DATA-NO-TRACK="1" href="{U}">', []),
        "end tag": (f'</a href="{U}">', []),
        "comment": (f'<!-- <a href="{U}"> -->', []),
        "conditional comment": (f'<!--[if mso]><a href="{U}"><![endif]-->', []),
        "revealed conditional": (f'<![if !mso]><a href="{U}"><![endif]>', [U]),
        "short comments": (f'<!--><a href="{U}"><!---><a href="{U}">', [U, U]),
        "comment with --!>": (f'<!-- x --!><a href="{U}">', [U]),
        "doctype": (f'<!DOCTYPE html "x><a href="{U}">', [U]),
        "xml declaration": (f'<?xml version="1.0"?><a href="{U}">', [U]),
        "script": (f'<script>var a = "<a href={U}>";</script><a href="{U}">', [U]),
        "style": (f"<style>a > b {{}} <a href={U}></style>", []),
        "textarea": (f'<textarea><a href="{U}"></textarea >', []),
        "title": (f'<title><a href="{U}"></title><a href="{U}">', [U]),
        "not the end of a script": (f'<script></scripty><a href="{U}"></script>', []),
        "script without end": (f'<script><a href="{U}">', []),
        "comment without end": (f'<!-- <a href="{U}">', []),
        "quote without end": (f'<a href="{U}>x</a><a href=y>', []),
        "tag without end": (f'<a href="{U}"', []),
        "less than": (f'1 < 2 << 3 <3 <a href="{U}">', [U]),
        "slots of nobody": ('<a href="{{ x }}">', ["{{ x }}"]),
        "utf-8": (f'<p>ü</p><a title="日本" href="{U}ü">', [U + "ü"]),
        "vml": (f'<v:roundrect href="{U}">', []),
    }.values(),
)
def test_links_are_found_where_a_browser_finds_them(text: str, found: list[str]) -> None:
    assert hrefs(text) == found


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("<body>x</body></html>", "<body>x"),
        ("<BODY>x</BODY >", "<BODY>x"),
        ("x", "x"),
        ("", ""),
        ("<!-- </body> -->x</body>", "<!-- </body> -->x"),
        ("<script>'</body>'</script>y", "<script>'</body>'</script>y"),
        ("<body>a</body><body>b</body>c", "<body>a</body><body>b"),
        ("<bodyguard>x</bodyguard>", "<bodyguard>x</bodyguard>"),
    ],
)
def test_the_end_of_the_body_is_its_last_end_tag_or_the_end_of_all(text: str, before: str) -> None:
    assert text[: find_links(text).body_end] == before


def test_size_tags_and_links_are_bounded() -> None:
    assert len(find_links(f'<a href="{U}">' * (MAX_LINKS + 5)).links) == MAX_LINKS
    assert hrefs("<b>" * MAX_TAGS + f'<a href="{U}">') == []
    giant = f'<a href="{U}">' + "x" * MAX_CHARS + "</BODY></html>"
    found = find_links(giant)
    assert found.links == ()
    assert giant[found.body_end :] == "</BODY></html>"


@pytest.mark.parametrize(
    "piece",
    ["<", "<a", "<a ", "<a>", '<a href="', "<a href='", "<a href=", '<a b="', "<!--", "<!", "<?", "</", "<script>",
     "<a x=y ", "<a =", "<a ==", "<a/", "-->", "<!-->", "<style>", "</style", '<a href="x"', "<a href = ", "=\"'"],
)  # fmt: skip
def test_time_stays_linear_whatever_is_repeated(piece: str) -> None:
    text = piece * (MAX_CHARS // len(piece))
    began = time.process_time()
    find_links(text)
    assert time.process_time() - began < 1.5
    mixed = ("<a " + piece * (MAX_CHARS // len(piece)))[:MAX_CHARS]
    began = time.process_time()
    find_links(mixed)
    assert time.process_time() - began < 1.5


class _Python(HTMLParser):
    """The standard library's opinion of where links are."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("a", "area"):
            given = [value for name, value in attrs if name == "href"]
            if given and given[0] is not None and not any(name == "data-no-track" for name, _ in attrs):
                self.hrefs.append(given[0])


NAMES = st.sampled_from(["p", "a", "area", "b", "table", "td", "A"])
TEXT = st.text("abc 123.,:;/?-_ü", max_size=12)
QUOTED = st.tuples(st.sampled_from(["href", "class", "title", "data-no-track", "HREF"]), TEXT, st.sampled_from("\"'"))
TAG = st.tuples(NAMES, st.lists(QUOTED, max_size=3)).map(
    lambda t: f"<{t[0]}" + "".join(f" {name}={quote}{text}{quote}" for name, text, quote in t[1]) + ">"
)
PAGE = st.lists(TAG | TEXT | TEXT.map(lambda t: f"<!-- {t} -->") | NAMES.map(lambda n: f"</{n}>"), max_size=12)


@given(PAGE.map("".join))
def test_of_ordinary_pages_the_standard_library_thinks_the_same(page: str) -> None:
    python = _Python()
    python.feed(page)
    python.close()
    assert hrefs(page) == python.hrefs


@settings(max_examples=300)
@given(st.text("<a href='\"=>/!-script body&;x \n", max_size=200))
def test_places_are_in_order_and_within_the_text(text: str) -> None:
    at = 0
    found = find_links(text)
    for link in found.links:
        assert at <= link.start <= link.end <= len(text)
        at = link.end
    assert 0 <= found.body_end <= len(text)
