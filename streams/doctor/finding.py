"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """``check`` names what was looked at, ``detail`` what is there, ``advice`` what to do (empty where all is well)."""

    check: str
    ok: bool
    detail: str
    advice: str = ""


def good(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, True, detail)


def bad(check: str, detail: str, advice: str) -> Finding:
    """Something must be done."""
    return Finding(check, False, detail, advice)
