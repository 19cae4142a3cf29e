from __future__ import annotations

from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.event import BounceType, Reason, ReasonKind
from streams.core.receipt import Receipt, ReceiptKind
from streams.core.suppression import (
    Suppression,
    SuppressionChange,
    SuppressionKind,
    SuppressionPolicy,
    change_of,
    fold,
)
from streams.core.suppression_rules import RuleBook, SuppressionRule, domain_pattern, rule_key

NOW = 1_000_000
K = SuppressionKind


def change(kind: SuppressionKind | None, at_ms: int, **more: object) -> SuppressionChange:
    return SuppressionChange("key", kind, at_ms, **more)  # type: ignore[arg-type]


def after(*changes: SuppressionChange) -> Suppression:
    row: Suppression | None = None
    for one in changes:
        row = fold(row, one)
    assert row is not None
    return row


def blocks(row: Suppression, stream: str = "bulk", list_id: str = "", now_ms: int = NOW) -> SuppressionKind | None:
    return row.blocks(stream, list_id, now_ms)


# ---------------------------------------------------------------------------------------------- doubts


def doubt(at_ms: int, message_id: str, **more: object) -> SuppressionChange:
    return change(K.BOUNCE, at_ms, message_id=message_id, doubtful=True, **more)


def test_a_doubtful_bounce_suppresses_with_a_second_one_of_another_message() -> None:
    assert blocks(after(doubt(10, "m1"))) is None
    assert blocks(after(doubt(10, "m1"), doubt(20, "m1"))) is None
    row = after(doubt(10, "m1"), doubt(20, "m2"))
    assert blocks(row) is K.BOUNCE
    assert blocks(row, "transactional") is K.BOUNCE
    (hold,) = row.in_force(NOW)
    assert (hold.since_ms, hold.note) == (20, "bounced twice")


def test_a_lift_takes_the_doubts_before_it_with_it() -> None:
    lifted = after(doubt(10, "m1"), doubt(20, "m2"), change(None, 30))
    assert blocks(lifted) is None
    assert blocks(fold(lifted, doubt(40, "m3"))) is None
    assert blocks(fold(fold(lifted, doubt(40, "m3")), doubt(50, "m4"))) is K.BOUNCE
    assert blocks(after(doubt(10, "m1"), doubt(20, "m2"), change(K.BOUNCE, 15, lift=True))) is None


def test_what_two_doubts_suppress_ends_by_itself_where_settings_say_so() -> None:
    row = after(doubt(10, "m1", until_ms=NOW), doubt(20, "m2", until_ms=NOW + 10))
    assert (blocks(row), blocks(row, now_ms=NOW + 10)) == (K.BOUNCE, None)


@given(
    st.lists(
        st.one_of(
            st.builds(doubt, st.integers(1, 6), st.sampled_from(["m1", "m2", "m3"])),
            st.builds(change, st.sampled_from([None, K.BOUNCE]), st.integers(1, 6)),
            st.builds(change, st.just(K.BOUNCE), st.integers(1, 6), lift=st.just(True)),
        ),
        min_size=1,
        max_size=6,
    ),
    st.randoms(),
)
def test_doubts_repeated_and_reordered_hold_the_same(changes: list[SuppressionChange], luck: Random) -> None:
    shuffled = changes + luck.choices(changes, k=3)
    luck.shuffle(shuffled)
    assert after(*shuffled).in_force(NOW) == after(*changes).in_force(NOW)


def test_a_hard_bounce_whose_reporter_calls_nobody_dead_is_a_doubt_and_a_soft_one_is_nothing() -> None:
    def of(
        bounce_type: BounceType, suppress: bool, kind: ReceiptKind = ReceiptKind.BOUNCED
    ) -> SuppressionChange | None:
        reason = Reason(ReasonKind.BAD_DOMAIN)
        told = Receipt("m" * 41, kind, "r", 5, 1, "dm", reason=reason, bounce_type=bounce_type, suppress=suppress)
        return change_of(told, None)

    hard = of(BounceType.HARD, False)
    assert hard is not None and hard.doubtful and hard.kind is K.BOUNCE
    sure = of(BounceType.HARD, True)
    assert sure is not None and not sure.doubtful
    assert of(BounceType.SOFT, False) is None
    assert of(BounceType.UNKNOWN, False) is None
    assert of(BounceType.HARD, False, ReceiptKind.DELIVERED) is None


# ---------------------------------------------------------------------------------------------- joining


def test_changes_in_any_order_give_the_same_row() -> None:
    changes = [
        change(K.BOUNCE, 10),
        change(None, 20),
        change(K.COMPLAINT, 30),
        change(K.BOUNCE, 5, until_ms=7),
        change(K.UNSUBSCRIBE, 12, list_id="news"),
        change(None, 25, list_id="news"),
    ]
    assert len({after(*order) for order in permutations(changes)}) == 1


