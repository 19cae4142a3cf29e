"""What may not change in the life of a deployment, because keys would no longer meet their state.

The first worker that ever starts writes it into the topic ``controls``; every start compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from streams.core.ids import NORMALISER_VERSION

KEY = b"deployment"
"""Key of the record in ``controls``."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """``address_key`` tells address secrets apart without showing them; empty without a secret."""

    partitions: int
    normaliser: int = NORMALISER_VERSION
    address_key: str = ""


def frozen(partitions: int, secret: bytes = b"") -> Frozen:
    """What this release and these settings would freeze. ``secret`` has at most 64 bytes."""
    mark = blake2b(b"address key", digest_size=8, key=secret).hexdigest() if secret else ""
    return Frozen(partitions, NORMALISER_VERSION, mark)


def difference(kept: Frozen, ours: Frozen) -> str:
    """Why ``ours`` must not work on a deployment that was made as ``kept``, for people; empty if it may."""
    if kept.partitions != ours.partitions:
        return (
            f"[kafka] partitions is {ours.partitions}, but this deployment was made with {kept.partitions}: "
            f"set it to {kept.partitions}, or begin a new deployment under another [kafka] prefix"
        )
    if kept.normaliser != ours.normaliser:
        return (
            f"this release writes addresses by rule {ours.normaliser}, but this deployment was made with rule "
            f"{kept.normaliser}: run a release with rule {kept.normaliser}, or begin a new deployment under another "
            "[kafka] prefix"
        )
    if kept.address_key != ours.address_key:
        return (
            "[kafka] address_secret is not the one that this deployment was made with: "
            "restore it, or begin a new deployment under another [kafka] prefix"
        )
    return ""
