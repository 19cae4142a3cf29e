"""Child processes that never outlive the process that started them.

Rules:
1. A child ends when its owner ends, however the owner ends (SIGKILL included), on Linux and macOS alike.
2. A child sits in a session of its own: Ctrl-C in a terminal reaches the owner, which stops its children.

The tie is a pipe. A tiny shell beside the child waits for the end of the pipe, which the operating system
closes when the owner is gone, and then kills the child. The kernel's parent-death signal would be shorter but
it is tied to the *thread* that forked: a child started from a short-lived thread would die with that thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_WATCH = 'read -r _; kill -9 "$1" 2>/dev/null; [ -z "$2" ] || rm -rf "$2"'


class BoundProcess:
    """One running child, bound to the life of this process. Output goes to `log` (appended), or nowhere.

    `scratch` is a directory that nobody needs without the owner: it is removed when the owner dies before the child.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
        scratch: Path | None = None,
    ) -> None:
        output: IO[bytes] | int = log.open("ab") if log is not None else subprocess.DEVNULL
        try:
            self._child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        finally:
            if not isinstance(output, int):
                output.close()
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "watch", str(self._child.pid), str(scratch or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal, or None while the child runs."""
        return self._child.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a child that has already ended is left alone."""
        self._child.send_signal(number)

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end and return the exit code; raises TimeoutError when it takes longer."""
        try:
            code = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise TimeoutError(f"process {self.pid} still runs after {timeout_s} s") from exc
        self._release()
        return code

    def stop(self, grace_s: float = 5.0) -> int:
        """SIGTERM, after `grace_s` SIGKILL; returns the exit code. Safe to call twice."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a stopped process does not see SIGTERM
        try:
            return self.wait(grace_s)
        except TimeoutError:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL; returns the exit code. Safe to call twice."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def _release(self) -> None:
        """End the watching shell, before the child's number can be given to another process."""
        if self._watch.returncode is None:
            self._watch.kill()
            self._watch.wait()
        if self._watch.stdin is not None:
            self._watch.stdin.close()


def log_tail(log: Path, size: int = 2000) -> str:
    """The last `size` bytes of a log, for an error message; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
