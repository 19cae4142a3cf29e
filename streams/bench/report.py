"""Comparisons as a table for people, and as one JSON object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streams.bench.figures import Comparison, Reading, Spread

BUSY_LIMIT = 0.7
"""Above this share of a processor the broker or the provider may have been what was measured."""


def as_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Everything that was measured."""
    return {"comparisons": [_comparison(each) for each in comparisons], "met": all(c.met for c in comparisons)}


def table(comparisons: Iterable[Comparison]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("what", "compared with", "unit", "ours", "theirs", "ratio", "target", "others' load", "broker"):
        shown.add_column(name, overflow="fold")
    for each in comparisons:
        ratio = Spread.of(each.ratios)
        shown.add_row(
            each.subject,
            each.peer,
            each.unit,
            _spread(each.ours),
            _spread(each.theirs),
            Text(_three(ratio), style="green" if each.met else "red"),
            f"{each.target or '–'}{'' if each.met else '  missed'}",
            _load(each),
            each.broker,
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=220)
    console.print(shown)
    console.print("Each cell: median (lowest … highest) over the rounds. Load: processors used, at most, by each.")


def _comparison(each: Comparison) -> dict[str, Any]:
    ratio = Spread.of(each.ratios)
    return {
        "bench": each.bench,
        "what": each.subject,
        "compared_with": each.peer,
        "unit": each.unit,
        "broker": each.broker,
        "ratio": {"min": ratio.low, "median": ratio.median, "max": ratio.high, "rounds": list(each.ratios)},
        "target": str(each.target) if each.target else None,
        "met": each.met,
        "others_at_rest": each.busiest < BUSY_LIMIT,
        "note": each.note,
        "ours": [_reading(r) for r in each.ours],
        "theirs": [_reading(r) for r in each.theirs],
    }


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "value": reading.value,
        "work": reading.work,
        "cpu_s": reading.cpu_s,
        "wall_s": reading.wall_s,
        "busy": reading.busy,
        "threads": reading.threads,
    }


def _spread(readings: Sequence[Reading]) -> str:
    return _three(Spread.of([reading.value for reading in readings]))


def _three(spread: Spread) -> str:
    return f"{_number(spread.median)} ({_number(spread.low)} … {_number(spread.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _load(each: Comparison) -> str:
    shares: dict[str, float] = {}
    for reading in (*each.ours, *each.theirs):
        for name, share in reading.busy.items():
            shares[name] = max(share, shares.get(name, 0.0))
    return ", ".join(f"{name} {share:.0%}{' (!)' if share >= BUSY_LIMIT else ''}" for name, share in shares.items())
