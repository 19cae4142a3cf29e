"""A message composed once more, by the code that composed it for its provider: for people who ask what was sent.

Rules:

1. The message and its content are read back from Kafka: the template as it was pinned, the files as they were fetched.
   What has been removed by retention is :class:`Unavailable`, with the reason in words.
2. Our own links have their form and their length but open nothing: whoever looks at a mail (a mail reader loads the
   pixel by itself) must not count as its recipient, nor unsubscribe them. No secret is used.
3. Everything else follows the settings of today: staging, the text part made from HTML.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from streams.agents.contents import ContentStore, RecordReader
from streams.agents.dispatch.compose import Composer
from streams.agents.dispatch.composed import Composes
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.staging import StagedComposer
from streams.configured import staging, topics_of
from streams.content.mime import build_mime
from streams.content.render import Renderer
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.message import Message, RecordRef
from streams.providers.base import Batch, Entry
from streams.settings import Settings, aiokafka_options
from streams.topics import CONTENTS
from streams.tracking.mail import Tracker
from streams.tracking.setup import tracker_of
from streams.tracking.tokens import Keyring


@dataclass(frozen=True, slots=True)
class Given:
    """What a provider was given for one recipient. ``mime`` is the mail; the provider adds headers of its own."""

    entry: Entry
    batch: Batch
    mime: bytes


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why the content cannot be shown: a sentence."""

    why: str


async def recomposed(
    settings: Settings, message: Message, place: RecordRef, provider: str, attempt: int, at_ms: int
) -> Given | Unavailable:
    """The mail of an attempt; ``place`` is the record that holds ``message``, ``at_ms`` when it was handed over.

    Raises :class:`~streams.agents.contents.RecordUnavailable` when Kafka does not answer.
    """
    records = RecordReader(aiokafka_options(settings.kafka), give_up_s=20.0)
    try:
        composer = _composer(settings, ContentStore(records, topics_of(settings).name(CONTENTS)), at_ms)
        row = AttemptRow(LedgerState.SENDING, attempt, at_ms) if attempt else None
        flight = Flight(message, place.partition, place, None, row)
        composed = await composer.compose(provider, [flight])
    finally:
        await records.stop()
    if composed.batch is None:
        return Unavailable(composed.refused[0][1].detail if composed.refused else "the message cannot be composed")
    (entry,) = composed.batch.entries
    return Given(entry, composed.batch, build_mime(composed.batch, entry, now_ms=at_ms))


def _composer(settings: Settings, contents: ContentStore, at_ms: int) -> Composes:
    tracker = tracker_of(settings, lambda: at_ms)
    if tracker is not None:
        tracker = Tracker(tracker.config, Keyring([secrets.token_bytes(32)]), lambda: at_ms)
    renderer = Renderer(text_from_html=settings.dispatch.text_from_html)
    composer = Composer(contents, renderer, {}, tracker)
    staged = staging(settings)
    return composer if staged is None else StagedComposer(composer, staged)
