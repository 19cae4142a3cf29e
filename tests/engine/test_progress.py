"""How far a restore is, in the log."""

from __future__ import annotations

import logging

import pytest

from streams.engine.progress import Progress


def test_a_long_restore_says_now_and_then_how_far_it_is_and_how_long_it_will_take(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_s, told = 100.0, []
    progress = Progress(lambda done, total: told.append((done, total)), lambda: now_s)
    with caplog.at_level(logging.INFO, "streams.engine.progress"):
        for second in range(21):
            now_s = 100.0 + second
            progress(50_000 * second, 1_000_000)
    assert len(told) == 21
    assert caplog.messages == [
        "Restored 150,000 of 1,000,000 records, 17 s left",
        "Restored 300,000 of 1,000,000 records, 14 s left",
        "Restored 450,000 of 1,000,000 records, 11 s left",
        "Restored 600,000 of 1,000,000 records, 8 s left",
        "Restored 750,000 of 1,000,000 records, 5 s left",
        "Restored 900,000 of 1,000,000 records, 2 s left",
    ]


def test_a_restore_that_stands_still_says_so(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    progress = Progress(lambda done, total: None, lambda: now_s)
    with caplog.at_level(logging.INFO, "streams.engine.progress"):
        now_s = 10.0
        progress(0, 1_000)
    assert caplog.messages == ["Restored 0 of 1,000 records, nothing has arrived yet"]
