"""Doors: a request may speak for the tenants of its topic and for nobody else.

Kafka's ACLs decide who writes a topic; here it is decided for whom. Rules:

1. Nothing of such a request is told to the tenant that it names: its ids would be that tenant's, and whoever wrote it
   could make another's message look refused.
2. It is told to the tenant whose door it is, where that is one, under ids of that tenant's own.
3. It is a dead letter, counted, and noted on ``audit-log``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.agents.intake.config import Door
from streams.agents.intake.refusals import known_in
from streams.agents.intake.run import Run
from streams.agents.ports import RecordPort
from streams.core.audit import AuditRecord, AuditResult, TargetKind, audit_id
from streams.core.event import Reason, ReasonKind
from streams.core.request import DEFAULT_TENANT
from streams.serde.configuration import encode_audit
from streams.topics import AUDIT_LOG

FOREIGN_TENANT = "foreign_tenant"
"""The reason of the dead letter."""
_SHOWN = 64  # characters of a name that may be none


def lets_in(run: Run, record: RecordPort, found: Mapping[str, Any]) -> bool:
    """Whether a decoded request, valid or not, speaks for somebody its topic may speak for; refused if not."""
    door = run.door
    claimed = found.get("tenant") or DEFAULT_TENANT
    if door is None or claimed in door.tenants:
        return True
    shown = str(claimed)[:_SHOWN]
    detail = f"requests in {run.batch.topic} may not be for tenant {shown}"
    run.dead(record, FOREIGN_TENANT, detail)
    run.counts.foreign += 1
    _tell(run, door, found, detail)
    _note(run, door, record, shown, detail)
    return False


def _tell(run: Run, door: Door, found: Mapping[str, Any], detail: str) -> None:
    if len(door.tenants) != 1:
        return
    (own,) = door.tenants
    known = known_in({**found, "tenant": own}, run.bulk_door)
    if known is not None:
        run.tell(known, known.emails, Reason(ReasonKind.INVALID_REQUEST, code="tenant", detail=detail))


def _note(run: Run, door: Door, record: RecordPort, claimed: str, detail: str) -> None:
    place = f"{run.batch.topic}/{run.batch.partition}/{record.offset}"
    owner = next(iter(door.tenants)) if len(door.tenants) == 1 else ""
    action = "request.refuse"
    audit = AuditRecord(
        audit_id("intake", action, claimed, place),
        run.now_ms,
        "intake",
        action,
        TargetKind.TENANT,
        claimed,
        tenant=owner,
        result=AuditResult.REFUSED,
        detail=detail,
        attributes={"door": door.name, "record": place},
    )
    value = encode_audit(audit, run.config.audit_prefix)
    run.unit.emit(run.config.topics.name(AUDIT_LOG), 0, owner.encode(), value)
