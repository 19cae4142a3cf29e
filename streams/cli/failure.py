"""The one place where an error becomes one line on standard error and an exit code.

Rules:

1. An expected failure is a sentence for a person: what went wrong, and where it helps, what to do.
2. A bug keeps its traceback: hiding it would hide where it is.
3. A reader that stops reading (``streams events | head``) is no failure.
4. What was said and cannot be written any more (a full disk under the log) does not change the exit code.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

DONE, FAILED, WRONG_USAGE = 0, 1, 2


class Failure(Exception):
    """A command could not do what it was asked; the text is one sentence."""


class UsageFailure(Exception):
    """The command was asked wrongly, or the configuration is wrong."""


def guarded(run: Callable[[], Any]) -> int:
    """Run a command and answer with its exit code."""
    try:
        code = run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (KeyboardInterrupt, click.Abort):
        return _say("stopped", FAILED)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message(), err=True)
        return WRONG_USAGE
    except click.ClickException as exc:
        return _say(exc.format_message(), WRONG_USAGE)
    except Exception as exc:
        expected = _expected(exc)
        if expected is None:
            raise
        return _say(*expected)
    return code if isinstance(code, int) else DONE


def let_go() -> None:
    """Before the process ends: what lies in a stream that cannot be written is dropped.

    The interpreter would try once more, fail, and end with 120, whatever the exit code was to be.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_EXPECTED: tuple[tuple[str, str, int], ...] = (
    ("streams.settings.secret", "SettingsError", WRONG_USAGE),
    ("streams.kafka", "KafkaUnavailable", FAILED),
    ("streams.kafka", "TopicMissing", FAILED),
    ("streams.permissions", "NotAllowed", FAILED),
    ("streams.broker", "BrokerUnavailable", FAILED),
    ("streams.engine.errors", "EngineFailure", FAILED),
    ("streams.ingress.serve", "PortTaken", FAILED),
    ("streams.status", "PortTaken", FAILED),
    ("streams.serde.registry", "RegistryUnavailable", FAILED),
)
"""Errors whose text is a sentence. Named, not imported: what has not been imported cannot have been raised."""

_OF_THE_SYSTEM = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.ENOENT, errno.ENOSPC, errno.EROFS)


def _expected(exc: Exception) -> tuple[str, int] | None:
    """The line and exit code of an expected failure; None for a bug."""
    if isinstance(exc, UsageFailure):
        return str(exc), WRONG_USAGE
    if isinstance(exc, Failure):
        return str(exc), FAILED
    for module, name, code in _EXPECTED:
        if module in sys.modules and isinstance(exc, getattr(sys.modules[module], name)):
            return str(exc), code
    if isinstance(exc, OSError) and exc.errno in _OF_THE_SYSTEM:
        return _os_line(exc), FAILED
    return None


def _os_line(exc: OSError) -> str:
    name = f"{exc.filename}: " if exc.filename else ""
    return f"{name}{exc.strerror or exc}"


def _say(line: str, code: int) -> int:
    shown = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(line.split()))
    with suppress(OSError):  # nobody can be told
        click.echo(f"streams: {shown}", err=True)
    return code
