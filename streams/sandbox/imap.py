"""An IMAP server for the sandbox's bounce mailbox: TLS from the start, one mailbox for every user, a small IMAP4rev1.

What it speaks: LOGIN, LIST, CREATE, STATUS, SELECT, SEARCH, FETCH, STORE, COPY, EXPUNGE and their UID forms, IDLE
(RFC 2177), MOVE (RFC 6851), UIDPLUS (RFC 4315). Whatever else is asked is answered BAD, never guessed: no ENVELOPE or
BODYSTRUCTURE, no search by content, no APPEND. UIDs are good until the sandbox ends; then UIDVALIDITY is another.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path

from streams.sandbox.imap_folders import Folders
from streams.sandbox.imap_session import ImapSession


class Imap:
    """The server. `port` is known after start."""

    def __init__(
        self, maildir: Path, host: str, port: int, context: ssl.SSLContext, users: Mapping[str, str], validity: int
    ) -> None:
        self._folders = Folders(maildir, validity)
        self._host = host
        self._context = context
        self._users = users
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self.port = port

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, self._host, self.port, ssl=self._context)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Hang up."""
        if self._server is not None:
            self._server.close()
            for task in list(self._sessions):
                task.cancel()
            await asyncio.gather(*self._sessions, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        try:
            await ImapSession(self._folders, self._users, reader, writer).run()
        except (ConnectionError, asyncio.CancelledError):
            pass  # cancelled by stop alone
        finally:
            self._sessions.discard(task)
            writer.close()
