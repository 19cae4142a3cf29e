"""What the engine overrides in Faust, mode and aiokafka is what it was written against.

When this fails after an upgrade: read what has changed in the named methods, adapt the engine, run the tests on a
real Kafka, then accept the new digests with `python -m tests.engine.test_faust_internals`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

import pytest

VERSIONS = {"faust-streaming": "0.15.", "mode-streaming": "0.7.", "aiokafka": "0.14."}

DIGESTS: dict[str, str] = {
    "faust.app.base:App._new_transport": "42db531312dd776f",
    "faust.app.base:App._new_producer_transport": "eb3b4aa6a8961275",
    "faust.app.base:App._create_directories": "a9f571c3b04abec3",
    "faust.app.base:App.on_start": "480d70c6c72d042d",
    "faust.app.base:App.on_started": "c03627f2dc44a1dd",
    "faust.app.base:App.on_stop": "bfe5a933defb2324",
    "faust.app.base:App._stop_consumer": "55854a5de12c3f52",
    "faust.app.base:App._producer_flush": "35c92baa028d57bd",
    "faust.app.base:App._consumer_wait_empty": "6bc313c48c064b16",
    "faust.app.base:App._on_agent_error": "bdd12f286de64429",
    "faust.app.base:App._on_rebalance_when_stopped": "1b172d9af8ff4eb6",
    "faust.app.base:App._on_partitions_revoked": "d5c895bbe57dc73a",
    "faust.app.base:App._on_partitions_assigned": "de932b7927db85b3",
    "faust.app.base:App.on_rebalance_start": "5c1e23de30674082",
    "faust.app.base:App.on_rebalance_end": "b7ff69e1e3772f30",
    "faust.app.base:App.Worker": "d5f8bacb3a50e8d5",
    "faust.agents.agent:Agent._execute_actor": "c750b828d2bda93e",
    "faust.streams:Stream.__aiter__": "e815c0e831f1d2cc",
    "faust.streams:Stream._py_aiter": "3a48ee257a65435b",
    "faust.channels:Channel.queue": "549dd774f3e314a7",
    "faust.tables.base:Collection.on_start": "daddcc354ad0b328",
    "faust.tables.base:Collection.on_rebalance": "0812ad692171a8fd",
    "faust.tables.base:Collection.on_recovery_completed": "b1526fb39ea0e77e",
    "faust.tables.manager:TableManager.on_start": "365dd25fbc0e0684",
    "faust.tables.manager:TableManager.on_stop": "351be149c0360de5",
    "faust.tables.manager:TableManager.on_rebalance": "2d2c23a07bf54328",
    "faust.tables.manager:TableManager._update_channels": "88e3941facc934d6",
    "faust.tables.recovery:Recovery.on_rebalance": "aa4d997a1795ceae",
    "faust.tables.recovery:Recovery.on_recovery_completed": "6ef567acf072e46d",
    "faust.tables.recovery:Recovery._restart_recovery": "6bd8a8558a2dffe4",
    "faust.tables.recovery:Recovery._resume_streams": "d986a6710c1aca98",
    "faust.tables.recovery:Recovery._slurp_changelogs": "7825c7e50f766d5a",
    "faust.tables.recovery:Recovery._publish_stats": "48939a846a9af3a6",
    "faust.tables.recovery:Recovery.on_stop": "766b9af50a72dc22",
    "faust.tables.recovery:Recovery.flush_buffers": "6fa9c17f1071018c",
    "faust.transport.consumer:Consumer.on_partitions_revoked": "d04b7ae72c6fc206",
    "faust.transport.consumer:Consumer.on_partitions_assigned": "29ce96596f05a18c",
    "faust.transport.consumer:Consumer.resume_flow": "db59630f25b5819b",
    "faust.transport.consumer:Consumer.stop_flow": "cf7e875a2b0d40e8",
    "faust.transport.consumer:Consumer.wait_empty": "e4662fe24f094819",
    "faust.transport.consumer:Consumer.on_stop": "45b1d2210ce2b526",
    "faust.transport.consumer:Consumer.commit": "a354437baaa08bf8",
    "faust.transport.consumer:Consumer._commit_handler": "4e5da5df073082d6",
    "faust.transport.consumer:Consumer._commit_livelock_detector": "af196ff46fd42a14",
    "faust.transport.consumer:Consumer.on_task_error": "0d7f23d0bb2607c1",
    "faust.transport.consumer:Consumer._drain_messages": "44a2500309e83c63",
    "faust.transport.consumer:Fetcher._fetcher": "68f894f0b577d810",
    "faust.transport.conductor:Conductor._subscriber": "2a79085834048049",
    "faust.transport.conductor:Conductor._update_indices": "619b3247b96ac7d5",
    "faust.transport.drivers.aiokafka:ConsumerRebalanceListener.on_partitions_revoked": "348c3aec879faf80",
    "faust.transport.drivers.aiokafka:ConsumerRebalanceListener.on_partitions_assigned": "1c1f8406ad3698a6",
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": "0870ec53dea75083",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start": "38b4e8bd1e10723a",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_thread_stop": "8dfc004e258b6c25",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": "c2701bfc3e6f6cad",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": "39a2c6c79fc1455a",
    "faust.transport.drivers.aiokafka:Producer.__post_init__": "4ae6f6f586b8f149",
    "faust.transport.drivers.aiokafka:Producer._new_producer": "e72355c3430ed02f",
    "faust.transport.drivers.aiokafka:Producer._settings_extra": "a4c7bc41b6382223",
    "faust.transport.drivers.aiokafka:Producer.on_start": "219c9a7a785d77b2",
    "faust.transport.drivers.aiokafka:Producer.on_stop": "86799c5ab7b662f7",
    "faust.transport.drivers.aiokafka:Producer.flush": "36d0cb3615f65b01",
    "mode.services:Service.crash": "14980000465df0af",
    "mode.services:Service._crash": "7bc0c709a151d556",
    "mode.services:Service.stop": "e17cd2b6bd01e861",
    "mode.threads:ServiceThread._start_thread": "a06373478446fb61",
    "mode.threads:ServiceThread._serve": "67809eae09573ac7",
    "mode.threads:ServiceThread._shutdown_thread": "d7377862e73421a2",
    "mode.utils.queues:FlowControlEvent.resume": "4dcdc1253fd0dcb4",
    "mode.utils.queues:FlowControlQueue.force_put_nowait": "e029f3d278247909",
    "mode.utils.queues:ThrowableQueue.get": "57490d393d4147ff",
    "mode.utils.queues:ThrowableQueue.clear": "d18f09e451acf62e",
    "aiokafka.producer.message_accumulator:MessageAccumulator._append_batch": "4762abfc42cbaa15",
    "aiokafka.producer.message_accumulator:MessageBatch.__init__": "6fd2fe1c2df19a7e",
    "aiokafka.producer.message_accumulator:MessageAccumulator._pop_batch": "41cc98a298ef2628",
    "aiokafka.producer.message_accumulator:MessageAccumulator.drain_by_nodes": "fc995afbfc5718e2",
    "aiokafka.producer.message_accumulator:MessageAccumulator.fail_all": "f1e12e8100bfcb8c",
    "aiokafka.producer.message_accumulator:BatchBuilder.append": "657d76f55157d9ca",
    "aiokafka.producer.message_accumulator:BatchBuilder.close": "084fb8748d27f9b6",
    "aiokafka.producer.message_accumulator:BatchBuilder._build": "2ea37ea8632073e3",
    "aiokafka.producer.message_accumulator:MessageBatch.drain_ready": "9a6a2b6c56f8280d",
    "aiokafka.producer.message_accumulator:MessageBatch.done": "2d765e5c2dc8638d",
    "aiokafka.producer.message_accumulator:MessageBatch.remaining_linger": "6f296891237ba250",
    "streams.engine.connections:_send": "5909ea32f4efca49",
    "aiokafka.producer.sender:Sender._sender_routine": "2380dc5e333d9ebd",
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": "be4348896b9b66af",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": "dc1d6632aaa68e96",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._maybe_leave_group": "016cd88a16e6c4b5",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.close": "f30d831089456312",
}


def digest(path: str) -> str:
    """Of the source of `module:Class.method`."""
    module, _, name = path.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = inspect.getattr_static(found, part)
    if isinstance(found, property):
        found = found.fget
    function: Callable[..., Any] = getattr(found, "fun", found)  # mode wraps background tasks
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]


@pytest.mark.parametrize(("package", "prefix"), VERSIONS.items(), ids=VERSIONS)
def test_the_engine_runs_on_the_versions_it_was_tested_with(package: str, prefix: str) -> None:
    assert version(package).startswith(prefix)


@pytest.mark.parametrize("path", DIGESTS)
def test_what_is_overridden_or_driven_has_not_changed(path: str) -> None:
    assert digest(path) == DIGESTS[path]


def main() -> None:
    for path in DIGESTS:
        print(f'    "{path}": "{digest(path)}",')


if __name__ == "__main__":
    main()
