"""``python -m tests.models``: walk through every world, one line each; WORDS choose by name, ``--seconds`` bounds each.

Exits with 1 if anything is wrong anywhere; the trace of it is printed.
"""

from __future__ import annotations

import argparse
import logging
import sys

from tests.models.suites import BREAKER, BREAKER_DEEP, LEDGER, LEDGER_DEEP, walk


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.models", description=__doc__)
    parser.add_argument("words", nargs="*", help="only worlds whose names have one of these words")
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU seconds per world, 0 without limit")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    failed = False
    for of, scenarios in (("ledger", (*LEDGER, *LEDGER_DEEP)), ("breaker", (*BREAKER, *BREAKER_DEEP))):
        for scenario in scenarios:
            if asked.words and not any(word in f"{of} {scenario.name}" for word in asked.words):
                continue
            if asked.list:
                print(f"{of}: {scenario.name}")
                continue
            report = walk(scenario, seconds=asked.seconds)
            failed = failed or report.violation is not None
            print(f"{of}: {report}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
