"""The connection options of the two Kafka clients, from the one section ``[kafka]``."""

from __future__ import annotations

import ssl
from typing import Any

from streams.settings.kafka import KafkaSettings, Protocol

_TLS = (Protocol.SSL, Protocol.SASL_SSL)
_SASL = (Protocol.SASL_PLAINTEXT, Protocol.SASL_SSL)


def librdkafka_options(kafka: KafkaSettings) -> dict[str, Any]:
    """For confluent-kafka. Contains secrets: never log it."""
    options: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap,
        "client.id": kafka.client_id,
        "security.protocol": kafka.security_protocol.value,
    }
    if kafka.security_protocol in _SASL:
        options["sasl.mechanism"] = kafka.sasl_mechanism.value
        options["sasl.username"] = kafka.sasl_username
        options["sasl.password"] = kafka.sasl_password.reveal() if kafka.sasl_password else ""
    if kafka.security_protocol in _TLS:
        files = {
            "ssl.ca.location": kafka.ssl_ca_file,
            "ssl.certificate.location": kafka.ssl_cert_file,
            "ssl.key.location": kafka.ssl_key_file,
            "ssl.key.password": kafka.ssl_key_password.reveal() if kafka.ssl_key_password else "",
        }
        options |= {name: value for name, value in files.items() if value}
    return options | dict(kafka.librdkafka)


def aiokafka_options(kafka: KafkaSettings) -> dict[str, Any]:
    """For aiokafka and what is built on it. Reads the certificate files. Contains secrets: never log it."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "client_id": kafka.client_id,
        "security_protocol": kafka.security_protocol.value,
    }
    if kafka.security_protocol in _SASL:
        options["sasl_mechanism"] = kafka.sasl_mechanism.value
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = kafka.sasl_password.reveal() if kafka.sasl_password else ""
    if kafka.security_protocol in _TLS:
        context = ssl.create_default_context(cafile=kafka.ssl_ca_file or None)
        if kafka.ssl_cert_file:
            password = kafka.ssl_key_password.reveal() if kafka.ssl_key_password else None
            context.load_cert_chain(kafka.ssl_cert_file, kafka.ssl_key_file or None, password)
        options["ssl_context"] = context
    return options
