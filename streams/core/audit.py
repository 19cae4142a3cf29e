"""Who did what, when, on what, with which result: one record of ``audit-log``. Never a body, never a secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from streams.core.ids import fingerprint


class AuditResult(StrEnum):
    """How it went."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class TargetKind(StrEnum):
    """What was acted upon."""

    MESSAGE = "message"
    ADDRESS = "address"
    BREAKER = "breaker"
    CREDENTIAL = "credential"
    TEMPLATE = "template"
    TENANT = "tenant"
    STREAM = "stream"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """``action`` reads ``object.verb`` (``message.retry``); ``actor`` is a person, ``system`` or a component."""

    audit_id: str
    occurred_ms: int
    actor: str
    action: str
    target_kind: TargetKind
    target: str
    tenant: str = ""
    result: AuditResult = AuditResult.DONE
    detail: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


def audit_id(actor: str, action: str, target: str, cause: str) -> str:
    """The same for the same ``cause`` (a record's place, a command's id), so that a repeat is recognised."""
    return fingerprint(actor.encode(), action.encode(), target.encode(), cause.encode())
