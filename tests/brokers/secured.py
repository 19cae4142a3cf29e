"""One node of Apache Kafka that lets in who logs in, and lets do what an ACL allows.

with SecuredKafka(folder) as kafka:
    kafka.add_user("worker", "secret")
    kafka.allow([binding, ...])
    client = Producer(kafka.login("worker", "secret"))

* `scram`: SASL over TLS, with SCRAM-SHA-256 or SCRAM-SHA-512
* `mutual`: TLS with client certificates; their common name is the principal
* `bootstrap`: the tests' own way in, a superuser on loopback without TLS

The certificates of the node are for 127.0.0.1 and for no other name, `localhost` included.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from streams.acls import Kind, Right
from streams.broker import free_port
from tests.brokers.apache import ApacheKafka, Seat
from tests.security.tls import Authority, authority

_TIMEOUT_S = 20.0
_ITERATIONS = 4096  # the least that a broker takes
MECHANISMS = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}


class SecuredKafka(ApacheKafka):
    """Certificates are written to `folder`. Nobody but the tests may do anything until `allow`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        seat = Seat.alone()
        scram, mutual = free_port(), free_port()
        self.scram = f"127.0.0.1:{scram}"
        self.mutual = f"127.0.0.1:{mutual}"
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = self._write_authority("ours")
        listeners = {"PLAINTEXT": seat.port, "SASL_SSL": scram, "SSL": mutual}
        super().__init__({**self._listeners(seat, listeners), **self._security()}, seat=seat)

    # -- who there is

    def add_user(self, name: str, password: str, mechanism: str = "SCRAM-SHA-512") -> None:
        """A principal `User:name`, or another password for it."""
        how = ScramCredentialInfo(MECHANISMS[mechanism], _ITERATIONS)
        wanted = UserScramCredentialUpsertion(name, how, password.encode())
        for future in self.admin.alter_user_scram_credentials([wanted]).values():
            future.result(_TIMEOUT_S)

    def certificate(self, name: str, *, password: str = "", by: str = "ours") -> tuple[Path, Path]:
        """Certificate and private key of a principal `User:name`, the key encrypted where there is a password."""
        pem = authority(by).server(name)
        key_end = pem.index(b"-----BEGIN CERTIFICATE")
        certificate, key = self._folder / f"{name}.{by}.crt", self._folder / f"{name}.{by}.key"
        certificate.write_bytes(pem[key_end:])
        key.write_bytes(_encrypted(pem[:key_end], password) if password else pem[:key_end])
        return certificate, key

    def authority(self, name: str) -> Path:
        """The certificate of an authority; the node's is `ours`, and it trusts no other."""
        return self._write_authority(name)

    # -- what they may do

    def allow(self, bindings: Iterable[AclBinding]) -> None:
        """In force when this returns."""
        for future in self.admin.create_acls(list(bindings)).values():
            future.result(_TIMEOUT_S)

    def forbid(self, bindings: Iterable[AclBinding]) -> None:
        """Take back what was allowed; fails if it was not."""
        for future in self.admin.delete_acls([_filter(one) for one in bindings]).values():
            assert future.result(_TIMEOUT_S), "there was no such ACL"

    @cached_property
    def admin(self) -> AdminClient:
        """Of the superuser."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def login(self, name: str, password: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, Any]:
        """librdkafka's options for a user."""
        return {
            "bootstrap.servers": self.scram,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.ca),
            "sasl.mechanism": mechanism,
            "sasl.username": name,
            "sasl.password": password,
            "log_level": 0,
        }

    # -- inside

    def _listeners(self, seat: Seat, ports: dict[str, int]) -> dict[str, str]:
        ours = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
        return {
            "listeners": f"{ours},CONTROLLER://127.0.0.1:{seat.controller_port}",
            "advertised.listeners": ours,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT," + ",".join(f"{name}:{name}" for name in ports),
            "listener.name.ssl.ssl.client.auth": "required",
        }

    def _security(self) -> dict[str, str]:
        own = self._folder / "node.pem"
        own.write_bytes(_authority().server("127.0.0.1"))
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(own),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca),
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
            **{
                f"listener.name.sasl_ssl.{mechanism.lower()}.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                )
                for mechanism in MECHANISMS
            },
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # the node itself, and the tests
        }

    def _write_authority(self, name: str) -> Path:
        path = self._folder / f"{name}.pem"
        path.write_bytes(authority(name).certificate.public_bytes(Encoding.PEM))
        return path


def bindings(principal: str, rights: Iterable[Right]) -> list[AclBinding]:
    """The ACLs that give a principal these rights, from every host."""
    return [
        AclBinding(
            ResourceType.BROKER if right.kind is Kind.CLUSTER else ResourceType[right.kind.name],
            right.name,
            ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
            principal,
            "*",
            AclOperation[right.operation.name],
            AclPermissionType.ALLOW,
        )
        for right in rights
    ]


def _authority() -> Authority:
    return authority("ours")


def _encrypted(pem: bytes, password: str) -> bytes:
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))


def _filter(one: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        one.restype,
        one.name,
        one.resource_pattern_type,
        one.principal,
        one.host,
        one.operation,
        one.permission_type,
    )
