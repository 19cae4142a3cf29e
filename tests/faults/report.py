"""The results of rows, for a terminal and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]

_HEAD = """\
# What was done to it, and what held

Each row starts the real parts (Apache Kafka, workers, ingress, the providers' stand-ins), injects its fault, and compares
what was asked for, the providers' own ledger and `delivery-events` as sets. `make faults` runs all of them, `make faults
ARGS="kills outage"` some; this page is written by `make faults ARGS="--markdown docs/faults.md"`. What we promise, and what
not, is in the [README](../README.md#what-we-promise).

A figure with a bound has to keep it, or the row does not hold; the others are told for information.
"""


def summary(results: Sequence[Result]) -> str:
    """A line each."""
    lines = [f"{'row':<16}{'':<22}{'seconds':>8}  figures with a limit"]
    for result in results:
        limits = [line for test in result["tests"] for line in test["figures"] if line["limit"] is not None]
        held = sum(line["holds"] for line in limits)
        lines.append(f"{result['row']:<16}{result['ended']:<22}{result['seconds']:>8}  {held} of {len(limits)}")
    held = sum(result["holds"] for result in results)
    return "\n".join([*lines, f"{held} of {len(results)} rows hold"])


def page(results: Sequence[Result], sources: str) -> str:
    """All figures of all rows, in Markdown."""
    parts = [_HEAD, f"Run on {max(result['at'] for result in results)[:10]}, sources `{sources}`, two processors.\n"]
    for result in results:
        parts.append(
            f"## {result['row']}: {result['fault']}\n\n{result['ended'].capitalize()}, {result['seconds']} s.\n"
        )
        parts += [_test(test) for test in result["tests"]]
    return "\n".join(parts)


def _test(test: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {line['name']} | {_value(line)} | {_bound(line)} |" for line in test["figures"])
    return f"{test['title'].capitalize()}:\n\n| figure | | bound |\n|---|---:|---|\n{rows}\n"


def _value(line: Mapping[str, Any]) -> str:
    value = line["value"]
    text = value if isinstance(value, str) else f"{value:,.10g}"
    return f"{text} {line['unit']}".strip() + ("" if line["holds"] else " **does not hold**")


def _bound(line: Mapping[str, Any]) -> str:
    return "" if line["limit"] is None else f"{_SIGNS[line['relation']]} {line['limit']:,.10g}"


_SIGNS = {"<=": "at most", ">=": "at least", "==": "exactly"}
