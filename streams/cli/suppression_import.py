"""Taking a file of suppressions in: checked line by line, with a bar for a person, acknowledged at the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from streams.cli.context import Invocation, print_json, say
from streams.cli.failure import Failure
from streams.cli.records import audit
from streams.cli.suppression_files import BadLine, Defaults, Entry, read_entries
from streams.cli.suppression_store import Writer

_MOST_SHOWN = 20


def take_file(
    invocation: Invocation, file: str, form: str, defaults: Defaults, bad: list[BadLine], *, dry: bool, show: bool
) -> int:
    """Order every entry of a file, and wait until all orders are acknowledged; the number of entries. Lines that are
    none go to ``bad``.
    """
    writer = None if dry else Writer(invocation)
    kinds: Counter[str] = Counter()

    def take(entry: Entry) -> None:
        kinds[entry.reason.value] += 1
        if writer is not None:
            writer.add(entry)

    read_file(file, form, defaults, bad, take, show=show)
    taken = kinds.total()
    if writer is not None and taken:
        detail = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        audit(
            invocation,
            "suppression.import",
            "tenant",
            defaults["tenant"],
            tenant=defaults["tenant"],
            detail=f"{Path(file).name}: {detail}; {len(bad)} lines refused",
        )
        writer.flush()
    return taken


def read_file(
    file: str,
    form: str,
    defaults: Defaults,
    bad: list[BadLine],
    take: Callable[[Entry], None],
    *,
    show: bool,
) -> None:
    """Give every entry of a file to ``take`` and every other line to ``bad``; ``-`` is standard input."""
    with _opened(file) as (source, size), _progress(size, enabled=show and sys.stderr.isatty()) as advance:
        for found in read_entries(source, form, defaults, advance):
            if isinstance(found, BadLine):
                bad.append(found)
            else:
                take(found)


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    if file == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(file)
    with path.open("rb") as source:
        yield source, path.stat().st_size


def _progress(size: int | None, *, enabled: bool) -> AbstractContextManager[Callable[[int], None]]:
    if not enabled:
        return nullcontext(lambda _: None)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("importing"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)

    @contextmanager
    def shown() -> Iterator[Callable[[int], None]]:
        with progress:
            task = progress.add_task("importing", total=size)
            yield lambda done: progress.update(task, completed=done)

    return shown()


def tell(taken: int, bad: list[BadLine], *, as_json: bool, dry: bool) -> None:
    """Say what became of the lines; raises Failure if some were not taken."""
    if as_json:
        refused = [{"line": line.number, "reason": line.why} for line in bad]
        print_json({"taken": 0 if dry else taken, "good": taken, "refused": refused})
    else:
        for line in bad[:_MOST_SHOWN]:
            say(f"line {line.number}: {line.why}")
        if len(bad) > _MOST_SHOWN:
            say(f"… and {len(bad) - _MOST_SHOWN} more lines; --json names all, --rejected FILE keeps them")
        say(f"{taken} suppressions {'would be ' if dry else ''}taken")
    if bad:
        raise Failure(f"{len(bad)} lines were not taken")
