"""What the package index says today of the locked releases: whether they are yanked, quarantined or gone.

The index is the one that pip is set up with, and its certificate too; no address is written here.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import Event
from typing import Any

import requests
from packaging.utils import canonicalize_version
from pypi_simple import (
    ACCEPT_ANY,
    PYPI_SIMPLE_ENDPOINT,
    ProjectPage,
    PyPISimple,
    UnsupportedRepoVersionError,
)
from urllib3.util import Retry

from tests.supply.locks import Pin

_TIMEOUT_S = 10.0
_TRIES = Retry(total=2, backoff_factor=0.5, status_forcelist=(502, 503, 504), raise_on_status=False)
_AT_ONCE = 8  # pages that are fetched at the same time


@dataclass(frozen=True, slots=True)
class IndexAnswer:
    """What is wrong with releases, how many were looked up, and why others could not be."""

    findings: tuple[str, ...]
    looked_up: int
    unchecked: tuple[str, ...]


def ask_index(pins: Iterable[Pin], endpoint: str | None = None) -> IndexAnswer:
    """Look every release up at `endpoint`, or at pip's own index. Never raises for what the network does."""
    by_name: dict[str, list[Pin]] = {}
    for pin in pins:
        by_name.setdefault(pin.name, []).append(pin)
    findings: list[str] = []
    unchecked: list[str] = []
    looked_up = 0
    away = Event()
    with _session() as client, ThreadPoolExecutor(_AT_ONCE) as pool:
        index = PyPISimple(endpoint or _settings().get("index-url") or PYPI_SIMPLE_ENDPOINT, session=client)
        for name, page in zip(by_name, pool.map(lambda name: _page(index, by_name[name], away), by_name), strict=True):
            if isinstance(page, str):
                unchecked.append(page)
                continue
            looked_up += len(by_name[name])
            findings += [finding for pin in by_name[name] for finding in judge(pin, page)]
    return IndexAnswer(tuple(findings), looked_up, tuple(unchecked))


def judge(pin: Pin, page: ProjectPage) -> Iterator[str]:
    """What the index's page says against a release."""
    if page.status == "quarantined":
        yield f"{pin} is quarantined by the index: {page.status_reason or 'no reason given'}"
    version = canonicalize_version(pin.version)
    files = [file for file in page.packages if file.version and canonicalize_version(file.version) == version]
    locked = [file for file in files if file.digests.get("sha256") in pin.hashes]
    if not locked:
        yield f"{pin}: the index has no file with one of the locked hashes"
    yanked = next((file for file in files if file.is_yanked), None)
    if yanked is not None:
        yield f"{pin} was yanked: {yanked.yanked_reason or 'no reason given'}"


def _page(index: PyPISimple, pins: list[Pin], away: Event) -> ProjectPage | str:
    """What the index says of these releases of one package, or in words why it says nothing. Once the index is `away`,
    nobody waits for it again.
    """
    name = pins[0].name
    if away.is_set():
        return f"{name}: not asked"
    try:
        answer = index.s.get(index.get_project_url(name), timeout=_TIMEOUT_S, headers={"Accept": ACCEPT_ANY})
        if answer.status_code == requests.codes.not_found:
            return f"the index does not know {name}"
        answer.raise_for_status()
        if "json" not in answer.headers.get("content-type", ""):
            return ProjectPage.from_response(answer, name)
        return ProjectPage.from_json_data(_about(pins, answer.json()), answer.url)
    except (requests.RequestException, ValueError, UnsupportedRepoVersionError) as exc:
        away.set()
        return f"{name}: {type(exc).__name__}"  # its text may hold the address, and a password in that


def _about(pins: list[Pin], page: dict[str, Any]) -> dict[str, Any]:
    """Only the files that could be these releases: some packages have fifteen thousand, which take long to read."""
    hashes = {content for pin in pins for content in pin.hashes}
    versions = {pin.version for pin in pins}
    files = [
        file
        for file in page.get("files", [])
        if file["hashes"].get("sha256") in hashes or any(version in file["filename"] for version in versions)
    ]
    return {**page, "files": files}


def _session() -> requests.Session:
    session = requests.Session()
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=_AT_ONCE, max_retries=_TRIES))
    if certificates := _settings().get("cert"):
        session.verify = certificates
    return session


@cache
def _settings() -> dict[str, str]:
    """pip's settings, from its environment before its files."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    found = re.findall(r"^(global|install|:env:)\.([a-z-]+)=(.+)$", asked.stdout, re.MULTILINE)
    order = {"global": 0, "install": 1, ":env:": 2}
    return {name: ast.literal_eval(value) for _, name, value in sorted(found, key=lambda entry: order[entry[0]])}
