"""The licence of a locked package, and whether it may come in."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from email.message import Message
from typing import cast

from license_expression import LicenseSymbol, LicenseWithExceptionSymbol, get_spdx_licensing
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from tests.supply.locks import Pin
from tests.supply.policy import Policy

_CLASSIFIER = "License :: "
_READER = get_spdx_licensing()


class LicenceNotKnown(Exception):
    """Nobody can tell the licence; the text says why."""


def licence_of(pin: Pin, policy: Policy) -> str:
    """The SPDX expression: as a person has read it, or else as the installed package says. Raises LicenceNotKnown."""
    reviewed = policy.reviewed.get(pin.name)
    try:
        installed = importlib.metadata.distribution(pin.name)
    except importlib.metadata.PackageNotFoundError:
        if reviewed is None:
            raise LicenceNotKnown(f"{pin} is not installed here, and nobody has read its licence") from None
        return reviewed.licence
    if installed.version != pin.version and pin.applies_here:
        raise LicenceNotKnown(f"{pin} is locked, but {installed.version} is installed: run `make venv`")
    # importlib's message is an email.message.Message, which its type does not say in Python 3.11
    said = stated(cast(Message, installed.metadata))
    if reviewed is not None:
        if reviewed.says is not None and reviewed.says != said:
            raise LicenceNotKnown(f"{pin} now says “{said}” of its licence, no longer “{reviewed.says}”: read it again")
        return reviewed.licence
    return _expression(pin, said, policy)


def stated(metadata: Message) -> str:
    """What a package says of its licence, in its own words: `License-Expression`, else the first line of `License`,
    else the classifiers; "" when it says nothing.
    """
    for field in ("License-Expression", "License"):
        text = (metadata.get(field) or "").strip().partition("\n")[0].strip()
        if text and text != "UNKNOWN":
            return text
    classifiers = [c for c in metadata.get_all("Classifier", []) if c.startswith(_CLASSIFIER)]
    return " and ".join(c.rpartition(" :: ")[2] for c in classifiers)


def _expression(pin: Pin, said: str, policy: Policy) -> str:
    if spelled := policy.spellings.get(said.lower()):
        return spelled
    try:
        return canonicalize_license_expression(said)
    except InvalidLicenseExpression:
        raise LicenceNotKnown(f"{pin}: the licence “{said}” is no SPDX expression; read it and note it") from None


def is_allowed(expression: str, allowed: Iterable[str]) -> bool:
    """AND needs both sides, OR one; a licence `WITH` an exception is one of its own."""
    return _holds(_READER.parse(expression), frozenset(allowed))


def _holds(node: object, allowed: frozenset[str]) -> bool:
    match node:
        case LicenseWithExceptionSymbol() | LicenseSymbol():
            return str(node) in allowed
        case _READER.AND():
            return all(_holds(part, allowed) for part in node.args)
        case _READER.OR():
            return any(_holds(part, allowed) for part in node.args)
        case _:
            raise ValueError(f"no licence expression: {node!r}")


def licence_findings(pins: Iterable[Pin], policy: Policy) -> list[str]:
    """One line per package whose licence is not known or not allowed."""
    findings = []
    for pin in pins:
        try:
            licence = licence_of(pin, policy)
        except LicenceNotKnown as exc:
            findings.append(str(exc))
            continue
        extra = policy.allowed_for.get(pin.name)
        if not is_allowed(licence, {*policy.allowed, *([extra] if extra else [])}):
            findings.append(f"{pin}: the licence {licence} is not on the list")
    return findings
