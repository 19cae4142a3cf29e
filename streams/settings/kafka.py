"""Settings of the connection to Kafka; see :mod:`streams.settings.model` for the rules."""
# ruff: noqa: RUF009  (key() makes a field, like dataclasses.field)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from streams.settings.keys import key, required
from streams.settings.secret import Secret


class Profile(StrEnum):
    """What kind of broker we talk to."""

    KAFKA = "kafka"
    EMBEDDED = "embedded"


class Protocol(StrEnum):
    """Kafka's security protocols."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class Mechanism(StrEnum):
    """SASL mechanisms that need a name and a password."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """The broker, the topics' names and sizes, and how long things are remembered."""

    bootstrap: str = required("Brokers as `host:port`, separated by commas.", "localhost:9092")
    profile: Profile = key(
        Profile.KAFKA,
        "`kafka`, or `embedded` for the broker that comes along for development (no idempotent producer, short "
        "sessions; then partitions default to 4 and replication to 1).",
    )
    partitions: int = key(
        12, "Partitions of every keyed topic and table. Frozen for the life of a deployment.", least=1, most=4096
    )
    prefix: str = key("", "Put before every topic name, with its own separator.", example="prod.")
    group: str = key("streams", "Consumer group of the workers.")
    client_id: str = key("streams", "How our clients name themselves to the broker.")
    replication_factor: int = key(3, "Replicas of the topics we create.", least=1, most=16)
    min_insync_replicas: int = key(
        2, "How many replicas must hold a record before it counts as stored.", least=1, most=16
    )
    ledger_days: float = key(
        30.0, "How long a message can be told from its duplicate, asked about and retried.", least=1, most=3650
    )
    schema_registry: str = key(
        "", "URL of a Confluent-compatible schema registry; empty writes Avro single-object encoding."
    )
    schema_registry_user: str = key("", "User of the schema registry.")
    schema_registry_password: Secret | None = key(None, "Password of the schema registry.")
    security_protocol: Protocol = key(Protocol.PLAINTEXT, "How to talk to the brokers.")
    sasl_mechanism: Mechanism = key(Mechanism.SCRAM_SHA_512, "How to log in, where the protocol is SASL.")
    sasl_username: str = key("", "Name to log in with.")
    sasl_password: Secret | None = key(None, "Password to log in with.")
    ssl_ca_file: str = key("", "PEM file of the authorities to trust; empty trusts the system's.")
    ssl_cert_file: str = key("", "PEM file of our certificate, where brokers ask for one.")
    ssl_key_file: str = key("", "PEM file of our private key.")
    ssl_key_password: Secret | None = key(None, "Password of the private key.")
    librdkafka: Mapping[str, str] = key({}, "Any further librdkafka property of the ingress and of the commands.")
    address_secret: Secret | None = key(
        None,
        "Keys the hash of addresses in Kafka keys, so that an address cannot be confirmed by guessing. "
        "Frozen for the life of a deployment.",
    )
