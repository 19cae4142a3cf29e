"""Which links may lead through us, and in which form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.tracking.urls import MAX_URL, attribute_text, is_sealed_form, trackable

LEFT_ALONE = [
    "", "#top", "/path", "path", "//host/path", "mailto:a@example.com", "MAILTO:a@example.com", "tel:+49301234",
    "sms:1", "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)",
    "data:text/html,x", "vbscript:x", "ftp://host/x", "cid:logo", "http:", "http://", "http:///path", "https:/host",
    "https:host", "https://?q", "https://#f", "https:\\\\host\\x", "https://host\\@evil", "https://host/\x00",
    "https://host/\x1b[0m", "https://[::1", "https://host:port/", "https://host:99999/", "https://\\evil",
    "https://" + "a" * MAX_URL, "https://host/" + "é" * 1000, "blob:https://host/x", "about:blank",
]  # fmt: skip
FOLLOWED = {
    "https://example.com": "https://example.com",
    "HTTP://Example.com/Path": "HTTP://Example.com/Path",
    "https://example.com/?a=1&b=2#frag": "https://example.com/?a=1&b=2#frag",
    "  https://example.com/ \n": "https://example.com/",
    "https://exam\nple.com/\tx": "https://example.com/x",
    "https://example.com/a b": "https://example.com/a%20b",
    'https://example.com/"x"<y>': "https://example.com/%22x%22%3Cy%3E",
    "https://example.com/%20%zz": "https://example.com/%20%zz",
    "https://example.com/ü?q=日本": "https://example.com/%C3%BC?q=%E6%97%A5%E6%9C%AC",
    "https://bücher.example/x": "https://xn--bcher-kva.example/x",
    "https://faß.example/": "https://xn--fa-hia.example/",  # as browsers read it (UTS 46), not as "fass"
    "https://user:pass@example.com:8443/x": "https://user:pass@example.com:8443/x",
    "https://[2001:db8::1]/x": "https://[2001:db8::1]/x",
    "https://example.com/{a}|b^c`": "https://example.com/{a}|b^c`",
}


@pytest.mark.parametrize("value", LEFT_ALONE, ids=repr)
def test_what_is_no_plain_web_address_is_left_alone(value: str) -> None:
    assert trackable(value) == ""


@pytest.mark.parametrize(("value", "form"), FOLLOWED.items(), ids=repr)
def test_a_web_address_travels_as_a_browser_would_send_it(value: str, form: str) -> None:
    assert trackable(value) == form


@given(st.text(max_size=80).map(lambda t: "https://example.com/" + t) | st.text(max_size=60))
def test_whatever_travels_can_be_a_header_and_is_a_web_address(value: str) -> None:
    url = trackable(value)
    if url:
        assert is_sealed_form(url)
        assert url.isascii() and url.isprintable() and " " not in url
        assert url.lower().startswith(("http://", "https://"))
        assert trackable(url) == url


@pytest.mark.parametrize(
    "url",
    ["https://x/\r\nSet-Cookie: a=b", "https://x/\n", "https://x/ y", "javascript:alert(1)", "//x", "", 'https://x/"',
     "https://x/<", "https://ü/", "https:///x", "https://x/" + "a" * 2100],
    ids=repr,
)  # fmt: skip
def test_what_is_not_in_that_form_is_no_location(url: str) -> None:
    assert not is_sealed_form(url)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a&amp;b", "a&b"), ("a&AMP;b", "a&b"), ("a&b", "a&b"), ("?a=1&copy=2", "?a=1&copy=2"), ("&copy;", "©"),
        ("&copyx", "&copyx"), ("&amp", "&"), ("&#38;", "&"), ("&#x26;", "&"), ("&#x26", "&"), ("&notit;", "&notit;"),
        ("&nosuch;", "&nosuch;"), ("&amp;amp;", "&amp;"), ("&", "&"), ("&;", "&;"), ("&#;", "&#;"), ("x", "x"),
        ("&para=1", "&para=1"), ("&amp=1", "&amp=1"),
    ],
)  # fmt: skip
def test_references_are_read_as_in_attributes(raw: str, text: str) -> None:
    assert attribute_text(raw) == text
