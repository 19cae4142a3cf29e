"""Rendering: plain templates become patterns, everything else a text per recipient, and nothing runs away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.content.render import (
    Compiled,
    Rendered,
    Renderer,
    RenderFailure,
    compile_content,
    render_one,
    variables_for,
)
from streams.content.template_sandbox import Limits
from streams.core.event import ReasonKind
from streams.core.message import Content, Mailbox, Message, Stream, Template
from streams.providers.base import Slot, fill


def message(data: dict[str, Any] | None = None) -> Message:
    return Message("m", "acme", Stream.BULK, "k", Mailbox("ann@example.com", "Ann"), "h", "f", 1, 2, data=data or {})


def content(subject: str = "Hi", text: str = "", html: str = "", data: dict[str, Any] | None = None) -> Content:
    return Content(Mailbox("a@example.com"), template=Template("welcome", "1", subject, text, html), data=data or {})


def compiled(*args: Any, limits: Limits | None = None, **kwargs: Any) -> Compiled:
    found = compile_content(content(*args, **kwargs), limits)
    assert isinstance(found, Compiled), found
    return found


def text_of(source: str, data: dict[str, Any] | None = None, limits: Limits | None = None) -> str | RenderFailure:
    found = render_one(compiled(text=source, limits=limits), message(data))
    return found if isinstance(found, RenderFailure) else "".join(str(p) for p in found.text)


def test_inline_content_is_literal_and_never_interpolated() -> None:
    literal = compile_content(Content(Mailbox("a@b.c"), subject="{{ name }}", text="100%", html="<b>{% x %}</b>"))
    assert isinstance(literal, Compiled)
    assert literal.plain
    assert (literal.subject, literal.text, literal.html) == (("{{ name }}",), ("100%",), ("<b>{% x %}</b>",))
    assert variables_for(literal, message({"name": "x"})) == {}


def test_a_template_that_only_interpolates_becomes_one_body_with_slots() -> None:
    plain = compiled("Hello {{ name }}", "Dear {{ name }}, order {{ order.id }}.", "<p>{{ name }}</p>")
    assert plain.plain
    assert plain.subject == ("Hello ", Slot("s_name"))
    assert plain.text == ("Dear ", Slot("t_name"), ", order ", Slot("t_order_id"), ".")
    assert plain.html == ("<p>", Slot("h_name"), "</p>")


def test_html_slots_carry_escaped_values_and_text_slots_plain_ones() -> None:
    plain = compiled("{{ name }}", "{{ name }}", "<p>{{ name }}</p>")
    variables = variables_for(plain, message({"name": "<Ann> & Co"}))
    assert variables == {"s_name": "<Ann> & Co", "t_name": "<Ann> & Co", "h_name": "&lt;Ann&gt; &amp; Co"}
    assert all(type(value) is str for value in variables.values())


def test_the_recipients_own_data_goes_over_the_requests() -> None:
    plain = compiled(text="{{ shop }} {{ name }} {{ recipient.name }}", data={"shop": "S", "name": "nobody"})
    assert variables_for(plain, message({"name": "Ann"})) == {
        "t_shop": "S",
        "t_name": "Ann",
        "t_recipient_name": "Ann",
    }


def test_filters_still_make_slots_and_are_evaluated_per_recipient() -> None:
    plain = compiled(text="{{ name|default('friend')|upper }} {{ '%.2f'|format(total) }}")
    assert plain.plain
    for data, expected in (({"total": 1}, "FRIEND 1.00"), ({"total": 2.5, "name": "Ann"}, "ANN 2.50")):
        variables = variables_for(plain, message(data))
        assert isinstance(variables, dict)
        assert fill(plain.text, variables) == expected


def test_safe_html_stays_html() -> None:
    plain = compiled(html="{{ note|safe }}{{ note }}")
    variables = variables_for(plain, message({"note": "<b>"}))
    assert isinstance(variables, dict)
    assert fill(plain.html, variables) == "<b>&lt;b&gt;"


def test_conditions_and_loops_are_rendered_per_recipient() -> None:
    source = "{% for line in order.items %}{{ line.name }}: {{ line.n }}\n{% endfor %}{% if vip %}Thanks!{% endif %}"
    assert not compiled(text=source).plain
    data = {"order": {"items": [{"name": "Pen", "n": 2}, {"name": "Cup", "n": 1}]}, "vip": True}
    assert text_of(source, data) == "Pen: 2\nCup: 1\nThanks!"


def test_two_paths_never_share_a_slot() -> None:
    plain = compiled(text="{{ a_b }}{{ a.b }}{{ grüße }}{{ gr__e }}")
    variables = variables_for(plain, message({"a_b": "1", "a": {"b": "2"}, "grüße": "3", "gr__e": "4"}))
    assert isinstance(variables, dict)
    assert fill(plain.text, variables) == "1234"
    assert all(name.replace("_", "a").isalnum() and name.isascii() for name in variables)


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (True, "True"), (3, "3"), (2.5, "2.5"), ("x", "x"), ([1, "a"], "[1, 'a']")]
)
def test_values_are_shown_alike_in_slots_and_in_whole_renders(value: Any, shown: str) -> None:
    assert variables_for(compiled(text="{{ v }}"), message({"v": value})) == {"t_v": shown}
    assert text_of("{% if true %}{{ v }}{% endif %}", {"v": value}) == shown


@pytest.mark.parametrize("source", ["Hi {{ name }}", "{% if true %}Hi {{ name }}{% endif %}"])
def test_a_subject_is_one_line_whatever_the_data_holds(source: str) -> None:
    found = render_one(compiled(source), message({"name": "Ann\r\nBcc: eve@example.com\u2028x"}))
    assert isinstance(found, Rendered)
    assert found.subject == ("Hi Ann Bcc: eve@example.com x",)
    found = render_one(compiled(source), message({"name": "=?utf-8?q?=0D=0ABcc:_eve?="}))
    assert isinstance(found, Rendered)
    assert found.subject == ("Hi = ?utf-8?q?=0D=0ABcc:_eve?=",), "an encoded word hides none"


@pytest.mark.parametrize("source", ["{{ name }}", "{{ name|upper }}", "{% if true %}{{ name }}{% endif %}"])
def test_a_missing_variable_is_a_failure_that_names_it(source: str) -> None:
    found = text_of(source)
    assert isinstance(found, RenderFailure)
    assert found.reason.kind is ReasonKind.RENDERING
    assert "'name' is undefined" in found.reason.detail


def test_a_missing_entry_is_named_with_its_path() -> None:
    found = variables_for(compiled(text="{{ order.lines[0] }}"), message({"order": {}}))
    assert isinstance(found, RenderFailure)
    assert "'order.lines' is undefined" in found.reason.detail


@pytest.mark.parametrize(
    "source",
    [
        "{{ name",
        "{% for %}",
        "{% include 'x' %}",
        "{% extends 'x' %}",
        "{% import 'x' as y %}",
        "{{ x|nofilter }}",
        "{{ [1]|random }}",
    ],
)
def test_a_template_that_cannot_be_read_is_a_failure(source: str) -> None:
    found = compile_content(content(text=source))
    assert isinstance(found, RenderFailure)
    assert found.reason.kind is ReasonKind.TEMPLATE
    assert "welcome" in found.reason.detail


SMALL = Limits(steps=2_000, seconds=1.0, characters=50_000)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(1000) %}{{ 'x' * 1000 }}{% endfor %}",
        "{{ 'x' * 10 ** 9 }}",
        "{{ n * 1000000000 }}",
        "{{ 10 ** 1000 }}",
        "{{ 'x'|center(10 ** 9) }}",
        "{{ 'x'.ljust(10 ** 9) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ 'aaaaaaaaaa'|replace('a', 'a' * 40000)|replace('a', 'a' * 40000) }}",
        "{% set s = namespace(x='x') %}{% for i in range(60) %}{% set s.x = s.x ~ s.x %}{% endfor %}{{ s.x }}",
        "{% set s = namespace(x='x') %}{% for i in range(60) %}{% set s.x = s.x + s.x %}{% endfor %}{{ s.x }}",
        "{{ range(100000)|join('x' * 1000) }}",
        "{{ [1]|batch(10 ** 9, 'x')|list }}",
        "{{ (1).to_bytes(10 ** 9, 'big') }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ lipsum(10000) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ n.__class__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{% set _ = items.append(1) %}",
        "{{ 1 / 0 }}",
    ],
)
def test_nothing_runs_away_or_gets_out(source: str) -> None:
    assert isinstance(text_of(source, {"n": "abc", "items": []}, SMALL), RenderFailure)


def test_a_render_that_takes_too_long_is_stopped() -> None:
    limits = Limits(steps=10**9, seconds=0.05)
    found = text_of("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", limits=limits)
    assert isinstance(found, RenderFailure)
    assert "0.05 s" in found.reason.detail


def test_every_message_has_its_own_limits() -> None:
    looped = compiled(text="{% for i in range(1500) %}{{ i }}{% endfor %}", limits=SMALL)
    for _ in range(5):
        assert isinstance(render_one(looped, message()), Rendered)


def test_rendering_does_not_change_the_data() -> None:
    data = {"items": [1], "d": {"a": 1}}
    text_of("{% set _ = d.update({'b': 1}) %}", data)
    assert data == {"items": [1], "d": {"a": 1}}


def test_a_content_is_compiled_once() -> None:
    renderer = Renderer(max_entries=2)
    first = renderer.compiled(content("A"), "a")
    assert renderer.compiled(content("A"), "a") is first
    renderer.compiled(content("B"), "b")
    renderer.compiled(content("A"), "a")
    renderer.compiled(content("C"), "c")
    assert renderer.compiled(content("A"), "a") is first
    assert isinstance(renderer.compiled(content("{{"), "x"), RenderFailure)


def test_compiled_contents_are_bounded_in_characters_too() -> None:
    renderer = Renderer(max_chars=1_000)
    first = renderer.compiled(content("A" * 300), "a")
    renderer.compiled(content("B" * 300), "b")
    assert renderer.compiled(content("A" * 300), "a") is first
    large = renderer.compiled(content("C" * 2_000), "c")
    assert renderer.compiled(content("C" * 2_000), "c") is large, (
        "what is used again and again is kept whatever its size"
    )
    assert renderer.compiled(content("A" * 300), "a") is not first


names = st.sampled_from(["name", "order", "x.y", "x['y z']", "x.y[0]"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["y", "y z"]), inner, max_size=2),
)


@given(
    st.lists(names | st.text(st.characters(exclude_characters="{}%#", codec="utf-8"), max_size=8), max_size=5),
    st.dictionaries(st.sampled_from(["name", "order", "x"]), values),
)
def test_slots_give_the_same_text_as_a_whole_render(pieces: list[str], data: dict[str, Any]) -> None:
    body = "".join("{{ " + p + " }}" if p in ("name", "order", "x.y") else p for p in pieces)
    slots, whole = compiled(html=body), compiled(html="{% if true %}" + body + "{% endif %}")
    filled, rendered = variables_for(slots, message(data)), render_one(whole, message(data))
    assert isinstance(filled, RenderFailure) == isinstance(rendered, RenderFailure)
    if isinstance(filled, dict) and isinstance(rendered, Rendered):
        assert fill(slots.html, filled) == "".join(map(str, rendered.html))


@given(st.text(st.sampled_from("{}%# abif'|.()[]=\n"), max_size=30))
def test_no_template_source_makes_us_raise(source: str) -> None:
    found = compile_content(content(text=source), SMALL)
    if isinstance(found, Compiled):
        render_one(found, message({"a": 1, "b": "x"}))
        if found.plain:
            variables_for(found, message({"a": 1, "b": "x"}))
