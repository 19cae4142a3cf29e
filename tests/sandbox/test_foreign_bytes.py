"""Whatever bytes come in: a parser answers or refuses with its own error, never with another one."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.sandbox.forms import MalformedFormError, parse_form
from streams.sandbox.mailgun_query import BadQuery, Query, parse_query
from streams.sandbox.mailgun_text import Refused, Text, bare_addresses
from streams.sandbox.ses_checks import bare_address
from streams.sandbox.ses_model import ApiError, SendBulkEmail, SendEmail, decode

NAMES = (
    st.text(st.characters(categories=["L", "N"], include_characters="-_:. "), min_size=1, max_size=12)
    .map(str.strip)
    .filter(bool)
)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=6))
def test_a_multipart_form_is_read_as_it_was_written(fields: dict[str, list[str]]) -> None:
    parts = [
        f'--b0undary-7\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, values in fields.items()
        for value in values
    ]
    body = "".join(parts) + "--b0undary-7--\r\n"
    form = parse_form("multipart/form-data; boundary=b0undary-7", body.encode())
    assert form.values == fields


@given(st.sampled_from(["multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "text/plain", ""]),
       st.binary(max_size=200) | st.text("-b\r\n:;= a\"%", max_size=200).map(str.encode))  # fmt: skip
def test_a_form_parser_knows_one_error(content_type: str, body: bytes) -> None:
    with contextlib.suppress(MalformedFormError):
        parse_form(content_type, body)


@given(st.text(max_size=80))
def test_an_address_is_bare_or_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        assert all("@" in address and " " not in address for address in bare_addresses([text], "to"))
    with contextlib.suppress(ApiError):
        assert bare_address(text).isascii()


@given(
    st.text("%recipint.a{}", max_size=60) | st.text(max_size=40), st.dictionaries(st.text(max_size=3), st.integers())
)
def test_the_size_of_a_text_is_the_size_of_what_is_rendered(source: str, values: dict[str, Any]) -> None:
    text = Text(source, batch=True)
    assert text.size(values, "u@example.net") == len(text.render(values, "u@example.net").encode())


@given(st.text(max_size=60))
def test_a_page_address_is_read_or_refused(token: str) -> None:
    with contextlib.suppress(BadQuery):
        Query.from_token(token)
    with contextlib.suppress(BadQuery):
        parse_query({"begin": token, "end": token, "limit": token}, 0)


@given(st.binary(max_size=200))
def test_a_body_that_is_not_the_call_is_a_bad_request(body: bytes) -> None:
    for kind in (SendEmail, SendBulkEmail):
        with contextlib.suppress(ApiError):
            decode(body, kind)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_multipart_body_without_boundary_or_end_is_malformed(content_type: str) -> None:
    with pytest.raises(MalformedFormError):
        parse_form(content_type, b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb')
