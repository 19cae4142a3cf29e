"""``streams bench``: what the product costs, as ratios to something simpler that runs beside it in the same minutes.

    command    names, options, the order of rounds, the table at the end
    figures    spreads, ratios, targets (pure)
    report     figures as a table and as JSON
    lab        broker, child processes, their processor time, progress
    child      what runs inside a measured process: its meter and its profile
    mail       receipts, requests and signed webhooks to measure with (seeded)
    logs       preloading topics and counting what arrives
    track, send, webhooks, latency, restore    one measurement each, with the processes it compares

Rules:

1. A figure is work per second of processor time (user and system) of one process, or a ratio of two such figures from
   one round. Wall-clock time only appears as latency.
2. The two sides of a ratio run in turn, round by round, on the same broker: what disturbs one disturbs the other.
3. Start-up is not counted. What the broker and the stand-in provider used is shown beside the figure.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``streams bench`` with these arguments; returns the exit code."""
    from streams.bench.command import bench

    arguments = None if argv is None else list(argv)
    return int(bench.main(args=arguments, prog_name="streams bench", standalone_mode=False) or 0)
