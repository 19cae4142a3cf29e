"""The command: which measurements, how often, on which broker; progress while they run, a table at the end."""

from __future__ import annotations

import json
import sys
from importlib import import_module

import click

from streams.bench import report
from streams.bench.figures import Comparison
from streams.bench.lab import EMBEDDED, REAL, BenchFailed, Options, say

BENCHES: dict[str, str] = {
    "track": "receipts to delivery events with state: against stock Faust and a bare loop",
    "send": "requests to accepted by the provider: one by one against a bare loop, batches against one by one",
    "webhooks": "signed webhooks to Kafka: against a handler that only reads them",
    "latency": "request to provider at 200/s: against a bare loop at the same rate",
    "restore": "restoring 400,000 table entries: against stock Faust",
}

_BENCH_HELP = "Measure what the product costs beside something simpler.\n\n\b\n" + "\n".join(
    f"{name:10}{line}" for name, line in BENCHES.items()
)


@click.command(help=_BENCH_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice(list(BENCHES)))
@click.option("--rounds", type=click.IntRange(1, 50), default=3, show_default=True, help="Rounds of each comparison.")
@click.option("--scale", type=click.FloatRange(0.001, 100), default=1.0, show_default=True, help="Amount of work.")
@click.option(
    "--kafka",
    metavar="embedded|real|HOST:PORT",
    default="",
    help="The broker. By default embedded for track and webhooks, real (Apache Kafka, needs Java) for the others.",
)
@click.option("--profile", is_flag=True, help="Also show where the time of our side goes.")
@click.option("--check", is_flag=True, help="Exit 1 if a target is missed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(
    names: tuple[str, ...], rounds: int, scale: float, kafka: str, profile: bool, check: bool, as_json: bool
) -> int:
    """Measure (the help is made of the table above)."""
    if kafka not in ("", EMBEDDED, REAL) and ":" not in kafka:
        raise click.UsageError("--kafka must be 'embedded', 'real' or HOST:PORT")
    options = Options(rounds, scale, kafka, profile)
    comparisons: list[Comparison] = []
    try:
        for name in names or BENCHES:
            say(f"{name}: {BENCHES[name]}")
            comparisons += import_module(f"streams.bench.{name}").compare(options)
    except BenchFailed as exc:
        raise click.ClickException(str(exc)) from exc
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(comparisons)) + "\n")
    else:
        report.table(comparisons)
    return 1 if check and not all(each.met for each in comparisons) else 0
