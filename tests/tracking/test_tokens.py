"""Tokens: what goes in comes out, under the right key and purpose; everything else is nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.ids import recipient_key_of
from streams.tracking.tokens import (
    MAX_TOKEN,
    Keyring,
    Origin,
    Purpose,
    binder_of,
    open_click,
    open_origin,
    seal_link,
    seal_origin,
)
from tests.tracking.origins import FOREIGN, MESSAGE_ID, NEW, OLD, origin, ring

ID_CHARS = "abcdefghijklmnopqrstuvwxyz234567"
IDS = st.builds(lambda a, b: f"{a}-{b}", *(st.text(ID_CHARS, min_size=20, max_size=20) for _ in range(2)))
ORIGINS = st.builds(
    Origin,
    IDS,
    st.integers(0, 0xFFFF),
    st.integers(0, (1 << 32) - 1).map(lambda s: s * 1000),
    st.text(max_size=40),
    st.text(max_size=60),
    st.binary(min_size=8, max_size=8),
)
PURPOSES = tuple(Purpose)
SAFE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(ORIGINS, st.sampled_from(PURPOSES))
def test_an_origin_comes_out_as_it_went_in(told: Origin, purpose: Purpose) -> None:
    token = seal_origin(ring(), purpose, told)
    assert open_origin(ring(), purpose, token) == told
    assert set(token) <= SAFE


def test_a_token_is_short_and_the_same_each_time() -> None:
    token = seal_origin(ring(), Purpose.OPEN, origin())
    assert len(token) < 90
    assert token == seal_origin(ring(), Purpose.OPEN, origin())
    assert token != seal_origin(ring(), Purpose.OPEN, origin(attempt=2))


def test_a_token_shows_neither_message_nor_recipient_nor_list() -> None:
    from base64 import urlsafe_b64decode

    token = seal_origin(ring(), Purpose.UNSUBSCRIBE, origin(list_id="divorce-lawyers"))
    raw = urlsafe_b64decode(token + "==")
    for text in (MESSAGE_ID, recipient_key_of(MESSAGE_ID), "divorce", "mailgun"):
        assert text.encode() not in raw
        assert text not in token


@pytest.mark.parametrize("made_for", PURPOSES)
@pytest.mark.parametrize("used_for", PURPOSES)
def test_a_token_is_good_for_its_purpose_alone(made_for: Purpose, used_for: Purpose) -> None:
    found = open_origin(ring(), used_for, seal_origin(ring(), made_for, origin()))
    assert (found is not None) == (made_for is used_for)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_token_that_was_changed_cut_or_lengthened_is_nothing(purpose: Purpose) -> None:
    token = seal_origin(ring(), purpose, origin())
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        assert open_origin(ring(), purpose, token[:place] + other + token[place + 1 :]) is None
        assert open_origin(ring(), purpose, token[:place]) is None
    for more in ("A", "=", "==", "AAAA", " ", "\n", ".", "%00", "é"):
        assert open_origin(ring(), purpose, token + more) is None
        assert open_origin(ring(), purpose, more + token) is None


@given(st.text(max_size=200) | st.text("ABCdef123-_", max_size=200))
def test_what_strangers_make_up_is_nothing(text: str) -> None:
    assert open_origin(ring(OLD, NEW), Purpose.OPEN, text) is None
    assert open_click(ring(OLD, NEW), text) is None


def test_a_giant_token_is_not_even_decoded() -> None:
    assert ring().open("A" * (MAX_TOKEN + 1), b"o") is None
    assert open_click(ring(), "A" * 1_000_000 + "." + "B" * 1_000_000) is None


class TestRotation:
    def test_what_the_old_key_sealed_opens_while_it_is_kept_and_the_new_one_seals(self) -> None:
        before = seal_origin(ring(OLD), Purpose.UNSUBSCRIBE, origin())
        during = ring(NEW, OLD)
        assert open_origin(during, Purpose.UNSUBSCRIBE, before) == origin()
        after = seal_origin(during, Purpose.UNSUBSCRIBE, origin())
        assert open_origin(ring(NEW), Purpose.UNSUBSCRIBE, after) == origin()
        assert open_origin(ring(OLD), Purpose.UNSUBSCRIBE, after) is None

    def test_a_key_that_was_taken_out_ends_its_tokens(self) -> None:
        before = seal_origin(ring(OLD), Purpose.UNSUBSCRIBE, origin())
        assert open_origin(ring(NEW), Purpose.UNSUBSCRIBE, before) is None
        assert open_origin(ring(FOREIGN), Purpose.UNSUBSCRIBE, before) is None

    def test_keys_whose_bytes_are_alike_do_not_hide_each_other(self) -> None:
        many = [b"rotated key number %04d" % number for number in range(300)]  # some of 256 must be alike
        tokens = [seal_origin(ring(secret), Purpose.OPEN, origin(attempt=n)) for n, secret in enumerate(many)]
        all_of_them = ring(*many)
        assert [open_origin(all_of_them, Purpose.OPEN, t) for t in tokens] == [origin(attempt=n) for n in range(300)]

    @pytest.mark.parametrize("secrets", [(), (b"short",), (NEW, b"")])
    def test_a_ring_without_a_proper_key_is_refused(self, secrets: tuple[bytes, ...]) -> None:
        with pytest.raises(ValueError, match="16"):
            Keyring(secrets)


class TestClicks:
    URL = "https://shop.example.com/a?b=c&d=%20#e"

    def token(self, content: str = "campaign", url: str = URL) -> str:
        who = seal_origin(ring(), Purpose.CLICK, origin(content=binder_of(content)))
        return f"{who}.{seal_link(ring(), url, binder_of(content))}"

    def test_who_and_where_to_come_out_together(self) -> None:
        assert open_click(ring(), self.token()) == (origin(content=binder_of("campaign")), self.URL)

    def test_halves_of_different_contents_do_not_fit(self) -> None:
        who = self.token("campaign").partition(".")[0]
        where = self.token("another tenant's").partition(".")[2]
        assert open_click(ring(), f"{who}.{where}") is None

    def test_a_recipient_cannot_be_a_link_nor_a_link_a_recipient(self) -> None:
        who, _, where = self.token().partition(".")
        for token in (f"{who}.{who}", f"{where}.{where}", f"{where}.{who}", who, where, f"{who}.", f".{where}", "."):
            assert open_click(ring(), token) is None

    def test_a_link_sealed_by_somebody_else_leads_nowhere(self) -> None:
        who = self.token().partition(".")[0]
        where = seal_link(ring(FOREIGN), "https://evil.example/", binder_of("campaign"))
        assert open_click(ring(), f"{who}.{where}") is None
