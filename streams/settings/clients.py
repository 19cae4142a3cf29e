"""The connection options of the two Kafka clients, from the one section ``[kafka]``.

Certificates and keys are read here: what cannot be used is a SettingsError that names the key, for both clients alike.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from streams.settings.kafka import KafkaSettings, Protocol
from streams.settings.secret import SettingsError

_TLS = (Protocol.SSL, Protocol.SASL_SSL)
_SASL = (Protocol.SASL_PLAINTEXT, Protocol.SASL_SSL)


def librdkafka_options(kafka: KafkaSettings) -> dict[str, Any]:
    """For confluent-kafka. Contains secrets: never log it. Raises SettingsError."""
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
        _context(kafka)  # the library would tell of a wrong file only by itself, and not which
        files = {
            "ssl.ca.location": kafka.ssl_ca_file,
            "ssl.certificate.location": kafka.ssl_cert_file,
            "ssl.key.location": kafka.ssl_key_file or kafka.ssl_cert_file,  # it may hold both
            "ssl.key.password": kafka.ssl_key_password.reveal() if kafka.ssl_key_password else "",
        }
        options |= {name: value for name, value in files.items() if value}
    return options | dict(kafka.librdkafka)


def aiokafka_options(kafka: KafkaSettings) -> dict[str, Any]:
    """For aiokafka and what is built on it. Contains secrets: never log it. Raises SettingsError."""
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
        options["ssl_context"] = _context(kafka)
    return options


def _context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Trusts the authorities, shows our certificate, wants the broker's to name the host."""
    for key in ("ssl_ca_file", "ssl_cert_file", "ssl_key_file"):
        _readable(key, getattr(kafka, key))
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_ca_file or None)
    except ssl.SSLError as exc:
        raise SettingsError(f"[kafka] ssl_ca_file: {kafka.ssl_ca_file} holds no certificate in PEM form") from exc
    if kafka.ssl_cert_file:
        _show(context, kafka)
    elif kafka.ssl_key_file:
        raise SettingsError("[kafka] ssl_cert_file is missing; ssl_key_file alone shows nothing")
    return context


def _show(context: ssl.SSLContext, kafka: KafkaSettings) -> None:
    password = kafka.ssl_key_password.reveal() if kafka.ssl_key_password else ""
    asked = False

    def tell() -> str:  # without it OpenSSL would ask whoever sits at the terminal
        nonlocal asked
        asked = True
        return password

    try:
        context.load_cert_chain(kafka.ssl_cert_file, kafka.ssl_key_file or None, tell)
    except (ssl.SSLError, ValueError) as exc:
        key_file = kafka.ssl_key_file or kafka.ssl_cert_file
        if asked:
            how = "does not open" if password else "is missing; it opens"
            raise SettingsError(f"[kafka] ssl_key_password {how} {key_file}") from exc
        if getattr(exc, "reason", None) == "KEY_VALUES_MISMATCH":
            why = f"{key_file} is not the key of {kafka.ssl_cert_file}"
        else:
            why = f"{kafka.ssl_cert_file} and {key_file} hold no certificate with its key in PEM form"
        raise SettingsError(f"[kafka] ssl_cert_file: {why}") from exc


def _readable(key: str, path: str) -> None:
    try:
        if path:
            Path(path).read_bytes()
    except OSError as exc:
        raise SettingsError(f"[kafka] {key}: {path} cannot be read: {exc.strerror or exc}") from exc
