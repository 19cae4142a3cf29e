"""``streams bench``: its options and mistakes."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from streams.bench.command import BENCHES, bench
from streams.cli import main


def test_the_help_names_every_measurement() -> None:
    shown = CliRunner().invoke(bench, ["--help"]).output
    assert all(name in shown for name in BENCHES)


@pytest.mark.parametrize("arguments", [["nothing"], ["--kafka", "somewhere"], ["--rounds", "0"]], ids=lambda a: a[0])
def test_a_wrong_argument_is_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        bench.main(arguments, standalone_mode=False)


def test_the_command_line_hands_the_arguments_on() -> None:
    assert main(["bench", "--kafka", "somewhere"]) == 2
