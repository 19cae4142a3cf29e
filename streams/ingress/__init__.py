"""The ingress: takes webhooks, stores them in Kafka, and answers exactly what the contract's table says.

``server`` decides about one request, ``body`` reads it, ``answers`` holds the statuses, ``certificates`` fetches what
adapters need, ``serve`` is the process; :mod:`streams.producer` writes to Kafka.
"""

from __future__ import annotations

from streams.ingress.serve import PortTaken, listen, running, serve
from streams.ingress.server import Ingress
from streams.producer import KafkaProducer, Unavailable, WebhookProducer

__all__ = ["Ingress", "KafkaProducer", "PortTaken", "Unavailable", "WebhookProducer", "listen", "running", "serve"]
