"""The command ``streams``.

    group      the commands by name, each imported when it is run
    failure    the one place where an error becomes one line and an exit code
    context    configuration, Kafka and output of one invocation

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. Data goes to standard output, everything else to standard
error; with ``--json`` standard output carries JSON only.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the process's exit code."""
    from streams.cli.failure import guarded, let_go
    from streams.cli.group import streams

    try:
        return guarded(lambda: streams.main(args=None if argv is None else list(argv), standalone_mode=False))
    finally:
        let_go()
