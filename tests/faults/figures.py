"""What a row measured, against what must hold: printed, and kept as JSON for the summary."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.fleet import Account


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: its value, and the limit with its relation (`<=`, `>=`, `==`) if it has one."""

    name: str
    value: float | str
    unit: str = ""
    relation: str = ""
    limit: float | None = None

    @property
    def holds(self) -> bool:
        if self.limit is None or isinstance(self.value, str):
            return True
        return {"<=": self.value <= self.limit, ">=": self.value >= self.limit, "==": self.value == self.limit}[
            self.relation
        ]

    def __str__(self) -> str:
        value = self.value if isinstance(self.value, str) else f"{self.value:,.10g}"
        bound = "" if self.limit is None else f"({self.relation} {self.limit:,.10g})"
        return (
            f"  {self.name:<62}{value:>12} {self.unit:<8}{bound:<12}{'' if self.holds else '  DOES NOT HOLD'}".rstrip()
        )


class Figures:
    """Every method keeps the figure first and asserts then, so that a failure is part of the summary."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: list[Figure] = []

    def note(self, name: str, value: float | str, unit: str = "") -> None:
        """A figure that nothing is promised about."""
        self.lines.append(Figure(name, _short(value), unit))

    def at_most(self, name: str, value: float, limit: float, unit: str = "") -> None:
        self._keep(Figure(name, _short(value), unit, "<=", limit))

    def at_least(self, name: str, value: float, limit: float, unit: str = "") -> None:
        self._keep(Figure(name, _short(value), unit, ">=", limit))

    def equal(self, name: str, value: float, expected: float, unit: str = "") -> None:
        self._keep(Figure(name, _short(value), unit, "==", expected))

    def none(self, name: str, found: Collection[Any]) -> None:
        """Nothing of this kind may exist; a failure shows some."""
        self._keep(Figure(name, len(found), "", "==", 0), sorted(map(str, found))[:5])

    def account(self, account: Account, *, twice_if_uncertain: bool = True) -> None:
        """The oracle's lines: nothing lost, nothing unrecorded, nothing sent twice in silence.

        ``twice_if_uncertain`` allows a second acceptance where the events said `message.uncertain` before.
        """
        self.note("messages", account.requested)
        self.none("lost", account.lost)
        self.none("accepted by a provider, but not in the events", account.unrecorded)
        allowed = account.uncertain if twice_if_uncertain else frozenset()
        self.note("uncertain on the way", len(account.uncertain))
        for way, count in sorted(account.settled.items()):
            self.note(f"uncertain, {way}", count)
        self.note("left uncertain for a person", len(account.held))
        self.note("sent twice, said so", len(set(account.twice) & allowed))
        self.none("sent twice in silence", set(account.twice) - allowed)

    def table(self) -> str:
        return "\n".join([self.title, *map(str, self.lines)])

    def save(self, path: Path, **more: Any) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [{**asdict(line), "holds": line.holds} for line in self.lines]
        path.write_text(json.dumps({"title": self.title, "figures": lines, **more}, indent=1), encoding="utf-8")

    def _keep(self, figure: Figure, examples: Collection[str] = ()) -> None:
        self.lines.append(figure)
        more = f", for example {', '.join(examples)}" if examples else ""
        assert figure.holds, (
            f"{figure.name}: {figure.value} {figure.unit}, must be {figure.relation} {figure.limit}{more}"
        )


def _short(value: float | str) -> float | str:
    return round(value, 3) if isinstance(value, float) else value
