"""``streams suppressions sync``: one comparison with providers' lists, now."""

from __future__ import annotations

import asyncio
from typing import Any

from streams.adapters import build_adapters
from streams.agents.suppression_job import rows_of, rules_of
from streams.agents.suppression_orders import mark_of, read_mark
from streams.agents.suppression_sync import EVERYBODY, OVERLAP_MS, Sync, SyncFailed, SyncReport, owners_of
from streams.agents.suppression_view import SYNC
from streams.cli.context import Invocation, now_ms
from streams.cli.failure import Failure, UsageFailure
from streams.cli.records import audit
from streams.cli.suppression_store import Writer
from streams.core.suppression import SuppressionChange
from streams.core.suppression_rules import SuppressionRule
from streams.kafka import TopicMissing
from streams.providers._http import HttpExchange
from streams.providers.base import SyncsSuppressions
from streams.suppression_sync import accounts_of, rows_since
from streams.topics import SUPPRESSION_RULES


def compare(
    invocation: Invocation,
    names: tuple[str, ...],
    *,
    tenant: str,
    pull: bool,
    push: bool,
    full: bool,
    dry: bool,
) -> list[dict[str, Any]]:
    """A report per provider; raises Failure when one could not be compared to its end."""
    adapters = build_adapters(invocation.settings, invocation.environment)
    chosen = names or invocation.settings.suppression.sync
    if not chosen:
        raise UsageFailure("name a provider, or set [suppression] sync")
    for name in chosen:
        if name not in adapters:
            raise UsageFailure(f"there is no provider {name} (known: {', '.join(adapters) or 'none is configured'})")
        if not isinstance(adapters[name], SyncsSuppressions):
            raise UsageFailure(f"{name} keeps no lists that can be compared (type {adapters[name].type})")
    return asyncio.run(_compare(invocation, {name: adapters[name] for name in chosen}, tenant, pull, push, full, dry))


async def _compare(
    invocation: Invocation, adapters: dict[str, Any], tenant: str, pull: bool, push: bool, full: bool, dry: bool
) -> list[dict[str, Any]]:
    reports = []
    writer = Writer(invocation)
    marks = invocation.kafka.table(invocation.topics.name(SUPPRESSION_RULES))

    async def emit(wish: SuppressionChange | SuppressionRule) -> None:
        writer.wish(wish)

    async with HttpExchange() as exchange:
        for name, adapter in adapters.items():
            prepare = getattr(adapter, "prepare", None)
            if prepare is not None:
                await asyncio.to_thread(prepare)
            since_ms = 0 if full else read_mark(marks.get(f"{SYNC}{name}".encode()))
            fallback = invocation.settings.suppression.sync_tenant
            tenants = (tenant,) if tenant else owners_of(name, accounts_of(invocation.settings), fallback)
            began_ms = now_ms()
            sync = Sync(name, adapter, exchange, tenants, emit, now_ms, invocation.address_secret, dry)
            try:
                report = await sync.run(_ours(invocation, marks, tenants, since_ms), since_ms, pull, push)
            except SyncFailed as exc:
                writer.flush()
                raise Failure(str(exc)) from exc
            if not dry:
                _done(invocation, writer, report, name, began_ms, whole=pull and push and not tenant)
            reports.append(_shown(report))
    return reports


def _ours(invocation: Invocation, marks: dict[bytes, bytes], tenants: tuple[str, ...], since_ms: int) -> Any:
    begin_ms = max(0, since_ms - OVERLAP_MS)
    if EVERYBODY in tenants:
        return rules_of(marks.items(), begin_ms)
    try:
        return rows_of(rows_since(invocation.kafka, invocation.settings, begin_ms), tenants)
    except TopicMissing:
        return {}  # no worker has ever run


def _done(invocation: Invocation, writer: Writer, report: SyncReport, name: str, began_ms: int, *, whole: bool) -> None:
    if whole:
        writer.send(mark_of(name, began_ms, invocation.topics))
    detail = f"{report.pulled} taken here, {report.pushed} put there, {report.removed} taken off there"
    audit(invocation, "suppression.sync", "provider", name.partition("/")[0], detail=detail)
    writer.flush()


def _shown(report: SyncReport) -> dict[str, Any]:
    return {
        "provider": report.provider,
        "read": report.read,
        "pulled": report.pulled,
        "pushed": report.pushed,
        "removed": report.removed,
        "left_out": report.left_out,
    }
