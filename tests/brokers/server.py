"""What every test sees of a Kafka, whatever runs it."""

from __future__ import annotations

import unittest
from typing import Protocol

START_TIMEOUT_S = 90.0


class KafkaNotAvailable(RuntimeError):
    """No Kafka can be started on this machine; the message says what is missing."""


class FaultNotPossible(unittest.SkipTest):
    """The server is not ours to harm; a test that asks for it is skipped."""


class KafkaServer(Protocol):
    """A real Kafka and the faults that can be done to it. A method returns when its effect is complete."""

    @property
    def bootstrap(self) -> str:
        """`host:port[,host:port…]` for clients."""

    def stop(self) -> None:
        """Orderly end."""

    def kill(self) -> None:
        """SIGKILL: the process is gone, its data stay."""

    def restart(self) -> None:
        """Start again on the same data and port (after `kill`, or as a bounce), and wait until it answers."""

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""

    def resume(self) -> None:
        """SIGCONT, and wait until it answers."""
