"""The pictures in docs/lifecycle.md are the table."""

from __future__ import annotations

import re
from pathlib import Path

from streams.core.lifecycle import PRECEDENCE, TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
BOX = re.compile(r'^\s*state "([^"]+)" as (\w+)$')
ARROW = re.compile(r"^\s*(\S+) --> (\w+): (\w+)$")


def drawn() -> set[tuple[str, str, str]]:
    edges = set()
    for picture in re.findall(r"```mermaid\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        boxes: dict[str, list[str]] = {"[*]": ["nothing"]}
        for line in picture.splitlines()[1:]:
            if box := BOX.match(line):
                boxes[box[2]] = box[1].split(" | ")
                continue
            arrow = ARROW.match(line)
            assert arrow, f"a line that is no arrow: {line!r}"
            for source in boxes.get(arrow[1], [arrow[1]]):
                edges.add((source, arrow[3], arrow[2]))
    return edges


def test_the_diagrams_edges_are_the_tables_transitions() -> None:
    table = {
        (status.value if status else "nothing", kind.value, to.value)
        for status, leads in TRANSITIONS.items()
        for kind, to in leads.items()
    }
    assert drawn() == table


def test_the_page_lists_the_facts_in_the_order_of_the_table() -> None:
    words = " ".join(PAGE.read_text(encoding="utf-8").split())
    listed = re.search(r"from weak to strong: ([a-z_, ]+)\.", words)
    assert listed
    assert listed[1].split(", ") == [kind.value for kind, _ in PRECEDENCE]
