"""The SNS stand-in: one topic with one HTTP subscription, signed envelopes, confirmation, the retry policy.

The certificate is self-signed for `sns.amazonaws.com` and named as the real ones are, by a hash; a receiver that
pins certificates by file name finds it in `certificates_dir`, and it is served under `/sandbox/sns/`. The key lives
beside the ledger, so that a restart signs with the same certificate. Every envelope costs one RSA-2048 signature (a
quarter of a millisecond): for SES this, not HTTP, is the price of an event.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode
from uuid import UUID, uuid4
from xml.sax.saxutils import escape

import msgspec
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from streams.sandbox.config import SesConfig
from streams.sandbox.posting import Poster, PostError, Target

RETRY_S: Final = (20.0, 20.0, 20.0)
_SIGNED: Final = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_NAMESPACE: Final = "http://sns.amazonaws.com/doc/2010-03-31/"


def iso_ms(at_ms: int) -> str:
    """ISO 8601 with milliseconds and Z, as AWS writes it."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


class Signer:
    """The sandbox's signing key with its certificate."""

    def __init__(self, key_path: Path) -> None:
        if key_path.exists():
            key = serialization.load_pem_private_key(key_path.read_bytes(), None)
            assert isinstance(key, rsa.RSAPrivateKey)
            self._key = key
            self.certificate = key_path.with_suffix(".crt").read_bytes()
        else:
            self._key = rsa.generate_private_key(65537, 2048)
            self.certificate = _self_signed(self._key)
            key_path.with_suffix(".crt").write_bytes(self.certificate)
            pem = self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            descriptor = os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
        self.file_name = f"SimpleNotificationService-{sha256(self.certificate).hexdigest()[:32]}.pem"

    def sign(self, text: bytes, version: str) -> str:
        """Base64 of RSA PKCS#1 v1.5 with SHA-1 (version 1) or SHA-256 (version 2)."""
        digest = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 — version 1 is SHA-1
        return b64encode(self._key.sign(text, padding.PKCS1v15(), digest)).decode()


