"""Failpoints: a process ends or stands still at the place that its environment names, and not before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from streams import failpoints

PASSING_BY = """
import sys
from streams.failpoints import arm, failpoint
arm(sys.argv[1])
for time in range(1, 5):
    print(time, flush=True)
    failpoint("commit.after")
    failpoint("commit.before")
"""


def passing_by(setting: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PASSING_BY, setting], stdout=subprocess.PIPE)


def test_a_process_ends_the_nth_time_it_comes_by() -> None:
    with passing_by("commit.before:3") as process:
        output, _ = process.communicate(timeout=30)
    assert output.split() == [b"1", b"2", b"3"]
    assert process.returncode == -signal.SIGKILL


def test_without_a_setting_nothing_happens() -> None:
    with passing_by("") as process:
        output, _ = process.communicate(timeout=30)
    assert output.split() == [b"1", b"2", b"3", b"4"]
    assert process.returncode == 0


def test_a_process_stands_still_once_and_goes_on_when_it_is_told() -> None:
    with passing_by("commit.before:2:stop") as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=30)
    assert output.split() == [b"1", b"2", b"3", b"4"]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("setting", "complaint"), [("commit.never", "no failpoint"), ("commit.before:1:sleep", "freezes it; not 'sleep'")]
)
def test_a_setting_that_means_nothing_is_refused(setting: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        failpoints.arm(setting)
