"""A Faust Monitor that counts nothing per event. Faust insists on having one."""

from __future__ import annotations

from typing import Any

from faust.sensors.monitor import Monitor


class NullMonitor(Monitor):
    """The per-event hooks do nothing; `stream_inbound_time` is fed once per batch by the consumer."""

    mundane_level = "debug"

    def on_message_in(self, *args: Any, **kwargs: Any) -> None:
        pass

    def on_stream_event_in(self, *args: Any, **kwargs: Any) -> None:
        return None

    def on_stream_event_out(self, *args: Any, **kwargs: Any) -> None:
        pass

    def on_message_out(self, *args: Any, **kwargs: Any) -> None:
        pass

    def on_table_get(self, *args: Any, **kwargs: Any) -> None:
        pass

    def on_table_set(self, *args: Any, **kwargs: Any) -> None:
        pass

    def on_table_del(self, *args: Any, **kwargs: Any) -> None:
        pass

    def on_send_initiated(self, *args: Any, **kwargs: Any) -> None:
        return None

    def on_send_completed(self, *args: Any, **kwargs: Any) -> None:
        pass

    def on_send_error(self, *args: Any, **kwargs: Any) -> None:
        pass
