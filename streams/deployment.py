"""The record of what is frozen: written by the first start of a deployment, compared by every start.

Rules:

1. It is compared before the worker joins its group: a worker with other keys must not touch any state.
2. Who writes it reads it back: of two first starts at once with different settings, the one that was overruled ends.
"""

from __future__ import annotations

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.configured import topics_of
from streams.core.frozen import KEY, Frozen, difference, frozen
from streams.engine import CompactedReader, EngineFailure
from streams.settings import Settings, aiokafka_options
from streams.topics import CONTROLS


async def check_frozen(controls: CompactedReader, settings: Settings) -> None:
    """Compare, or write what nobody has written yet. ``controls`` has been started. Raises EngineFailure."""
    kafka = settings.kafka
    secret = kafka.address_secret.reveal().encode() if kafka.address_secret else b""
    ours = frozen(kafka.partitions, secret)
    if controls.get(KEY) is None:
        await _write(settings, ours)
        await controls.caught_up()
    why = difference(_read(controls), ours)
    if why:
        raise EngineFailure(why)


def _read(controls: CompactedReader) -> Frozen:
    try:
        return msgspec.json.decode(controls.get(KEY) or b"", type=Frozen)
    except msgspec.DecodeError as exc:
        raise EngineFailure(f"the record {KEY.decode()!r} in topic {controls.topic} cannot be read: {exc}") from exc


async def _write(settings: Settings, ours: Frozen) -> None:
    topic = topics_of(settings).name(CONTROLS)
    producer = AIOKafkaProducer(acks="all", **aiokafka_options(settings.kafka))
    try:
        await producer.start()
        await producer.send_and_wait(topic, msgspec.json.encode(ours), key=KEY)
    except (KafkaError, TimeoutError) as exc:
        raise EngineFailure(f"topic {topic} cannot be written: {exc!r}") from exc
    finally:
        await producer.stop()