_changes = st.builds(
    change,
    st.sampled_from([None, *SuppressionKind]),
    st.integers(1, 6),
    list_id=st.sampled_from(["", "a", "b"]),
    until_ms=st.sampled_from([0, 3, 9]),
    lift=st.booleans(),
    source=st.sampled_from(["", "x"]),
)


@given(st.lists(_changes, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_any_changes_repeated_and_reordered_hold_the_same(changes: list[SuppressionChange], luck: object) -> None:
    again = [*changes, *changes]
    luck.shuffle(again)  # type: ignore[attr-defined]
    one, other = after(*changes), after(*again)
    assert (one.holds, one.lifted_ms) == (other.holds, other.lifted_ms)
    assert fold(one, changes[-1]) is one or one.actor != fold(one, changes[-1]).actor


def test_an_old_bounce_that_arrives_late_does_not_undo_a_lift() -> None:
    assert after(change(None, 20), change(K.BOUNCE, 10)).active(NOW) == ()


def test_a_new_bounce_after_a_lift_suppresses_again() -> None:
    row = after(change(K.BOUNCE, 10), change(None, 20), change(K.BOUNCE, 30))
    assert blocks(row, "transactional") is K.BOUNCE


def test_a_repeat_gives_the_very_same_row() -> None:
    row = after(change(K.BOUNCE, 10))
    assert fold(row, change(K.BOUNCE, 10)) is row


def test_one_kind_is_lifted_and_the_others_stay() -> None:
    row = after(change(K.BOUNCE, 10), change(K.UNSUBSCRIBE, 10), change(K.BOUNCE, 20, lift=True))
    assert row.active(NOW) == (K.UNSUBSCRIBE,)


# ---------------------------------------------------------------------------------------------- what is stopped


def test_an_unsubscription_blocks_bulk_mail_only() -> None:
    row = after(change(K.UNSUBSCRIBE, 10))
    assert blocks(row) is K.UNSUBSCRIBE
    assert blocks(row, "transactional") is None


def test_the_gravest_reason_is_told() -> None:
    assert blocks(after(change(K.MANUAL, 10), change(K.COMPLAINT, 10))) is K.COMPLAINT


def test_an_unsubscription_from_a_list_stops_that_list_alone_and_on_either_stream() -> None:
    row = after(change(K.UNSUBSCRIBE, 10, list_id="news"))
    assert blocks(row, list_id="news") is K.UNSUBSCRIBE
    assert blocks(row, "transactional", "news") is K.UNSUBSCRIBE
    assert blocks(row, list_id="offers") is None
    assert blocks(row) is None


def test_lifting_a_list_leaves_the_tenant_and_lifting_everything_leaves_nothing() -> None:
    both = (change(K.UNSUBSCRIBE, 10, list_id="news"), change(K.BOUNCE, 10))
    assert blocks(after(*both, change(None, 20, list_id="news")), list_id="news") is K.BOUNCE
    assert blocks(after(*both, change(None, 20)), list_id="news") is None


def test_a_time_limit_ends_a_suppression_by_itself() -> None:
    row = after(change(K.MANUAL, 10, until_ms=NOW))
    assert blocks(row, now_ms=NOW - 1) is K.MANUAL
    assert blocks(row, now_ms=NOW) is None
    assert row.over_ms() == NOW


def test_a_later_wish_sets_the_time_limit_anew() -> None:
    assert blocks(after(change(K.MANUAL, 10, until_ms=50), change(K.MANUAL, 20))) is K.MANUAL
    assert blocks(after(change(K.MANUAL, 10), change(K.MANUAL, 20, until_ms=50))) is None


# ---------------------------------------------------------------------------------------------- what feeds it


def _bounce(reason: Reason, bounce_type: BounceType, *, suppress: bool) -> Receipt:
    return Receipt("m" * 41, ReceiptKind.BOUNCED, "r", 5, 1, "ses", "p", reason, bounce_type, suppress)


def test_a_hard_bounce_feeds_it_and_a_full_mailbox_and_a_reputation_block_do_not() -> None:
    hard = change_of(_bounce(Reason(ReasonKind.BAD_MAILBOX), BounceType.HARD, suppress=True), None)
    assert hard is not None
    assert hard.kind is K.BOUNCE
    full = _bounce(Reason(ReasonKind.MAILBOX_FULL), BounceType.SOFT, suppress=False)
    blocked = _bounce(Reason(ReasonKind.REPUTATION), BounceType.SOFT, suppress=False)
    assert change_of(full, None) is change_of(blocked, None) is None


def test_an_unsubscription_names_its_list_in_the_code() -> None:
    reason = Reason(ReasonKind.UNSUBSCRIBE, code="list:news")
    receipt = Receipt("m" * 41, ReceiptKind.UNSUBSCRIBED, "r", 5, reason=reason, suppress=True)
    found = change_of(receipt, None)
    assert found is not None
    assert (found.kind, found.list_id) == (K.UNSUBSCRIBE, "news")


@pytest.mark.parametrize(
    ("policy", "kind", "until_ms"),
    [
        (SuppressionPolicy(), K.BOUNCE, 0),
        (SuppressionPolicy(bounces=False), K.BOUNCE, None),
        (SuppressionPolicy(complaints=False), K.COMPLAINT, None),
        (SuppressionPolicy(unsubscribes=False), K.UNSUBSCRIBE, None),
        (SuppressionPolicy(lasts_ms=100), K.COMPLAINT, 110),
        (SuppressionPolicy(lasts_ms=100), K.UNSUBSCRIBE, 0),
    ],
)
def test_settings_decide_what_a_report_does(policy: SuppressionPolicy, kind: K, until_ms: int | None) -> None:
    judged = policy.judged(change(kind, 10, message_id="m"))
    assert (judged.until_ms if judged else None) == until_ms


def test_what_a_person_asks_for_is_done_whatever_the_settings_say() -> None:
    policy = SuppressionPolicy(bounces=False, complaints=False, unsubscribes=False, lasts_ms=1)
    asked = change(K.BOUNCE, 10, actor="ann")
    assert policy.judged(asked) is asked


# ---------------------------------------------------------------------------------------------- everywhere, domains


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Example.COM.", "example.com"),
        ("@example.com", "example.com"),
        ("*.example.com", "*.example.com"),
        ("*.Bücher.example", "*.xn--bcher-kva.example"),
        ("*", ""),
        ("ex ample.com", ""),
        ("*.*.com", ""),
        ("exa*mple.com", ""),
        ("", ""),
    ],
)
def test_a_domain_pattern_is_a_domain_or_all_below_one(text: str, normal: str) -> None:
    assert domain_pattern(text) == normal


