"""The event loop of a worker: uvloop, which does not wait half a minute for the end of a TLS connection.

A client that leaves says so (close_notify) and waits for the broker to say it too. uvloop can miss the answer that
comes behind a last fetch, and then waits for its time limit: 30 s in which a rebalance or a shutdown stands still. The
driver opens the connections and has no setting for it.
"""

from __future__ import annotations

from typing import Any

import uvloop

_FAREWELL_S = 1.0


class Loop(uvloop.Loop):
    """uvloop with a short farewell."""

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """As it is, but for how long the end of a TLS connection may take."""
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", _FAREWELL_S)
        return await super().create_connection(*args, **options)


class LoopPolicy(uvloop.EventLoopPolicy):  # type: ignore[misc]
    """Gives the threads of a worker that loop."""

    def _loop_factory(self) -> Loop:
        return Loop()
