"""The driver's connections, on uvloop: a request to a broker that has just hung up fails as on any lost connection.

uvloop raises RuntimeError where a transport is closed and its end has not been told yet; the driver expects OSError
there. It took the other for a bug of its own, gave up the record batches for good, and the worker ended.
"""

from __future__ import annotations

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError

_send = AIOKafkaConnection.send


def _send_or_lose(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except KafkaError:  # a RuntimeError too, and what the driver expects
        raise
    except RuntimeError as exc:
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {exc}") from exc


def expect_closed_transports() -> None:
    """From now on, in this process."""
    AIOKafkaConnection.send = _send_or_lose
