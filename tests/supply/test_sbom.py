"""The bill of materials lists what the lock lists, with hashes, licences and who needs whom."""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.supply.__main__ import POLICY, ROOT, SHIPPED, SHIPPED_EXTRAS
from tests.supply.locks import Pin, read_lock
from tests.supply.policy import read_policy
from tests.supply.sbom import needs, write_sbom

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = read_lock(ROOT / SHIPPED)


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("build") / "deep" / "sbom.cdx.json"
    policy = read_policy(POLICY, date(2026, 1, 1))
    assert write_sbom(LOCK, PROJECT, SHIPPED_EXTRAS, policy, target) == len(LOCK.pins)
    return target


@pytest.fixture(scope="module")
def read(bill: Path) -> dict[str, Any]:
    return dict(json.loads(bill.read_text()))


def test_every_locked_release_is_a_component_with_all_its_hashes_and_a_licence(read: dict[str, Any]) -> None:
    components = {one["purl"]: one for one in read["components"]}
    assert set(components) == {f"pkg:pypi/{pin.name}@{pin.version}" for pin in LOCK.pins}
    for pin in LOCK.pins:
        one = components[f"pkg:pypi/{pin.name}@{pin.version}"]
        (files,) = one["externalReferences"]
        assert {entry["content"] for entry in files["hashes"]} == set(pin.hashes)
        assert len(one["licenses"]) == 1


def test_everything_shipped_is_there_because_something_needs_it(read: dict[str, Any]) -> None:
    needs = {one["ref"]: one.get("dependsOn", []) for one in read["dependencies"]}
    reached: set[str] = set()
    waiting = [read["metadata"]["component"]["bom-ref"]]
    while waiting:
        reached.add(name := waiting.pop())
        waiting += [other for other in needs[name] if other not in reached]
    assert reached == set(needs)
    assert set(needs) - {"streams-mail@0.1.0"} == {one["bom-ref"] for one in read["components"]}


def test_the_lock_of_the_bill_is_made_with_the_extras_of_the_bill() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert f'"{SHIPPED}:{" ".join(f"--extra {extra}" for extra in SHIPPED_EXTRAS)}"' in makefile


def test_the_same_lock_gives_the_same_bytes_and_another_lock_another_number(bill: Path, tmp_path: Path) -> None:
    policy = read_policy(POLICY, date(2026, 1, 1))
    write_sbom(LOCK, PROJECT, SHIPPED_EXTRAS, policy, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == bill.read_bytes()
    first, *rest = LOCK.pins
    other = Pin(first.name, first.version, first.marker, ("f" * 64,))
    changed = type(LOCK)(LOCK.name, (other, *rest), ())
    write_sbom(changed, PROJECT, SHIPPED_EXTRAS, policy, tmp_path / "other.json")
    numbers = [json.loads(path.read_text())["serialNumber"] for path in (bill, tmp_path / "other.json")]
    assert len(set(numbers)) == 2


def test_what_an_extra_brings_counts_only_where_the_extra_is_asked_for() -> None:
    assert needs("httpx", {"http2"}, {"h2", "anyio"}) == {"h2": set(), "anyio": set()}
    assert needs("httpx", set(), {"h2", "anyio"}) == {"anyio": set()}
