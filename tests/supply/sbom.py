"""The bill of materials of what is shipped: CycloneDX 1.6 as JSON, one component per locked release.

It depends on the lock and the installed packages' metadata alone: no time, no chance, the same bytes again for the same
lock. The hashes are those of all files that may be installed as the release, on whichever system. Libraries in C or Rust
within a wheel are not told apart, but for wheels that bring a bill of their own (PEP 770).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply.licences import licence_of
from tests.supply.locks import Lock, Pin
from tests.supply.policy import Policy

_SYSTEMS: tuple[dict[str, str], ...] = ({}, {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"})
_LICENCES = LicenseFactory()


def write_sbom(lock: Lock, project: dict[str, Any], extras: Iterable[str], policy: Policy, target: Path) -> int:
    """Write the bill for `[project]` with its `extras`; returns the number of components. Raises LicenceNotKnown, and
    ValueError for a bill that is not as CycloneDX wants it, before anything is written.
    """
    text = JsonV1Dot6(_bom(lock, project, extras, policy)).output_as_string(indent=2)
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"the bill of materials is not valid: {wrong}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")
    return len(lock.pins)


def _bom(lock: Lock, project: dict[str, Any], extras: Iterable[str], policy: Policy) -> Bom:
    components = {pin.name: _component(pin, policy) for pin in lock.pins}
    product = Component(
        type=ComponentType.APPLICATION,
        name=project["name"],
        version=project["version"],
        bom_ref=f"{project['name']}@{project['version']}",
        licenses=[_LICENCES.make_from_string(project["license"])],
    )
    bom = Bom(components=components.values(), serial_number=_serial_number(lock, project))
    bom.metadata.component = product
    bom.metadata.timestamp = None  # type: ignore[assignment]  # the same lock gives the same bill
    wanted = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    direct = _within(map(Requirement, wanted), components)
    bom.register_dependency(product, [components[name] for name in direct])
    for name, asked in _closure(direct, components).items():
        bom.register_dependency(components[name], [components[other] for other in needs(name, asked, components)])
    return bom


def _component(pin: Pin, policy: Policy) -> Component:
    purl = PackageURL(type="pypi", name=pin.name, version=pin.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(purl.to_string()),
        comment="each file that may be installed as this release",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=content) for content in pin.hashes],
    )
    marker = [Property(name="cdx:python:package:marker", value=str(pin.marker))] if pin.marker else []
    return Component(
        type=ComponentType.LIBRARY, name=pin.name, version=pin.version, purl=purl, bom_ref=purl.to_string(),
        licenses=[_LICENCES.make_from_string(licence_of(pin, policy))], external_references=[files], properties=marker,
    )  # fmt: skip


def _serial_number(lock: Lock, project: dict[str, Any]) -> uuid.UUID:
    content = repr((project["name"], project["version"], [(str(pin), pin.hashes) for pin in lock.pins]))
    return uuid.UUID(bytes=hashlib.sha256(content.encode()).digest()[:16], version=4)


# ------------------------------------------------------------------------------------------------ who needs whom


def _closure(direct: dict[str, set[str]], known: Iterable[str]) -> dict[str, set[str]]:
    """Every package that is reached, with the extras of it that are asked for."""
    reached: dict[str, set[str]] = {}
    waiting = list(direct.items())
    while waiting:
        name, extras = waiting.pop()
        if name in reached and extras <= reached[name]:
            continue
        reached.setdefault(name, set()).update(extras)
        waiting += needs(name, reached[name], known).items()
    return reached


def needs(name: str, extras: set[str], known: Iterable[str]) -> dict[str, set[str]]:
    """What a package needs with these extras, by its own metadata; nothing when it belongs to another system."""
    try:
        stated = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    return _within((one for one in map(Requirement, stated) if _asked(one.marker, extras)), known)


def _within(requirements: Iterable[Requirement], known: Iterable[str]) -> dict[str, set[str]]:
    """Package → extras asked of it, for the packages that are locked."""
    needs: dict[str, set[str]] = {}
    for one in requirements:
        if (name := canonicalize_name(one.name)) in known:
            needs.setdefault(name, set()).update(one.extras)
    return needs


def _asked(marker: Marker | None, extras: set[str]) -> bool:
    def cases() -> Iterator[dict[str, str]]:
        for extra in ("", *sorted(extras)):
            for system in _SYSTEMS:
                yield {**system, "extra": extra}

    return marker is None or any(marker.evaluate(case) for case in cases())
