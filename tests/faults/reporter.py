"""A provider that posts webhooks to the ingress, and keeps what it was answered."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from streams.sandbox.mailgun_events import signature
from tests.faults.beside import Beside
from tests.fleet import SECRETS, Fleet, ids_of, single

_GIVES_UP_S = 30.0
_NOBODYS = 10**6
"""Above every number of a load."""
NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is `NO_ANSWER` where the connection failed."""

    token: str
    began_s: float
    took_s: float
    status: int


class Reporter(Beside):
    """Signed Mailgun webhooks of opened mail, ``per_s`` of them, none of them twice.

    Nobody has asked for that mail: an opened mail is proof that its provider took it, so none of a test's own may be
    reported.
    """

    patience_s = _GIVES_UP_S + 10

    def __init__(self, fleet: Fleet, per_s: float, key: str = SECRETS["FLEET_SIGNING_KEY"]) -> None:
        super().__init__()
        self.answers: list[Answer] = []
        self._url = f"{fleet.ingress_url}/webhooks/mailgun"
        self._per_s = per_s
        self._key = key.encode()

    def of(self, *statuses: int, since_s: float = 0.0) -> list[Answer]:
        """The answers of these statuses to what was posted since then."""
        return [one for one in self.answers if one.status in statuses and one.began_s >= since_s]

    def run(self) -> None:
        asyncio.run(self._report())

    async def _report(self) -> None:
        posts: set[asyncio.Task[None]] = set()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            for number in itertools.count():
                if self.ending:
                    break
                post = asyncio.create_task(self._post(session, number))
                posts.add(post)
                post.add_done_callback(posts.discard)
                await asyncio.sleep(1 / self._per_s)
            await asyncio.gather(*posts)

    async def _post(self, session: aiohttp.ClientSession, number: int) -> None:
        token = f"direct{number:044d}"
        began_s = time.monotonic()
        try:
            timeout = aiohttp.ClientTimeout(total=_GIVES_UP_S)
            async with session.post(self._url, data=self._body(token, number), timeout=timeout) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = NO_ANSWER
        self.answers.append(Answer(token, began_s, time.monotonic() - began_s, status))

    def _body(self, token: str, number: int) -> bytes:
        request = single(_NOBODYS + number)
        (identity,) = ids_of(request)
        data: dict[str, Any] = {
            "event": "opened",
            "id": token,
            "timestamp": time.time(),
            "recipient": request["recipients"][0]["email"],
            "message": {"headers": {"message-id": f"{identity}@mg.example.com"}},
            "user-variables": {"message_id": identity, "attempt": "1"},
        }
        signed = signature(self._key, str(int(time.time())), token)
        return json.dumps({"signature": signed, "event-data": data}).encode()
