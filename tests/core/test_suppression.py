from __future__ import annotations

from itertools import permutations

from streams.core.suppression import Suppression, SuppressionChange, SuppressionKind, fold


def change(kind: SuppressionKind | None, at_ms: int) -> SuppressionChange:
    return SuppressionChange("key", kind, at_ms)


def after(*changes: SuppressionChange) -> Suppression:
    row: Suppression | None = None
    for one in changes:
        row = fold(row, one)
    assert row is not None
    return row


def test_changes_in_any_order_give_the_same_row() -> None:
    changes = [
        change(SuppressionKind.BOUNCE, 10),
        change(None, 20),
        change(SuppressionKind.COMPLAINT, 30),
        change(SuppressionKind.BOUNCE, 5),
    ]
    assert len({after(*order) for order in permutations(changes)}) == 1


def test_an_old_bounce_that_arrives_late_does_not_undo_a_lift() -> None:
    assert after(change(None, 20), change(SuppressionKind.BOUNCE, 10)).active() == ()


def test_a_new_bounce_after_a_lift_suppresses_again() -> None:
    row = after(change(SuppressionKind.BOUNCE, 10), change(None, 20), change(SuppressionKind.BOUNCE, 30))
    assert row.blocks("transactional") is SuppressionKind.BOUNCE


def test_an_unsubscription_blocks_bulk_mail_only() -> None:
    row = after(change(SuppressionKind.UNSUBSCRIBE, 10))
    assert row.blocks("bulk") is SuppressionKind.UNSUBSCRIBE
    assert row.blocks("transactional") is None


def test_the_gravest_reason_is_told() -> None:
    row = after(change(SuppressionKind.MANUAL, 10), change(SuppressionKind.COMPLAINT, 10))
    assert row.blocks("bulk") is SuppressionKind.COMPLAINT


def test_a_repeat_gives_the_very_same_row() -> None:
    row = after(change(SuppressionKind.BOUNCE, 10))
    assert fold(row, change(SuppressionKind.BOUNCE, 10)) is row
