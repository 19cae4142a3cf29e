"""Fates by address and by draw."""

from __future__ import annotations

from collections import Counter

import pytest

from streams.sandbox import End, Outcome, OutcomeMix
from streams.sandbox.ledger import Accepted
from streams.sandbox.outcomes import Draw, falls_within, plan


@pytest.mark.parametrize("address", ["bounce@simulator.amazonses.com", "Bounce+label@example.net", "bounce+a+b@x.org"])
def test_the_local_part_before_the_plus_names_the_fate_on_any_domain(address: str) -> None:
    assert Draw(1, OutcomeMix()).outcome(address, address) is Outcome.BOUNCE


@pytest.mark.parametrize(
    "name",
    ["success", "bounce", "ooto", "complaint", "suppressionlist", "softbounce", "blocked", "defer", "open", "click",
     "unsubscribe", "reject", "delayedbounce", "silent"],
)  # fmt: skip
def test_every_documented_name_is_a_fate_at_both_providers(name: str) -> None:
    outcome = Draw(1, OutcomeMix.only_success()).outcome(f"{name}+1@example.net", "k")
    assert outcome.value == name
    assert plan("mailgun", outcome).end == plan("ses", outcome).end


def test_internal_fates_cannot_be_asked_for() -> None:
    assert Draw(1, OutcomeMix.only_success()).outcome("suppressed_bounce@x.org", "k") is Outcome.SUCCESS


def test_a_draw_depends_on_seed_and_key_alone_and_keeps_to_the_mix() -> None:
    mix = OutcomeMix(bounce=0.1, open=0.2)
    draws = [Draw(7, mix).outcome("u@example.net", f"m-{number}") for number in range(20_000)]
    assert draws == [Draw(7, mix).outcome("v@example.net", f"m-{number}") for number in range(20_000)]
    assert draws != [Draw(8, mix).outcome("u@example.net", f"m-{number}") for number in range(20_000)]
    shares = Counter(draws)
    assert 0.09 < shares[Outcome.BOUNCE] / 20_000 < 0.11
    assert 0.19 < shares[Outcome.OPEN] / 20_000 < 0.21


def test_a_bounced_recipient_ends_bounced_and_a_delayed_bounce_was_delivered_first() -> None:
    assert plan("mailgun", Outcome.BOUNCE).end == End.BOUNCED
    assert plan("ses", Outcome.DELAYEDBOUNCE).events == ["Send", "Delivery", "Bounce"]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_greater_share_is_the_smaller_one_and_more(share: float) -> None:
    def chosen(wanted: float) -> set[str]:
        fate = plan("ses", Outcome.SUCCESS)
        records = [Accepted("ses", f"{n:08x}", "u@x.org", {}, [], 0, "call", "", 0, fate) for n in range(4000)]
        return {record.provider_message_id for record in records if falls_within(record, wanted)}

    assert abs(len(chosen(share)) / 4000 - share) < 0.03
    assert chosen(share / 2) <= chosen(share)


def test_a_mix_that_is_no_distribution_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to at most 1"):
        OutcomeMix(bounce=0.9, open=0.2)
