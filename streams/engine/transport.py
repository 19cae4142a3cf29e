"""Faust's transport with our consumer and producer."""

from __future__ import annotations

from faust.transport.drivers import aiokafka as driver

from streams.engine.connections import expect_closed_transports
from streams.engine.consumer import EngineConsumer
from streams.engine.producer import EngineProducer

expect_closed_transports()


class EngineTransport(driver.Transport):
    Consumer = EngineConsumer
    Producer = EngineProducer
