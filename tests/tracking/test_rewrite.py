"""Rewriting: links lead through us, the pixel comes in, and not one other character changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.providers.base import Pattern, Slot, fill
from streams.tracking.rewrite import Links, pixel_of, rewrite_html, rewrite_text

PREFIX = "https://t.example.com/t/c/"
WHO = "k_c"
U = "https://shop.example.com/"


def seal(url: str) -> str:
    """A token whose meaning a test can see."""
    return "S" + url.encode().hex()


def links(*untouched: str) -> Links:
    return Links(PREFIX, WHO, seal, "https://t.example.com/t/", frozenset(untouched))


def written(
    pattern: Pattern, variables: dict[str, str] | None = None, *, pixel: bool = False, text: bool = False
) -> str:
    rewritten = rewrite_text(pattern, links()) if text else rewrite_html(
        pattern, links(), pixel_of("https://t.example.com/t/o/", "k_o") if pixel else ()
    )  # fmt: skip
    values = {WHO: "WHO", "k_o": "OPEN", **(variables or {})}
    for link in rewritten.personal:
        values[link.name] = link.written(links(), values, "WHO")
    return fill(rewritten.pattern, values)


def through(url: str) -> str:
    return f"{PREFIX}WHO.{seal(url)}"


@pytest.mark.parametrize(
    ("html", "after"),
    {
        "a link": (f'<a href="{U}">x</a>', f'<a href="{through(U)}">x</a>'),
        "references": ('<a href="https://s/?a=1&amp;b=2">', f'<a href="{through("https://s/?a=1&b=2")}">'),
        "without quotes": (f"<a href={U}>x</a>", f"<a href={through(U)}>x</a>"),
        "single quotes": (f"<a href='{U}'>x</a>", f"<a href='{through(U)}'>x</a>"),
        "anchors, mail, telephone, scripts": (
            keep := '<a href="#top"><a href="mailto:a@b.c"><a href="tel:1"><a href="javascript:x()"><a href="/rel">',
            keep,
        ),
        "marked": (keep := f'<a href="{U}" data-no-track>', keep),
        "our own page": (keep := '<a href="https://t.example.com/t/u/TOKEN">', keep),
        "odd bytes elsewhere": (
            f"<p>\r\n\t\x00 &nbsp;&bogus; ü\ufdd0 </p ><A  HREF = '{U}' >\r</a>",
            f"<p>\r\n\t\x00 &nbsp;&bogus; ü\ufdd0 </p ><A  HREF = '{through(U)}' >\r</a>",
        ),
        "no links": (keep := "<p>Hello", keep),
        "nothing": ("", ""),
    }.values(),
)
def test_only_the_values_of_web_links_change(html: str, after: str) -> None:
    assert written((html,)) == after


def test_links_named_untouched_stay() -> None:
    html = '<a href="https://their.example/unsubscribe?u=1&amp;v=2">x</a>'
    assert fill(rewrite_html((html,), links("https://their.example/unsubscribe?u=1&v=2")).pattern, {}) == html


@pytest.mark.parametrize(
    ("html", "before"),
    [("<body><p>x</p></body></html>", "</body></html>"), ("<p>x</p>", ""), ("x</BODY>\n", "</BODY>\n")],
)
def test_the_pixel_is_the_last_thing_of_the_body(html: str, before: str) -> None:
    with_pixel = written((html,), pixel=True)
    assert with_pixel.count("<img ") == 1
    assert with_pixel.endswith(f'border:0">{before}')
    assert 'src="https://t.example.com/t/o/OPEN"' in with_pixel
    assert 'alt=""' in with_pixel


def test_without_clicks_only_the_pixel_comes_in() -> None:
    pattern = rewrite_html((f'<a href="{U}">x</a>',), None, ("PIXEL",)).pattern
    assert fill(pattern, {}) == f'<a href="{U}">x</a>PIXEL'


class TestSlots:
    def test_slots_of_the_sender_stay_where_they_were(self) -> None:
        html: Pattern = ("<p>", Slot("h_name"), f'</p><a href="{U}">', Slot("h_name"), "</a>", Slot("h_end"), "</body>")
        rewritten = rewrite_html(html, links(), ("PIXEL",))
        assert [p.name for p in rewritten.pattern if isinstance(p, Slot)] == ["h_name", WHO, "h_name", "h_end"]
        assert written(html, {"h_name": "Ann", "h_end": "!"}) == f'<p>Ann</p><a href="{through(U)}">Ann</a>!</body>'

    def test_a_link_that_is_all_the_same_is_sealed_once(self) -> None:
        asked: list[str] = []
        counting = Links(PREFIX, WHO, lambda url: asked.append(url) or "x", "https://t.example.com/t/")  # type: ignore[func-returns-value]
        rewrite_html((f'<a href="{U}">' * 50,), counting)
        assert asked == [U]

    def test_a_link_with_a_hole_is_sealed_for_each_recipient(self) -> None:
        html: Pattern = ('<a href="https://s/?u=', Slot("h_id"), '&amp;x=1">', Slot("h_id"), "</a>")
        assert written(html, {"h_id": "7"}) == f'<a href="{through("https://s/?u=7&x=1")}">7</a>'
        assert written(html, {"h_id": "a&amp;b"}) == f'<a href="{through("https://s/?u=a&b&x=1")}">a&amp;b</a>'

    def test_a_link_that_is_a_hole_may_be_anything_and_is_followed_only_if_it_is_a_web_link(self) -> None:
        html: Pattern = ('<a href="', Slot("h_url"), '">x</a>')
        assert written(html, {"h_url": U}) == f'<a href="{through(U)}">x</a>'
        for value in ("mailto:a@b.c", "javascript:alert(1)", "#x", "", "https://t.example.com/t/u/TOKEN"):
            assert written(html, {"h_url": value}) == f'<a href="{value}">x</a>'

    def test_the_same_personal_link_twice_is_one_slot(self) -> None:
        html: Pattern = ('<a href="', Slot("h_url"), '">x</a><a href="', Slot("h_url"), '">y</a>')
        assert len(rewrite_html(html, links()).personal) == 1

    def test_the_link_to_unsubscribe_is_left_alone(self) -> None:
        html: Pattern = ('<a href="', Slot("h_unsubscribe_url"), '">x</a>')
        assert rewrite_html(html, links()).pattern == html

    def test_a_hole_without_quotes_around_it_is_left_alone(self) -> None:
        html: Pattern = ("<a href=", Slot("h_url"), ">x</a>")
        assert rewrite_html(html, links()).pattern == html

    def test_a_text_that_holds_every_mark_of_ours_only_gets_the_pixel(self) -> None:
        html: Pattern = (f'<a href="{U}">\ufdd0\ufdd1\ufdd2\ufdd3', Slot("h_x"))
        assert rewrite_html(html, links(), ("PIXEL",)).pattern == (*html, "PIXEL")


class TestText:
    def test_urls_of_plain_text_can_be_led_through_us(self) -> None:
        text = f"See {U}a, or ({U}b). Mail a@b.c or <{U}c>\n{U}d!"
        after = (
            f"See {through(U + 'a')}, or ({through(U + 'b')}). Mail a@b.c or <{through(U + 'c')}>\n{through(U + 'd')}!"
        )
        assert written((text,), text=True) == after

    def test_a_url_with_a_hole_is_sealed_unless_its_value_ends_it(self) -> None:
        pattern: Pattern = (f"{U}?u=", Slot("t_id"), " now")
        assert written(pattern, {"t_id": "7"}, text=True) == f"{through(U + '?u=7')} now"
        assert written(pattern, {"t_id": "7 or more"}, text=True) == f"{U}?u=7 or more now"


PIECES = st.lists(
    st.sampled_from(
        ["<p>", "</p>", '<a href="', '">', "'", '"', U, "mailto:x@y.z", "<!--", "-->", "<script>", "</script>", "</body>",
         " ", "ü", "\r\n", "&amp;", "<", ">", "data-no-track", "=", Slot("h_a"), Slot("h_b")]
    ),
    max_size=25,
)  # fmt: skip


@given(PIECES)
def test_taking_our_links_out_again_gives_the_text_as_it_was(pieces: list[str | Slot]) -> None:
    pattern = tuple(pieces)
    values = {"h_a": "1", "h_b": "https://b.example/"}
    after = written(pattern, values)
    ours = {through(url): url for url in (U, U + "1", "https://b.example/")}
    after = re.sub(rf"{re.escape(PREFIX)}[0-9a-zA-Z.]*", lambda found: ours.get(found[0], found[0]), after)
    if PREFIX not in after:
        assert after == fill(pattern, values)
