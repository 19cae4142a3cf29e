"""Other releases of the product, made from this one: its sources with fields that this one does not know.

`make(folder, 1)` is the next release, `make(folder, 2)` the one after it: each adds a field of its own to the ledger's
rows, to a message's state, to messages and receipts on their way, and to the public schemas; each keeps this release's
schemas among its released ones, as the rules for releases ask. A worker of it is started with its folder first on
`PYTHONPATH`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.fleet import ROOT

PUBLIC = ("SendRequest", "DeliveryEvent")
_LAST_FIELDS = {  # of a record that workers hand each other: the file, and its last field
    "core/ledger.py": '    account: str = ""\n    """The account at ``provider`` that the attempt was made with; '
    'empty for the provider\'s own."""\n',
    "core/message_state.py": "    last_ms: int = 0\n",
    "core/receipt.py": "    filled: bool = False\n"
    '    """Whether it was fetched from the provider because its webhook may be lost (it counts if it is no repeat)."""\n',
    "core/message.py": '    list_id: str = ""\n',
}


_EVENT_WRITER = (
    "serde/events.py",
    "            _map(event.metadata) if event.metadata else _END,\n",
    "            _NULL,\n",
)
"""Events are written field by field: the line behind which a later release writes its own, which are null."""


def field_of(number: int) -> str:
    """The name of the field that this release has added."""
    return f"since_release_{number}"


def make(folder: Path, number: int) -> Path:
    """The release `number` after this one, as a folder for `PYTHONPATH`."""
    target = folder / f"release-{number}"
    shutil.copytree(ROOT / "streams", target / "streams", ignore=shutil.ignore_patterns("__pycache__"))
    for file, anchor in _LAST_FIELDS.items():
        new = "".join(f'    {field_of(n)}: str = "release {n}"\n' for n in range(1, number + 1))
        _insert(target / "streams" / file, anchor, new)
    file, anchor, line = _EVENT_WRITER
    _insert(target / "streams" / file, anchor, number * line)
    for name in PUBLIC:
        _evolve(target / "streams" / "schemas", name, number)
    return target


def schema_text(release: Path, name: str) -> str:
    return (release / "streams" / "schemas" / f"{name}.avsc").read_text(encoding="utf-8")


def _insert(file: Path, anchor: str, new: str) -> None:
    """Put text behind the last place where the anchor stands."""
    before, found, after = file.read_text(encoding="utf-8").rpartition(anchor)
    assert found, f"{file}: {anchor!r} stands nowhere"
    file.write_text(before + anchor + new + after, encoding="utf-8")


def _evolve(schemas: Path, name: str, number: int) -> None:
    current = schemas / f"{name}.avsc"
    text = current.read_text(encoding="utf-8")
    for n in range(number):
        (schemas / "released" / name / f"v9{n}.avsc").write_text(_with_fields(text, n), encoding="utf-8")
    current.write_text(_with_fields(text, number), encoding="utf-8")


def _with_fields(text: str, number: int) -> str:
    record: dict[str, Any] = json.loads(text)
    record["fields"] += [
        {"name": field_of(n), "type": ["null", "string"], "default": None, "doc": "Added by a later release."}
        for n in range(1, number + 1)
    ]
    return json.dumps(record)
