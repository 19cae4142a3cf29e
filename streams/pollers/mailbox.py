"""A bounce mailbox as a source: IMAP over TLS (RFC 9051, RFC 3501), one connection, one thread.

Rules:

1. Fetching changes nothing (``BODY.PEEK``). Deleting, moving or marking happens in :meth:`MailboxSource.done` alone, by
   UID, and only if the mailbox still counts its mails as it did (UIDVALIDITY): else they come again.
2. What a mail says tells it from its repeats (see :mod:`streams.bounces.reader`): that it comes twice is harmless.
3. Of a long mail only the beginning is fetched; Kafka's record says how long it was (``truncated``).
4. Any error drops the connection and is told; the next receive makes a new one.
5. All commands run in one thread, one after the other; a wait for mail (IDLE, RFC 2177) is cut into short ones, so that
   a stop is soon heard.

imapclient's own exceptions, and those of the sockets below it, end here.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientError, LoginError

from streams.bounces.reader import TYPE
from streams.pollers.source import Item, SourceUnavailable, Waiting
from streams.providers.base import Provider
from streams.settings import After, MailboxSettings, MailboxTls, Settings
from streams.topics import Topics

VERIFIED = b"mailbox"
"""We logged in and found it there; who sent it is for :mod:`streams.bounces` to judge."""

_SLICE_S = 1.0
_CLOSE_S = 5.0
_MAX_COUNTED = 10_000
_WINDOW = 10_000
_DELETED, _SEEN = b"\\Deleted", b"\\Seen"

T = TypeVar("T")

log = logging.getLogger(__name__)


def sources(
    settings: Settings, adapters: Mapping[str, Provider], env: Mapping[str, str] | None = None
) -> Iterator[MailboxSource]:
    """One for each configured mailbox. Nothing is contacted."""
    topics = Topics(settings.kafka.prefix, settings.kafka.ledger_days)
    for box in settings.mailboxes.values():
        yield MailboxSource(box, topics.webhooks(TYPE))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mail lies, as long as the mailbox counts like this."""

    validity: int
    uid: int


