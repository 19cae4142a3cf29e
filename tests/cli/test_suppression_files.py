from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.suppression_files import BadLine, Entry, entry_of, read_entries, when_ms, written
from streams.core.suppression import SuppressionKind

K = SuppressionKind
DEFAULTS = {"tenant": "default"}
JAN = 1_767_225_600_000  # 2026-01-01T00:00:00Z


def read(text: str | bytes, form: str = "csv", **defaults: str) -> list[Entry | BadLine]:
    raw = text if isinstance(text, bytes) else text.encode()
    return list(read_entries(io.BytesIO(raw), form, DEFAULTS | defaults))


def good(text: str | bytes, form: str = "csv", **defaults: str) -> list[Entry]:
    found = read(text, form, **defaults)
    assert not [line for line in found if isinstance(line, BadLine)], found
    return [entry for entry in found if isinstance(entry, Entry)]


def why(text: str | bytes, form: str = "csv") -> str:
    (line,) = read(text, form)
    assert isinstance(line, BadLine)
    return line.why


def test_bare_addresses_take_everything_else_from_the_options() -> None:
    found = good("ann@example.com\n\n  bob@example.com\n", reason="bounce", tenant="acme")
    assert found == [
        Entry("ann@example.com", K.BOUNCE, "tenant", "acme"),
        Entry("bob@example.com", K.BOUNCE, "tenant", "acme"),
    ]


def test_a_header_names_the_columns_in_any_order_and_unknown_ones_are_left_alone() -> None:
    (entry,) = good("shoe_size,Reason,Email,since\n44,hard bounce,Ann@Example.com,2026-01-01\n")
    assert entry == Entry("Ann@Example.com", K.BOUNCE, "tenant", "default", since_ms=JAN)


def test_mailguns_own_export_is_understood() -> None:
    text = '"address","code","error","created_at"\n"ann@example.com","550","No such user","Thu, 01 Jan 2026 00:00:00 UTC"\n'
    (entry,) = good(text, reason="bounce")
    assert entry == Entry("ann@example.com", K.BOUNCE, "tenant", "default", since_ms=JAN, note="No such user")


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    assert good(b"\xef\xbb\xbfaddress\r\nann@example.com\r\n") == [
        Entry("ann@example.com", K.MANUAL, "tenant", "default")
    ]


def test_domains_lists_and_everybody_have_scopes() -> None:
    found = good(
        "address,scope,list_id\n*.Rival.example,everywhere,\n@gone.example,,\nann@example.com,,news\nbob@example.com,everywhere,\n"
    )
    assert [(e.address, e.scope, e.tenant, e.list_id) for e in found] == [
        ("*.rival.example", "everywhere", "", ""),
        ("gone.example", "tenant", "default", ""),
        ("ann@example.com", "list", "default", "news"),
        ("bob@example.com", "everywhere", "", ""),
    ]


def test_json_lines_are_objects_or_texts() -> None:
    text = '{"address": "ann@example.com", "reason": "unsubscribe", "until": 1767225600000}\n"bob@example.com"\n'
    assert good(text, "jsonl") == [
        Entry("ann@example.com", K.UNSUBSCRIBE, "tenant", "default", until_ms=JAN),
        Entry("bob@example.com", K.MANUAL, "tenant", "default"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ann", "neither an address nor a domain"),
        ("ann@", "is not an address"),
        ("@@", "neither an address nor a domain"),
        ("an n@example.com", "is not allowed there"),
        ("address,reason\nann@example.com,boredom", "is no reason"),
        ("address,scope\nann@example.com,galaxy", "is no scope"),
        ("address,scope\nann@example.com,list", "names no list"),
        ("address,since\nann@example.com,yesterday", "is no time"),
        ("address,tenant\nann@example.com,a/b", "is no tenant's name"),
        ("address\nann@example.com,more", "has 2 columns, the header 1"),
        ("address,reason\n,bounce", "names no address"),
        ('address\n"ann@example.com', "is no CSV"),
        (b"address\n\xffann@example.com", "is not UTF-8"),
    ],
)
def test_a_wrong_line_says_what_is_wrong_with_it(line: str | bytes, said: str) -> None:
    assert said in why(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Expecting"),
        ("[1]", "is no JSON object"),
        ("7", "is no JSON object"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_wrong_json_line_says_so(line: str, said: str) -> None:
    assert said in why(line, "jsonl")


def test_a_wrong_line_is_named_by_its_number_and_the_others_are_taken() -> None:
    found = read("address\nann@example.com\nbad\n\nbob@example.com\n")
    assert [type(one).__name__ for one in found] == ["Entry", "BadLine", "Entry"]
    bad = found[1]
    assert isinstance(bad, BadLine)
    assert (bad.number, bad.text) == (3, "bad")


def test_a_field_with_line_ends_counts_all_of_them() -> None:
    found = read('address,note\nann@example.com,"one\ntwo"\nbad,x\n')
    assert isinstance(found[0], Entry)
    assert found[0].note == "one two"
    assert isinstance(found[1], BadLine)
    assert found[1].number == 4


_texts = st.text(max_size=60)


@given(st.binary(max_size=300), st.sampled_from(["csv", "jsonl"]))
def test_no_bytes_make_it_raise(raw: bytes, form: str) -> None:
    for one in read(raw, form):
        assert isinstance(one, (Entry, BadLine))


_entries = st.builds(
    Entry,
    st.sampled_from(
        ["ann@example.com", "*.example.com", "Jürgen@bücher.example", '"a b"@example.com', "=x@example.com"]
    ),
    st.sampled_from(list(SuppressionKind)),
    st.just("tenant"),
    st.sampled_from(["default", "acme"]),
    since_ms=st.integers(1, JAN),
    until_ms=st.sampled_from([0, JAN]),
    source=st.sampled_from(["", "cli:ann", "mailgun"]),
    note=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"]), max_size=40).map(
        lambda text: " ".join(text.split())
    ),
)


@given(st.lists(_entries, max_size=5), st.sampled_from(["csv", "jsonl"]))
def test_what_is_exported_is_imported_as_it_was(given_entries: list[Entry], form: str) -> None:
    assert good("".join(written(given_entries, form)), form) == given_entries


@pytest.mark.parametrize(
    "text", ["1767225600", "1767225600000", "2026-01-01T01:00:00+01:00", "Thu, 01 Jan 2026 00:00:00 +0000"]
)
def test_a_time_may_be_written_in_many_ways(text: str) -> None:
    assert when_ms(text) == JAN


def test_a_domain_has_no_list() -> None:
    with pytest.raises(ValueError, match="a domain has no list"):
        entry_of({"address": "*.example.com", "list_id": "news"}, DEFAULTS)
