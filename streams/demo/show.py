"""The demo for a person: a live table in a terminal, single lines elsewhere, and the verdict."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streams.core.event import EventType
from streams.demo.oracle import Verdict
from streams.demo.watch import Progress

_STATE_STYLE = {"closed": "green", "open": "bold red", "half_open": "yellow"}
_MOST_DIFFERENCES = 20


class Screen:
    """What a person sees; with ``quiet`` (JSON is wanted) nothing but the phases, on standard error."""

    def __init__(self, quiet: bool) -> None:
        self._console = Console(file=sys.stderr if quiet else sys.stdout, highlight=False)
        self._live: Live | None = None
        self._quiet = quiet
        self._phase = ""
        self._began_s = time.monotonic()
        self._progress: Progress | None = None
        self._messages = 0

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, get_renderable=self._drawn, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def watch(self, progress: Progress, messages: int) -> None:
        """From now on show these counts."""
        self._progress, self._messages = progress, messages

    def phase(self, text: str) -> None:
        """What happens now."""
        self._phase = text
        if self._live is None:
            self._console.print(f"{self._elapsed_s():6.1f} s  {text}")

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def _drawn(self) -> Group:
        head = Text.assemble(("streams demo  ", "bold"), f"{self._elapsed_s():5.1f} s  {self._phase}")
        if self._progress is None:
            return Group(head)
        return Group(head, _counts(self._progress, self._messages), _providers(self._progress))


def _counts(progress: Progress, messages: int) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("event")
    table.add_column("count", justify="right")
    for kind in EventType:
        count = progress.counts[kind.value]
        if count:
            table.add_row(kind.value.removeprefix("message."), str(count))
    table.add_row(Text("all", style="bold"), Text(str(len(progress.events)), style="bold"))
    table.add_row("still due", str(len(progress.waiting_for)))
    table.add_row("per second", f"{progress.rate(time.monotonic()):.0f}")
    table.add_row("messages", str(messages))
    return table


def _providers(progress: Progress) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("provider", "sent", "breaker", "opened", "closed"):
        table.add_column(name, justify="left" if name in ("provider", "breaker") else "right")
    for provider in sorted({*progress.sent_by, *progress.breakers}):
        seen = progress.breakers.get(provider)
        state = seen.state if seen else "closed"
        counts = (str(seen.opened), str(seen.closed)) if seen else ("0", "0")
        table.add_row(
            provider, str(progress.sent_by[provider]), Text(state, style=_STATE_STYLE.get(state, "")), *counts
        )
    return table


def print_verdict(report: dict[str, Any], verdict: Verdict) -> None:
    """The result for a person."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for kind, count in report["events"].items():
        table.add_row(kind, str(count))
    console.print(table)
    for provider, count in report["by_provider"].items():
        moves = report["breakers"].get(provider, {"opened": 0, "closed": 0})
        console.print(f"{provider}: took {count}, breaker opened {moves['opened']} and closed {moves['closed']} times")
    for way, count in report["ways_in"].items():
        console.print(f"by {way}: {count} records")
    mail = report["transactional"]
    alone, beside = mail["alone_ms"], mail["beside_campaign_ms"]
    console.print(
        f"transactional mail, request to provider: p99 {alone['p99']} ms alone, {beside['p99']} ms beside the campaign "
        f"({mail['p99_ratio']} times; at most {mail['wanted_ratio']:g} times is wanted)"
    )
    console.print(
        f"{report['requested']} requests, {report['messages']} messages, lost {report['lost']}, "
        f"duplicated {report['duplicated']}, {report['wall_s']} s, {report['messages_per_s']} messages/s"
    )
    for line in verdict.differences[:_MOST_DIFFERENCES]:
        console.print(line)
    if len(verdict.differences) > _MOST_DIFFERENCES:
        console.print(f"… and {len(verdict.differences) - _MOST_DIFFERENCES} more")
    if verdict.equal:
        console.print("[green]Every message reached its end; the events equal the providers' own ledger.[/green]")
