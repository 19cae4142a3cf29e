"""A queue of Alibaba Cloud's message service (MNS) as a source of DirectMail's notifications.

Rules:

1. Access keys say who may write to a queue, so its messages are vouched for (``verified`` is ``mns``); but a topic's
   envelope in it counts only if the provider's ``topics`` are empty or name it: else it is stored as unverified.
2. What is stored is the message's element as it came, without its receipt handle: body and the queue's clock.
3. A receipt handle is good for a limited time and changes when that is prolonged: the newest one counts.
4. A delete that the queue refuses for some handles is an error: those messages come again, and are told apart behind
   Kafka.

Source: MNS, queue operations (BatchReceiveMessage, BatchDeleteMessage, ChangeMessageVisibility).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from streams.pollers.source import Item, SourceUnavailable, Waiting
from streams.providers import _mns, _mns_queue
from streams.providers._http import HttpExchange
from streams.providers._mns_queue import MAX_BATCH, Access, Taken, Trouble
from streams.providers._payload import text
from streams.providers.base import HttpRequest, HttpResponse, NoResponse, Provider
from streams.providers.directmail import Config, DirectMail
from streams.settings import Settings
from streams.topics import Topics

_CALL_S = 10.0
_SPARE_S = 5.0
_GIVE_BACK_S = 1
"""The shortest time that a message can be hidden for: MNS cannot show it at once."""

log = logging.getLogger(__name__)


def sources(
    settings: Settings, adapters: Mapping[str, Provider], env: Mapping[str, str] | None = None
) -> Iterator[MnsSource]:
    """One for each DirectMail account with a queue. Nothing is contacted."""
    topics = Topics(settings.kafka.prefix, settings.kafka.ledger_days)
    for name, adapter in adapters.items():
        if isinstance(adapter, DirectMail) and (access := adapter.queue) is not None:
            topic = topics.webhooks(adapter.type)
            yield MnsSource(name, access, adapter.config, topic, settings.poll.concurrency)


class MnsSource:
    """One queue. ``full_name`` is the provider's, or ``provider/account``."""

    def __init__(self, full_name: str, access: Access, config: Config, topic: str, concurrency: int) -> None:
        self.name = full_name
        self.provider, _, self.account = full_name.partition("/")
        self.topic = topic
        self.concurrency = concurrency
        self.batch = config.mns_batch
        self.extend_every_s = config.mns_visibility_s / 2
        self.stop_wait_s = config.mns_wait_s + _SPARE_S
        self._access = access
        self._config = config
        self._topics = frozenset(config.topics)
        self._exchange = HttpExchange(max_connections=2 * concurrency + 2)
        self._handles: dict[str, str] = {}
        self._foreign = False

    async def receive(self) -> Sequence[Item]:
        """Up to ``mns_batch`` messages, after at most ``mns_wait_s``."""
        config = self._config
        request = _mns_queue.receive(self._access, config.mns_batch, config.mns_wait_s, _now_ms())
        taken = _mns_queue.read_received(await self._ask(request, config.mns_wait_s + _CALL_S))
        if isinstance(taken, Trouble):
            raise _unavailable("receive", taken)
        for message in taken:
            self._handles[message.message_id] = message.handle
        return [self._item(message) for message in taken]

    async def done(self, items: Sequence[Item]) -> None:
        """Delete them, as many at once as the queue takes."""
        failed, trouble = 0, None
        for start in range(0, len(items), MAX_BATCH):
            handles = [self._newest(item) for item in items[start : start + MAX_BATCH]]
            request = _mns_queue.delete(self._access, handles, _now_ms())
            left = _mns_queue.read_deleted(await self._ask(request))
            if isinstance(left, Trouble):
                trouble = left
            else:
                failed += len(left)
        self._forget(items)
        if trouble is not None:
            raise _unavailable("delete", trouble)
        if failed:
            raise SourceUnavailable(f"delete: {failed} of {len(items)} receipt handles were no longer good")

    async def extend(self, items: Sequence[Item]) -> None:
        """Ours for another ``mns_visibility_s`` from now on."""
        await self._hide(items, self._config.mns_visibility_s)

    async def release(self, items: Sequence[Item]) -> None:
        """Visible to anybody in a second."""
        try:
            await self._hide(items, _GIVE_BACK_S)
        finally:
            self._forget(items)

    async def waiting(self) -> Waiting:
        """How many lie in the queue."""
        count = _mns_queue.read_waiting(await self._ask(_mns_queue.attributes(self._access, _now_ms())))
        if isinstance(count, Trouble):
            raise _unavailable("attributes", count)
        return Waiting(count)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._exchange.aclose()

    # -- messages

    def _item(self, message: Taken) -> Item:
        return Item(
            payload=message.xml,
            key=message.message_id.encode(),
            headers=(("verified", b"mns" if self._is_vouched(message) else b"0"),),
            handle=message.message_id,
            sent_ms=message.enqueued_ms,
            times=message.times,
        )

    def _is_vouched(self, message: Taken) -> bool:
        """A topic's envelope names its topic, which must be one of ours where we have named any."""
        if not self._topics:
            return True
        envelope = _mns.envelope_in(message.body)
        if envelope is None:
            return True
        topic = f"{text(envelope.get('TopicOwner'), 64)}/{text(envelope.get('TopicName'), 256)}"
        if topic not in self._topics and not self._foreign:
            self._foreign = True
            log.error("%s: %s is not in topics: its messages in the queue become dead letters", self.name, topic)
        return topic in self._topics

    def _newest(self, item: Item) -> str:
        return self._handles.get(item.handle, "")

    def _forget(self, items: Iterable[Item]) -> None:
        for item in items:
            self._handles.pop(item.handle, None)

    # -- calls

    async def _hide(self, items: Sequence[Item], seconds: int) -> None:
        troubles = [one for one in await asyncio.gather(*(self._hide_one(item, seconds) for item in items)) if one]
        if troubles:
            raise _unavailable(f"change visibility: {len(troubles)} of {len(items)} failed", troubles[0])

    async def _hide_one(self, item: Item, seconds: int) -> Trouble | None:
        request = _mns_queue.change_visibility(self._access, self._newest(item), seconds, _now_ms())
        handle = _mns_queue.read_changed(await self._ask(request))
        if isinstance(handle, Trouble):
            return handle
        self._handles[item.handle] = handle
        return None

    async def _ask(self, request: HttpRequest, deadline_s: float = _CALL_S) -> HttpResponse | NoResponse:
        return await self._exchange(request, deadline_s)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _unavailable(what: str, trouble: Trouble) -> SourceUnavailable:
    code = f"{trouble.code}: " if trouble.code else ""
    return SourceUnavailable(f"{what}: {code}{trouble.detail}")
