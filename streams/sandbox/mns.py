"""The message-service stand-in: a topic that pushes signed messages, and the certificate that proves them.

The certificate is self-signed and served under `/sandbox/mns/`; pushes name the address at which the real service keeps
its own, and a receiver that pins certificates by file name finds this one in `certificates_dir`. The key lives beside
the ledger, so that a restart signs with the same certificate.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import cached_property
from hashlib import md5, sha256
from pathlib import Path
from typing import Final
from uuid import uuid4
from xml.sax.saxutils import escape

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from streams.sandbox.directmail_config import DirectMailConfig, PushFormat
from streams.sandbox.mns_queue import NAMESPACE, MnsQueue
from streams.sandbox.posting import Target

RETRY_S: Final = (15.0, 15.0, 15.0)
CERTIFICATE_HOST: Final = "https://mnstest.oss-cn-hangzhou.aliyuncs.com/"


class Mns:
    """One topic with one HTTP endpoint, and one queue."""

    def __init__(self, config: DirectMailConfig, key_path: Path, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._now_ms = now_ms
        self._key_path = key_path
        self.retry_delays_s = tuple(delay * config.retry_scale for delay in RETRY_S)
        self.target = None if config.webhook_url is None else Target.parse(config.webhook_url)
        self.queue = MnsQueue(config.queue, config.queue_visibility_s, now_ms) if config.queue else None
        self._path = "" if self.target is None else self.target.head.split(b" ", 2)[1].decode()
        if config.certificates_dir is not None:
            config.certificates_dir.mkdir(parents=True, exist_ok=True)
            (config.certificates_dir / self.file_name).write_bytes(self.certificate)

    @cached_property
    def _pair(self) -> tuple[rsa.RSAPrivateKey, bytes]:
        """Key and certificate, made when they are first wanted."""
        return _key_of(self._key_path)

    @property
    def certificate(self) -> bytes:
        """The certificate, PEM."""
        return self._pair[1]

    @cached_property
    def file_name(self) -> str:
        """The certificate's file name."""
        return f"mns-{sha256(self.certificate).hexdigest()[:32]}.pem"

    @property
    def certificate_url(self) -> str:
        """Where pushes say that the certificate lies."""
        return CERTIFICATE_HOST + self.file_name

    def push(self, message_id: str, message: str) -> tuple[bytes, bytes]:
        """(headers, body) of a signed push."""
        body, kind = self._body(message_id, message)
        headers = {
            "Content-MD5": b64encode(md5(body, usedforsecurity=False).hexdigest().encode()).decode(),
            "Content-Type": kind,
            "Date": formatdate(self._now_ms() / 1000, usegmt=True),
        }
        own = {
            "x-mns-request-id": uuid4().hex.upper(),
            "x-mns-signing-cert-url": b64encode(self.certificate_url.replace("https:", "http:").encode()).decode(),
            "x-mns-version": "2015-06-06",
        }
        if self._config.push_format is PushFormat.SIMPLIFIED:
            own["x-mns-message-id"] = message_id
        lines = ["POST", *headers.values(), *(f"{name}:{own[name]}" for name in sorted(own)), self._path]
        signature = self._pair[0].sign("\n".join(lines).encode(), padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 — theirs
        every = {"Authorization": b64encode(signature).decode(), **headers, **own}
        every["User-Agent"] = "Aliyun Notification Service Agent"
        return "".join(f"{name}: {value}\r\n" for name, value in every.items()).encode(), body

    def _body(self, message_id: str, message: str) -> tuple[bytes, str]:
        if self._config.push_format is PushFormat.SIMPLIFIED:
            return message.encode(), "text/plain;charset=utf-8"
        fields: dict[str, str] = {
            "TopicOwner": self._config.account_id,
            "TopicName": self._config.topic,
            "Subscriber": self._config.account_id,
            "SubscriptionName": "sandbox",
            "MessageId": message_id,
            "MessageMD5": md5(message.encode(), usedforsecurity=False).hexdigest().upper(),
            "Message": message,
            "PublishTime": str(self._now_ms()),
        }
        if self._config.push_format is PushFormat.JSON:
            return msgspec.json.encode(fields), "application/json;charset=utf-8"
        inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
        text = f'<?xml version="1.0" encoding="utf-8"?><Notification xmlns="{NAMESPACE}">{inner}</Notification>'
        return text.encode(), "text/xml;charset=utf-8"


def _key_of(path: Path) -> tuple[rsa.RSAPrivateKey, bytes]:
    """Key and certificate beside the ledger, made if there are none."""
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key, path.with_suffix(".crt").read_bytes()
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mns.sandbox")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=397))
        .sign(key, hashes.SHA256())
    )
    certificate = built.public_bytes(serialization.Encoding.PEM)
    path.with_suffix(".crt").write_bytes(certificate)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return key, certificate
