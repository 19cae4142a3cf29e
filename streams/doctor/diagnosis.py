"""Runs every check and reports. Nothing is changed anywhere, nothing is sent."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from streams.adapters import build_adapters
from streams.configured import topics_of
from streams.doctor.finding import Finding, bad, good
from streams.doctor.kafka import check_kafka
from streams.doctor.links import check_links
from streams.doctor.machine import check_data_dir, check_ingress
from streams.doctor.providers import check_provider
from streams.doctor.tenants import check_tenants
from streams.providers._http import HttpExchange
from streams.providers.base import Exchange, Provider
from streams.settings import Settings, SettingsError, load_settings

_LEAST_FREE_BYTES = 2 * 2**30


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


async def diagnose(
    settings: Settings,
    *,
    env: Mapping[str, str] | None = None,
    exchange: Exchange | None = None,
    now_ms: Callable[[], int] = _clock_ms,
    least_free_bytes: int = _LEAST_FREE_BYTES,
) -> list[Finding]:
    """Every finding, the good ones too, in the order in which mistakes are best repaired."""
    own = HttpExchange() if exchange is None else None
    ask: Exchange = exchange or own or HttpExchange()
    try:
        adapters, found = _adapters(settings, env)
        kafka, tenants, ingress, links, *providers = await asyncio.gather(
            asyncio.to_thread(check_kafka, settings.kafka, topics_of(settings)),
            asyncio.to_thread(check_tenants, settings, env),
            check_ingress(settings.ingress, ask),
            check_links(settings, ask),
            *(check_provider(name, adapter, ask, now_ms()) for name, adapter in adapters.items()),
        )
    finally:
        if own is not None:
            await own.aclose()
    local = check_data_dir(settings.worker, least_free_bytes)
    asked = (finding for findings in providers for finding in findings)
    return [*found, *kafka, *asked, *tenants, *ingress, *links, *local]


async def diagnose_file(path: str | Path | None, env: Mapping[str, str]) -> list[Finding]:
    """Like :func:`diagnose`, beginning with the configuration file itself."""
    try:
        settings = load_settings(path, env)
    except SettingsError as exc:
        return [_unusable(exc)]
    return await diagnose(settings, env=env)


def run_doctor(settings: Settings, *, as_json: bool = False, env: Mapping[str, str] | None = None) -> int:
    """Diagnose and print; 0 if all is well, 1 if something must be done."""
    findings = asyncio.run(diagnose(settings, env=env))
    sys.stdout.write(as_lines(findings) if not as_json else json.dumps([asdict(one) for one in findings]) + "\n")
    return 0 if all(finding.ok for finding in findings) else 1


def as_lines(findings: list[Finding]) -> str:
    """The findings for a person, one or two lines each, whatever servers and records had to say."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{'ok  ' if finding.ok else 'BAD '} {finding.check}: {finding.detail}")
        if finding.advice:
            lines.append(f"     -> {finding.advice}")
    wrong = sum(not finding.ok for finding in findings)
    lines.append(f"{wrong} of {len(findings)} checks found something to do" if wrong else "all is well")
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines) + "\n"


def _adapters(settings: Settings, env: Mapping[str, str] | None) -> tuple[dict[str, Provider], list[Finding]]:
    try:
        adapters = build_adapters(settings, env)
    except SettingsError as exc:
        return {}, [_unusable(exc)]
    found = [good("configuration", "every key is known and has a value that fits")]
    if not any(provider.enabled for provider in settings.providers.values()):
        advice = "add a [providers.NAME] section, see streams.example.toml"
        found.append(bad("providers", "no provider is configured: nothing can be sent", advice))
    return adapters, found


def _unusable(exc: SettingsError) -> Finding:
    return bad(
        "configuration", str(exc).removeprefix("configuration: "), "correct it; docs/configuration.md lists every key"
    )
