"""What the package index says today of the locked releases: whether they are yanked, quarantined or gone.

The index is the one that pip is set up with, and its certificate too; no address is written here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests
from packaging.utils import canonicalize_version
from pypi_simple import (
    PYPI_SIMPLE_ENDPOINT,
    NoSuchProjectError,
    ProjectPage,
    PyPISimple,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
)

from tests.supply.locks import Pin

_TIMEOUT_S = 15.0
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
    with _session() as client, ThreadPoolExecutor(_AT_ONCE) as pool:
        index = PyPISimple(endpoint or _setting("index-url") or PYPI_SIMPLE_ENDPOINT, session=client)
        for name, page in zip(by_name, pool.map(lambda name: _page(index, name), by_name), strict=True):
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


def _page(index: PyPISimple, name: str) -> ProjectPage | str:
    """The page, or in words why there is none."""
    try:
        return index.get_project_page(name, timeout=_TIMEOUT_S)
    except NoSuchProjectError:
        return f"the index does not know {name}"
    except (requests.RequestException, UnsupportedContentTypeError, UnsupportedRepoVersionError) as exc:
        return f"{name}: {type(exc).__name__}"  # its text may hold the address, and a password in that


def _session() -> requests.Session:
    session = requests.Session()
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=_AT_ONCE))
    if certificates := _setting("cert"):
        session.verify = certificates
    return session


def _setting(name: str) -> str | None:
    """One of pip's settings, from its environment or its files."""
    if given := os.environ.get(f"PIP_{name.upper().replace('-', '_')}"):
        return given
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "get", f"global.{name}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return asked.stdout.strip() or None
