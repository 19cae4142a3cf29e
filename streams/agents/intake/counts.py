"""What intake tells about itself, once per batch; metrics listen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class IntakeCounts:
    """Sums over one batch, by stream: requests read, messages made of them, mentions of a mailbox beyond the first,
    recipients refused. ``dead_letters`` are by reason; ``foreign`` are requests for a tenant that their topic may not
    speak for.
    """

    requests: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    foreign: int = 0
    seconds: float = 0.0
    """From the delivery of the batch to the last emit."""


class IntakeObserver(Protocol):
    """Called once per batch, synchronously; ``topic`` is where the requests came from."""

    def batch(self, topic: str, counts: IntakeCounts) -> None: ...


class SilentIntake:
    """Tells nobody."""

    def batch(self, topic: str, counts: IntakeCounts) -> None: ...