class MailboxSource:
    """One mailbox. See :class:`streams.pollers.source.Source`."""

    concurrency = 1
    extend_every_s = 0.0
    stop_wait_s = 0.0
    account = ""

    def __init__(self, box: MailboxSettings, topic: str) -> None:
        self.name = self.provider = box.name
        self.topic = topic
        self.batch = box.batch
        self._box = box
        self._thread = ThreadPoolExecutor(1, f"imap-{box.name}")
        self._connection: _Connection | None = None
        self._left = -1
        self._closed = False
        self._times: dict[Place, int] = {}

    async def receive(self) -> Sequence[Item]:
        """The next mails, after waiting for one if there is none."""
        items = await self._in_thread(self._look)
        if items:
            return items
        until = time.monotonic() + self._box.wait_s
        while (left_s := until - time.monotonic()) > 0:
            if not await self._in_thread(_Connection.can_idle):
                await asyncio.sleep(left_s)
            elif await self._in_thread(partial(_Connection.something_comes, wait_s=min(_SLICE_S, left_s))):
                break
        return await self._in_thread(self._look)

    async def done(self, items: Sequence[Item]) -> None:
        """Delete, move or mark."""
        places = [item.handle for item in items if isinstance(item.handle, Place)]
        if places:
            await self._in_thread(lambda c: c.finish(places))
            for place in places:
                self._times.pop(place, None)

    async def extend(self, items: Sequence[Item]) -> None:
        """Nothing runs out: a mail lies where it lies."""

    async def release(self, items: Sequence[Item]) -> None:
        """Nothing was taken."""

    async def waiting(self) -> Waiting | None:
        """What the last look saw; a wait for mail leaves no room for a question of its own."""
        return Waiting(self._left) if self._left >= 0 else None

    async def aclose(self) -> None:
        """Log out, if the server still listens."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(self._thread, self._drop), _CLOSE_S)
        self._thread.shutdown(wait=False, cancel_futures=True)

    # -- in the thread

    def _look(self, connection: _Connection) -> list[Item]:
        validity, uids, self._left = connection.search()
        items = []
        for mail in connection.fetch(uids[: self._box.batch]):
            place = Place(validity, mail.uid)
            if len(self._times) >= _MAX_COUNTED:
                self._times.clear()
            self._times[place] = times = self._times.get(place, 0) + 1
            headers: tuple[tuple[str, bytes], ...] = (("verified", VERIFIED),)
            if mail.size > len(mail.raw):
                headers += (("truncated", b"%d" % mail.size),)
            key = f"{self.name}/{validity}/{mail.uid}".encode()
            items.append(Item(mail.raw, key, headers, place, mail.arrived_ms, times))
        return items

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _in_thread(self, work: Callable[[_Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._translated, work)

    def _translated(self, work: Callable[[_Connection], T]) -> T:
        """``work`` with a connection that is open, ours and not waiting; errors in our own words."""
        try:
            if self._connection is None:
                self._connection = _Connection(self._box)
            return work(self._connection)
        except LoginError as exc:
            self._drop()
            raise SourceUnavailable(f"{self._box.user} cannot log in at {self._box.host}: {_said(exc)}") from exc
        except (IMAPClientError, OSError, ValueError, LookupError, AttributeError) as exc:
            # an answer cut off inside imaplib also shows as one of the last three
            self._drop()
            raise SourceUnavailable(f"{self._box.host}:{self._box.port}: {_said(exc)}") from exc


@dataclass(frozen=True, slots=True)
class _Mail:
    uid: int
    raw: bytes
    size: int
    arrived_ms: int


class _Connection:
    """Logged in, folder selected. Blocking; every method may raise what imapclient and sockets raise."""

    def __init__(self, box: MailboxSettings) -> None:
        self._box = box
        self._idling = False
        implicit = box.tls is MailboxTls.IMPLICIT
        context = ssl.create_default_context(cafile=box.ca_file or None)
        self._client = IMAPClient(
            box.host,
            box.port,
            ssl=implicit,
            ssl_context=context if implicit else None,
            timeout=SocketTimeout(box.timeout_s, box.timeout_s),
        )
        try:
            if not implicit:
                self._client.starttls(context)
            self._client.login(box.user, box.password.reveal())
            self._validity = int(self._client.select_folder(box.folder)[b"UIDVALIDITY"])
            if box.after is After.MOVE and not self._client.folder_exists(box.move_to):
                self._client.create_folder(box.move_to)
        except BaseException:
            self.close()
            raise

    def can_idle(self) -> bool:
        """Whether the server tells of new mail by itself."""
        return bool(self._client.has_capability("IDLE"))

    def search(self) -> tuple[int, list[int], int]:
        """UIDVALIDITY, the UIDs of what is to be stored next, oldest first, and about how many are left.

        Asked in windows: the answer to a question about all of a large mailbox is a line that imaplib refuses.
        """
        self._awake()
        self._client.noop()  # some servers tell of new mail only then
        seen = self._box.after is After.SEEN
        status = self._client.folder_status(self._box.folder, ["MESSAGES", "UNSEEN"])
        count = int(status[b"MESSAGES"])
        wanted = ["UNSEEN", "UNDELETED"] if seen else ["UNDELETED"]
        for first in range(1, count + 1, _WINDOW):
            uids = sorted(self._client.search([f"{first}:{min(first + _WINDOW - 1, count)}", *wanted]))
            if uids:
                return self._validity, uids, int(status[b"UNSEEN"]) if seen else count - first + 1
        return self._validity, [], 0

    def fetch(self, uids: Sequence[int]) -> list[_Mail]:
        """The beginnings of mails; one that has gone in the meantime is left out."""
        most = self._box.max_bytes
        answer = self._client.fetch(uids, [f"BODY.PEEK[]<0.{most}>", "RFC822.SIZE", "INTERNALDATE"]) if uids else {}
        mails = []
        for uid in uids:
            said = answer.get(uid, {})
            raw = said.get(b"BODY[]<0>", said.get(b"BODY[]"))
            if isinstance(raw, bytes):
                size = said.get(b"RFC822.SIZE", len(raw))
                mails.append(_Mail(uid, raw[:most], int(size), _epoch_ms(said.get(b"INTERNALDATE"))))
        return mails

    def something_comes(self, wait_s: float) -> bool:
        """Wait for news; also True when the connection seems to end, so that the next command finds out."""
        if not self._idling:
            self._client.idle()
            self._idling = True
        return bool(self._client.idle_check(wait_s)) or self._has_ended()

    def _has_ended(self) -> bool:
        """A closed socket is readable and has nothing to read: then IDLE would return at once, for ever."""
        began_s = time.monotonic()
        self._client.idle_check(0.05)
        return time.monotonic() - began_s < 0.02

    def finish(self, places: Sequence[Place]) -> None:
        """Take away what Kafka has."""
        self._awake()
        uids = [place.uid for place in places if place.validity == self._validity]
        if len(uids) < len(places):
            log.warning("%s counts its mails anew: %d come again", self._box.name, len(places) - len(uids))
        if not uids:
            return
        if self._box.after is After.SEEN:
            self._client.add_flags(uids, [_SEEN], silent=True)
            return
        if self._box.after is After.MOVE and self._client.has_capability("MOVE"):
            self._client.move(uids, self._box.move_to)
            return
        if self._box.after is After.MOVE:
            self._client.copy(uids, self._box.move_to)
        self._client.add_flags(uids, [_DELETED], silent=True)
        if self._client.has_capability("UIDPLUS"):
            self._client.uid_expunge(uids)  # only ours; without it they wait for the server's own housekeeping

    def close(self) -> None:
        """Leave, politely if possible."""
        with suppress(IMAPClientError, OSError, ValueError, LookupError, AttributeError):
            self._awake()
            self._client.logout()
            return
        with suppress(IMAPClientError, OSError):
            self._client.shutdown()

    def _awake(self) -> None:
        if self._idling:
            self._idling = False
            self._client.idle_done()


def _epoch_ms(arrived: Any) -> int:
    return round(arrived.timestamp() * 1000) if isinstance(arrived, datetime) else 0


def _said(exc: BaseException) -> str:
    """One line without secrets: imaplib puts an answer into its exceptions, never a command's arguments."""
    return " ".join(str(exc).split())[:300] or type(exc).__name__
