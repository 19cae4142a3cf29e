"""The text part of mail that has only HTML."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.content.plain_text import text_of
from streams.content.render import Compiled, Rendered, compile_content, render_one, variables_for
from streams.core.message import Content, Mailbox, Message, Stream, Template
from streams.providers.base import Slot, fill

SENDER = Mailbox("a@example.com")

PAGE = """<html><head><title>News</title><style>p {color: red}</style></head><body>
<div style="display:none">what a preview shows</div>
<h1>Grüße</h1><p style="margin-top: 9999999em">Dear  <b>Ann</b>,<br>see <a href="https://x.example/a?b=1&amp;c=2">this
<i>page</i></a>.</p><ul><li>one<li>two</ul>
<table><tr><td>a</td><td>b</td></tr><tr><td>c<td>d</table>
<a href="https://x.example"><img src="cid:logo" alt="Shop"></a> <a href="https://y.example/">https://y.example</a>
<a href="mailto:help@x.example">write</a> <a href="javascript:alert(1)">run</a> <script>evil()</script>你好</body>"""


def message(**data: Any) -> Message:
    return Message("m", "t", Stream.BULK, "k", Mailbox("ann@example.com", "Ann"), "h", "f", 0, 0, data=data)


def compiled(content: Content, **how: bool) -> Compiled:
    found = compile_content(content, **how)
    assert isinstance(found, Compiled), found
    return found


def of_template(html: str, text: str = "", **how: bool) -> Compiled:
    return compiled(Content(SENDER, template=Template("t", "1", "Hi", text, html)), **how)


def rendered(part: Compiled, **data: Any) -> str:
    found = render_one(part, message(**data))
    assert isinstance(found, Rendered), found
    return fill(found.text, {})


def test_a_page_becomes_what_a_person_reads() -> None:
    assert text_of(PAGE) == (
        "Grüße\n\nDear Ann,\nsee this page (https://x.example/a?b=1&c=2).\n\n  * one\n  * two\na b\nc d\n"
        "Shop (https://x.example) https://y.example write (help@x.example) run 你好\n"
    )


@pytest.mark.parametrize("html", ["", " ", "<br>", "<style>p{}</style>", "<!-- nothing -->", "<img src=x>", "\x00"])
def test_a_page_without_words_has_no_text(html: str) -> None:
    assert text_of(html).strip("\ufffd\n") == ""


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 5_000 + "x",
        "<table><tr><td>" * 300 + "x",
        "<p>x</p>" * 50_000,
        "x" * 5_000_000,
        "<table><tr><td>" + "x" * 200_000 + "</td></tr>" + "<tr><td>y</td></tr>" * 2_000 + "</table>",
        "<ul><li>" * 90 + "<li>x" * 4_000,
        "<pre>" + "\n" * 200_000 + "</pre>",
        "<p style='margin:99999999em'>x",
        "<ol start='99999999999999999999'><li>x</ol>",
        "<?xml version='1.0' encoding='utf-16'?><p>x",
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><p>&b;</p>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><p>x</p>',
        "\ud800<p>x",
    ],
    ids=range(13),
)  # fmt: skip
def test_no_page_takes_long_or_grows(html: str) -> None:
    began_s = time.thread_time()
    assert len(text_of(html)) <= 4 * len(html) + 1000
    assert time.thread_time() - began_s < 3


@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_no_text_makes_it_raise(html: str) -> None:
    text_of(html)


_pieces = st.sampled_from(
    [
        "<p>",
        "</p>",
        "<table>",
        "<td>",
        "<tr>",
        "<a href='x'>",
        "</a>",
        "<ul><li>",
        "x",
        " ",
        "&",
        "<",
        "<!--",
        "]]>",
        "<b",
        "\ue0000\ue001",
    ]
)


@given(st.lists(_pieces, max_size=60).map("".join))
def test_no_mixture_of_tags_makes_it_raise(html: str) -> None:
    text_of(html)


# ---------------------------------------------------------------------------------------------- in a mail


def test_inline_html_gets_a_text_beside_it_once_for_all_its_recipients() -> None:
    made = compiled(Content(SENDER, "Hi", html="<p>Hello <b>all</b></p>"))
    assert made.plain
    assert fill(made.text, {}) == "Hello all\n"


def test_a_text_that_the_sender_wrote_stays() -> None:
    assert fill(compiled(Content(SENDER, "Hi", "own", "<p>Hello</p>")).text, {}) == "own"
    assert rendered(of_template("<p>{{ a }}</p>", "own {{ a }}"), a="x") == "own x"


def test_it_can_be_switched_off() -> None:
    assert compiled(Content(SENDER, "Hi", html="<p>Hello</p>"), text_from_html=False).text == ()
    assert of_template("<p>{{ a }}</p>", text_from_html=False).text == ()


def test_a_plain_template_stays_one_body_with_holes_of_its_own_in_the_text() -> None:
    made = of_template('<p>Dear {{ name }}, <a href="https://x.example/{{ id }}">look</a><img alt="{{ id }}"></p>')
    assert made.plain
    assert [p.name for p in made.text if isinstance(p, Slot)] == ["t_name", "t_id"]
    values = variables_for(made, message(name="<Ann & Bob>", id="7"))
    assert isinstance(values, dict)
    assert fill(made.text, values) == "Dear <Ann & Bob>, look (https://x.example/7)\n"
    assert "&lt;Ann &amp; Bob&gt;" in fill(made.html, values)


def test_a_template_that_decides_something_is_read_from_each_recipients_own_page() -> None:
    made = of_template("<p>{% if vip %}Dear {{ name }}{% else %}Hello{% endif %}</p>")
    assert not made.plain
    assert rendered(made, vip=True, name="A&B") == "Dear A&B\n"
    assert rendered(made, vip=False) == "Hello\n"


def test_filters_and_html_that_the_template_vouches_for_are_read_as_text() -> None:
    made = of_template("<p>{{ name|upper }}: {{ body|safe }}</p>")
    assert made.plain
    assert rendered(made, name="ann", body="<b>bold</b> &amp; more") == "ANN: bold & more\n"


def test_the_same_word_in_a_text_template_is_left_as_the_sender_wrote_it() -> None:
    assert rendered(of_template("", "{{ body|safe }}"), body="<b>x</b>") == "<b>x</b>"


def test_marks_of_ours_in_a_senders_page_or_data_make_no_hole() -> None:
    made = of_template("<p>\ue0000\ue001 {{ name }}</p>")
    assert rendered(made, name="\ue0000\ue001") == "0 \ue0000\ue001\n"
    assert fill(compiled(Content(SENDER, "Hi", html="<p>\ue0005\ue001x</p>")).text, {}) == "5x\n"


def test_a_page_of_which_no_text_can_be_made_is_sent_as_html_alone() -> None:
    made = of_template("<div>" * 300 + "{{ name }}")
    assert made.text == ()
    assert rendered(made, name="x") == ""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("blank", [" ", "\t", "\xa0", " \t"])
def test_a_page_full_of_blanks_costs_no_time(blank: str) -> None:
    blanks = blank * (145_000 // len(blank))
    assert text_of(f"<pre>x{blanks}y {blanks}</pre>").startswith("x")