def book(*rules: SuppressionRule) -> RuleBook:
    made = RuleBook()
    for rule in rules:
        made.put(rule_key(rule), rule)
    return made


def test_a_rule_for_an_address_stops_it_for_every_tenant_however_it_is_spelled() -> None:
    rules = book(SuppressionRule(K.MANUAL, 1, address="Ann@Example.com"))
    for tenant in ("acme", "globex"):
        found = rules.blocks(tenant, "ann@EXAMPLE.com", "transactional", NOW)
        assert found is not None
        assert found.scope == "everywhere"
    assert rules.blocks("acme", "bob@example.com", "bulk", NOW) is None


def test_patterns_stop_a_domain_or_what_lies_below_it_for_one_tenant_or_all() -> None:
    rules = book(
        SuppressionRule(K.MANUAL, 1, pattern="gone.example"),
        SuppressionRule(K.MANUAL, 1, tenant="acme", pattern="*.rival.example"),
    )

    def stopped(tenant: str, address: str) -> bool:
        return rules.blocks(tenant, address, "transactional", NOW) is not None

    assert stopped("acme", "a@gone.example")
    assert not stopped("acme", "a@mail.gone.example")
    assert stopped("acme", "a@x.y.RIVAL.example")
    assert not stopped("acme", "a@rival.example")
    assert not stopped("globex", "a@x.rival.example")


def test_a_rule_ends_by_itself_is_taken_back_and_spares_transactional_mail_of_the_unsubscribed() -> None:
    limited = SuppressionRule(K.MANUAL, 1, pattern="a.example", until_ms=NOW)
    bulk = SuppressionRule(K.UNSUBSCRIBE, 1, address="ann@b.example")
    rules = book(limited, bulk)
    assert rules.blocks("t", "x@a.example", "bulk", NOW - 1)
    assert not rules.blocks("t", "x@a.example", "bulk", NOW)
    assert rules.blocks("t", "ann@b.example", "bulk", NOW)
    assert not rules.blocks("t", "ann@b.example", "transactional", NOW)
    rules.put(rule_key(bulk), None)
    assert not rules.blocks("t", "ann@b.example", "bulk", NOW)
    assert len(rules) == 1


def test_keys_of_rules_carry_no_address_in_the_clear() -> None:
    key = rule_key(SuppressionRule(K.MANUAL, 1, address="ann@example.com"))
    assert b"ann" not in key
    assert key == rule_key(SuppressionRule(K.BOUNCE, 9, address="ANN@example.com"))
