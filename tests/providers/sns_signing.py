"""Signs SNS messages with certificates of our own, the way SNS does."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = int(START.timestamp() * 1000)
TOPIC = "arn:aws:sns:us-east-1:111122223333:ses-events"
FILE = "SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
URL = f"https://sns.us-east-1.amazonaws.com/{FILE}"


@cache
def rsa_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def curve_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    name: str = "sns.amazonaws.com",
    start: datetime = START - timedelta(days=100),
    end: datetime = START + timedelta(days=265),
) -> bytes:
    key = key or rsa_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(end)
        .sign(key, SHA256())
    )
    return built.public_bytes(Encoding.PEM)


def notification(**changes: Any) -> dict[str, Any]:
    """An unsigned notification."""
    return {
        "Type": "Notification",
        "MessageId": "11111111-2222-3333-4444-555555555555",
        "TopicArn": TOPIC,
        "Message": '{"eventType":"Send"}',
        "Timestamp": "2026-01-01T00:00:00.000Z",
        "SignatureVersion": "2",
        "SigningCertURL": URL,
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
        **changes,
    }


def subscription(**changes: Any) -> dict[str, Any]:
    """An unsigned offer to subscribe."""
    return notification(
        **{
            "Type": "SubscriptionConfirmation",
            "Token": "token-1",
            "SubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription",
            **changes,
        }
    )


def signed(message: dict[str, Any], key: rsa.RSAPrivateKey | None = None) -> bytes:
    """``message`` with its signature, as a body. The list of fields is written down a second time on purpose."""
    names = ["Message", "MessageId"]
    names += ["Subject"] if message["Type"] == "Notification" and message.get("Subject") is not None else []
    names += [] if message["Type"] == "Notification" else ["SubscribeURL"]
    names += ["Timestamp"]
    names += [] if message["Type"] == "Notification" else ["Token"]
    names += ["TopicArn", "Type"]
    text = "".join(f"{name}\n{message[name]}\n" for name in names)
    algorithm = SHA1() if message["SignatureVersion"] == "1" else SHA256()
    signature = (key or rsa_key()).sign(text.encode(), PKCS1v15(), algorithm)
    return json.dumps({**message, "Signature": b64encode(signature).decode()}).encode()