def _self_signed(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=397))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("sns.amazonaws.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


class Sns:
    """One topic. Its subscription is absent, pending (a token is out) or confirmed."""

    def __init__(self, config: SesConfig, key_path: Path, poster: Poster, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._signer = Signer(key_path)
        self._poster = poster
        self._now_ms = now_ms
        self.topic_arn = config.topic_arn
        self.retry_delays_s = tuple(delay * config.retry_scale for delay in RETRY_S)
        self._host = f"https://sns.{config.region}.amazonaws.com/"
        self.certificate_url = self._host + self._signer.file_name
        self.subscription_arn = f"{config.topic_arn}:{UUID(bytes=secrets.token_bytes(16), version=4)}"
        self.endpoint: str | None = None
        self.target: Target | None = None
        self.confirmed = False
        self._token = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self.confirmations: list[int] = []  # the receiver's statuses to SubscriptionConfirmation, newest last
        if config.certificates_dir is not None:
            config.certificates_dir.mkdir(parents=True, exist_ok=True)
            (config.certificates_dir / self._signer.file_name).write_bytes(self._signer.certificate)

    @property
    def file_name(self) -> str:
        """The certificate's file name."""
        return self._signer.file_name

    @property
    def certificate(self) -> bytes:
        """The certificate, PEM."""
        return self._signer.certificate

    def attach(self, endpoint: str) -> None:
        """A subscription that was confirmed some time ago."""
        self.endpoint, self.target = endpoint, Target.parse(endpoint)
        self.confirmed = True

    def subscribe(self, endpoint: str) -> None:
        """A new pending subscription: a SubscriptionConfirmation is on its way. Raises ValueError for a bad URL."""
        self.endpoint, self.target = endpoint, Target.parse(endpoint)
        self.confirmed = False
        self._token = secrets.token_hex(64)
        task = asyncio.create_task(self._send_confirmation(self.target))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def confirm(self, topic_arn: str, token: str) -> bool:
        """Whether topic and token are right; the subscription is confirmed then (also a second time)."""
        if (
            topic_arn != self.topic_arn
            or not self._token
            or not secrets.compare_digest(token.encode(), self._token.encode())
        ):
            return False
        self.confirmed = True
        return True

    async def stop(self) -> None:
        """Drops confirmations that are still being tried."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send_confirmation(self, target: Target) -> None:
        arguments = {"Action": "ConfirmSubscription", "TopicArn": self.topic_arn, "Token": self._token}
        message_id = str(uuid4())
        body = self._envelope(
            "SubscriptionConfirmation",
            message_id,
            f"You have chosen to subscribe to the topic {self.topic_arn}.\n"
            "To confirm the subscription, visit the SubscribeURL included in this message.",
            self._now_ms(),
            {"Token": self._token, "SubscribeURL": self._host + "?" + urlencode(arguments)},
        )
        headers = self._headers("SubscriptionConfirmation", message_id)
        for delay in (*self.retry_delays_s, None):
            try:
                status = await self._poster.post(target, headers, body, self._config.webhook_timeout_s)
            except PostError:
                status = 0
            self.confirmations.append(status)
            if delay is None or (0 < status < 500 and status != 429):
                return
            await asyncio.sleep(delay)

    def _headers(self, kind: str, message_id: str) -> bytes:
        lines = [
            f"x-amz-sns-message-type: {kind}",
            f"x-amz-sns-message-id: {message_id}",
            f"x-amz-sns-topic-arn: {self.topic_arn}",
            "Content-Type: text/plain; charset=UTF-8",
            "User-Agent: Amazon Simple Notification Service Agent",
        ]
        if kind != "SubscriptionConfirmation":
            lines.append(f"x-amz-sns-subscription-arn: {self.subscription_arn}")
        return "".join(f"{line}\r\n" for line in lines).encode()

    def notification(self, message_id: str, message: str) -> tuple[bytes, bytes]:
        """(headers, body) of a Notification."""
        leave = self._host + "?" + urlencode({"Action": "Unsubscribe", "SubscriptionArn": self.subscription_arn})
        body = self._envelope("Notification", message_id, message, self._now_ms(), {}, {"UnsubscribeURL": leave})
        return self._headers("Notification", message_id), body

    def _envelope(self, kind: str, message_id: str, message: str, now_ms: int, signed: dict[str, str],
                  unsigned: dict[str, str] | None = None) -> bytes:  # fmt: skip
        content: dict[str, Any] = {
            "Type": kind,
            "MessageId": message_id,
            "TopicArn": self.topic_arn,
            "Message": message,
        }
        content |= {"Timestamp": iso_ms(now_ms), **signed}
        text = "".join(f"{name}\n{content[name]}\n" for name in _SIGNED[kind] if name in content)
        version = self._config.signature_version
        content |= {
            "SignatureVersion": version,
            "Signature": self._signer.sign(text.encode(), version),
            "SigningCertURL": self.certificate_url,
            **(unsigned or {}),
        }
        return msgspec.json.encode(content)

    def handle(self, body: bytes, query: str) -> web.Response:
        """The query API: ConfirmSubscription, Subscribe, Unsubscribe, GetTopicAttributes."""
        arguments = dict(parse_qsl(query) + parse_qsl(body.decode("utf-8", "replace")))
        action, topic = arguments.get("Action", ""), arguments.get("TopicArn", "")
        if action in ("ConfirmSubscription", "Subscribe", "GetTopicAttributes") and topic != self.topic_arn:
            return _error(404, "NotFound", "Topic does not exist")
        match action:
            case "ConfirmSubscription":
                if not self.confirm(topic, arguments.get("Token", "")):
                    return _error(400, "InvalidParameter", "Invalid parameter: Token")
                return _result(action, {"SubscriptionArn": self.subscription_arn})
            case "Subscribe":
                try:
                    self.subscribe(arguments.get("Endpoint", ""))
                except ValueError:
                    return _error(400, "InvalidParameter", "Invalid parameter: Endpoint")
                return _result(action, {"SubscriptionArn": "pending confirmation"})
            case "Unsubscribe":
                self.endpoint, self.target, self.confirmed = None, None, False
                return _result(action, {})
            case "GetTopicAttributes":
                entries = {"TopicArn": self.topic_arn, "SignatureVersion": self._config.signature_version}
                rows = "".join(f"<entry><key>{k}</key><value>{escape(v)}</value></entry>" for k, v in entries.items())
                return _xml(200, action, f"<{action}Result><Attributes>{rows}</Attributes></{action}Result>")
        return _error(400, "InvalidAction", f"The action {action} is not valid for this endpoint.")


def _xml(status: int, action: str, inner: str) -> web.Response:
    request_id = f"<ResponseMetadata><RequestId>{uuid4()}</RequestId></ResponseMetadata>"
    text = f'<{action}Response xmlns="{_NAMESPACE}">{inner}{request_id}</{action}Response>'
    return web.Response(status=status, text=text, content_type="text/xml")


def _result(action: str, values: dict[str, str]) -> web.Response:
    fields = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())
    return _xml(200, action, f"<{action}Result>{fields}</{action}Result>")


def _error(status: int, code: str, message: str) -> web.Response:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    text = f'<ErrorResponse xmlns="{_NAMESPACE}">{error}<RequestId>{uuid4()}</RequestId></ErrorResponse>'
    return web.Response(status=status, text=text, content_type="text/xml")
