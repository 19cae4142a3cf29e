"""Streams: e-mail sending on Kafka. One message per recipient, nothing lost, nothing sent twice in silence."""

__version__ = "0.1.0"
