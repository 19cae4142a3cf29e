"""``streams poll``: fetch events from queues and mailboxes."""

from __future__ import annotations

import asyncio
import sys

import click

from streams.cli.context import Invocation, json_option, print_json, print_table, say
from streams.cli.failure import DONE, FAILED, UsageFailure
from streams.cli.logs import log_to_stderr


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--once", is_flag=True, help="Fetch until nothing is left, then end: exit code 1 if something failed.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of /metrics and /health instead of [poll] port.")
@json_option
@click.pass_obj
def poll(invocation: Invocation, names: tuple[str, ...], once: bool, port: int | None, as_json: bool) -> int:
    """Fetch provider events from queues (SQS, MNS) and bounce mailboxes until SIGTERM, and store them in Kafka.

    All that are configured, or those with the given names: a queue is called like its provider (NAME/ACCOUNT for a
    further account), a mailbox like its section. Nothing is deleted at the source before all in-sync replicas have it.
    """
    settings = invocation.settings
    from dataclasses import replace

    from streams.configured import check_supported
    from streams.poll import choose, poll_forever, poll_once
    from streams.polled import Polled

    check_supported(settings)
    polled = Polled(settings, invocation.environment)
    sources = polled.sources
    if not sources:
        raise UsageFailure(
            "nothing to poll is configured: set sqs_queue_url or mns_queue of a provider, or [mailboxes.NAME]"
        )
    unknown = next((name for name in names if name not in sources), "")
    if unknown:
        raise UsageFailure(f"there is nothing to poll called {unknown}; known are {', '.join(sources)}")
    if port is not None:
        settings = replace(settings, poll=replace(settings.poll, port=port))
    invocation.enter("poll")
    log_to_stderr(invocation.environment)
    chosen = choose(sources, names)

    def ready(url: str) -> None:
        if as_json:
            print_json({"sources": [source.name for source in chosen], "url": url})
            sys.stdout.flush()
        else:
            say(f"polling {', '.join(source.name for source in chosen)}; /metrics and /health at {url}")

    done = asyncio.run(poll_once(settings, chosen) if once else poll_forever(settings, chosen, ready, polled))
    if as_json:
        print_json({"polled": done})
    else:
        rows = [
            (name, one["topic"], str(one["received"]), str(one["stored"]), str(one["errors"]), one["trouble"])
            for name, one in done.items()
        ]
        print_table(("source", "topic", "received", "stored", "errors", "trouble"), rows, "nothing was polled")
    return FAILED if once and any(one["trouble"] for one in done.values()) else DONE
