"""What Faust is told: the settings that are its own, and the classes of ours that it is to use."""

from __future__ import annotations

from typing import Any

from streams.engine.monitor import NullMonitor
from streams.engine.recovery import EngineTableManager
from streams.engine.settings import EngineSettings
from streams.engine.stream import EngineStream
from streams.engine.tables import EngineTable


def options_for_faust(settings: EngineSettings) -> dict[str, Any]:
    """Arguments of `faust.App`."""
    return {
        "broker": [f"kafka://{address}" for address in settings.bootstrap.split(",")],
        "broker_session_timeout": settings.session_timeout_s,
        "broker_heartbeat_interval": settings.heartbeat_interval_s,
        "broker_request_timeout": settings.request_timeout_s,
        "broker_rebalance_timeout": settings.rebalance_timeout_s,
        "broker_commit_interval": settings.commit_interval_s,
        "consumer_auto_offset_reset": "earliest",
        "processing_guarantee": "at_least_once",
        "producer_acks": -1,
        "store": "memory://",
        "stream_recovery_delay": 0.0,
        "stream_wait_empty": True,
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "autodiscover": False,
        "worker_redirect_stdouts": False,
        "Monitor": NullMonitor,
        "Stream": EngineStream,
        "Table": EngineTable,
        "TableManager": EngineTableManager,
    }
