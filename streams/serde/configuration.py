"""Templates, tenants and audit records: public records that are rare, so plain fastavro does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from streams.core.audit import AuditRecord, AuditResult, TargetKind
from streams.core.ids import fingerprint
from streams.core.message import Mailbox, Template
from streams.core.tenant import Tenant
from streams.serde.records import NeedsSchema, SchemaCache, Undecodable, decode, encode

_LEAST_RATE, _MOST_RATE = 0.001, 1_000_000.0


def template_version(subject: str, text: str, html: str) -> str:
    """A version that changes exactly when a source does: 12 hex characters."""
    return fingerprint(subject.encode(), text.encode(), html.encode())[:12]


def encode_template(
    template: Template, *, description: str = "", updated_ms: int = 0, updated_by: str = "", prefix: bytes | None = None
) -> bytes:
    """A record of ``templates``; its key is the template id."""
    return encode(
        "Template",
        {
            "template_id": template.template_id,
            "version": template.version,
            "subject": template.subject,
            "text": template.text or None,
            "html": template.html or None,
            "description": description,
            "updated_at": updated_ms or None,
            "updated_by": updated_by,
        },
        prefix,
    )


def decode_template(value: bytes | None, registry: SchemaCache | None = None) -> Template | Undecodable | NeedsSchema:
    """The template in a record of ``templates``; an empty version is derived from the sources."""
    record = decode("Template", value, registry)
    if not isinstance(record, dict):
        return record
    subject, text, html = record["subject"], record["text"] or "", record["html"] or ""
    version = record["version"] or template_version(subject, text, html)
    return Template(record["template_id"], version, subject, text, html)


def encode_tenant(tenant: Tenant, prefix: bytes | None = None) -> bytes:
    """A record of ``tenants``; its key is the tenant's name."""
    tracked = tenant.track_opens is not None or tenant.track_clicks is not None
    return encode(
        "Tenant",
        {
            "tenant": tenant.tenant,
            "from": _of_mailbox(tenant.sender) if tenant.sender else None,
            "reply_to": [_of_mailbox(m) for m in tenant.reply_to],
            "accounts": tenant.accounts,
            "account_settings": tenant.account_settings,
            "rate": tenant.rate,
            "events_topic": tenant.events_topic or None,
            "provider": tenant.provider or None,
            "retry_policy": tenant.retry_policy or None,
            "tracking": {"opens": tenant.track_opens, "clicks": tenant.track_clicks} if tracked else None,
            "alert_address": tenant.alert_address or None,
            "enabled": tenant.enabled,
            "updated_at": tenant.updated_ms or None,
            "updated_by": tenant.updated_by,
        },
        prefix,
    )


def decode_tenant(value: bytes | None, registry: SchemaCache | None = None) -> Tenant | Undecodable | NeedsSchema:
    """The tenant in a record of ``tenants``."""
    record = decode("Tenant", value, registry)
    if not isinstance(record, dict):
        return record
    tracking = record["tracking"] or {}
    return Tenant(
        tenant=record["tenant"],
        sender=_mailbox(record["from"]) if record["from"] else None,
        reply_to=tuple(_mailbox(m) for m in record["reply_to"]),
        accounts=record["accounts"],
        account_settings=record["account_settings"],
        rate=_rate(record["rate"]),
        events_topic=record["events_topic"] or "",
        provider=record["provider"] or "",
        retry_policy=record["retry_policy"] or "",
        track_opens=tracking.get("opens"),
        track_clicks=tracking.get("clicks"),
        alert_address=record["alert_address"] or "",
        enabled=record["enabled"],
        updated_ms=record["updated_at"] or 0,
        updated_by=record["updated_by"],
    )


def _rate(told: float) -> float:
    """Turns per second that a calendar can hold; what is no rate at all is none."""
    return min(max(told, _LEAST_RATE), _MOST_RATE) if math.isfinite(told) and told > 0 else 0.0


def encode_audit(audit: AuditRecord, prefix: bytes | None = None) -> bytes:
    """A record of ``audit-log``; its key is the tenant."""
    return encode("AuditRecord", audit_record(audit), prefix)


def decode_audit(value: bytes | None, registry: SchemaCache | None = None) -> AuditRecord | Undecodable | NeedsSchema:
    """The audit record in a record of ``audit-log``."""
    record = decode("AuditRecord", value, registry)
    if not isinstance(record, dict):
        return record
    try:
        return AuditRecord(
            audit_id=record["audit_id"],
            occurred_ms=record["occurred_at"],
            actor=record["actor"],
            action=record["action"],
            target_kind=TargetKind(record["target_kind"]),
            target=record["target"],
            tenant=record["tenant"],
            result=AuditResult(record["result"]),
            detail=record["detail"],
            attributes=record["attributes"],
        )
    except ValueError as exc:
        return Undecodable("malformed", str(exc))


def audit_record(audit: AuditRecord) -> dict[str, Any]:
    """The audit record under the schema's names."""
    return {
        "audit_id": audit.audit_id,
        "occurred_at": audit.occurred_ms,
        "actor": audit.actor,
        "action": audit.action,
        "tenant": audit.tenant,
        "target_kind": str(audit.target_kind),
        "target": audit.target,
        "result": str(audit.result),
        "detail": audit.detail,
        "attributes": dict(audit.attributes),
    }


def _of_mailbox(mailbox: Mailbox) -> dict[str, str]:
    return {"email": mailbox.email, "name": mailbox.name}


def _mailbox(record: Mapping[str, str]) -> Mailbox:
    return Mailbox(record["email"], record["name"])
