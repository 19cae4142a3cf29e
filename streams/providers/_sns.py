"""Amazon SNS over HTTP: which envelopes are authentic, and which certificates may say so.

Rules, in the order they are applied:

1. The body is one JSON object without repeated keys; its own ``Type`` counts, never a header (headers are not signed).
2. The topic is on the allow-list: a message of somebody else's topic is signed just as well.
3. The certificate's URL matches one strict pattern as a whole, in the topic's region: nothing is parsed leniently, so
   that nothing can point elsewhere.
4. The certificate is pinned or was fetched from that URL; it is valid now, RSA of at least 2048 bits, issued to SNS.
5. The signature covers the documented fields; what it does not cover (attributes, UnsubscribeURL) is never used.

Sources: Amazon SNS developer guide, "Verifying the signatures of Amazon SNS messages".
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509.oid import NameOID

from streams.providers._payload import iso_ms, json_object
from streams.providers.base import CertificateNeeded, HttpResponse, NoResponse, Refused

V = TypeVar("V")

NOTIFICATION = "Notification"
SUBSCRIBE = "SubscriptionConfirmation"
UNSUBSCRIBE = "UnsubscribeConfirmation"

SIGNED_FIELDS: Mapping[str, tuple[str, ...]] = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIBE: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    UNSUBSCRIBE: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
"""What the string to sign is made of, per type; ``Subject`` only if present."""

MAX_CERTIFICATE_BYTES = 65_536
MIN_KEY_BITS = 2048
SUBJECT = "sns.amazonaws.com"
MAX_FUTURE_MS = 5 * 60 * 1000

_CACHED = 16
_FAILURES = 64
_FAILURE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Envelope:
    """An SNS message whose form is right; nothing about it is proven yet."""

    type: str
    message_id: str
    topic_arn: str
    region: str
    message: str
    timestamp_ms: int
    token: str
    certificate_url: str
    signature_version: str
    signature: bytes
    signed: bytes


@dataclass(frozen=True, slots=True)
class Rules:
    """Whose messages are taken: topics by their exact ARN, signature version 1 (SHA-1) or not, and the oldest age."""

    topic_arns: frozenset[str]
    allow_version_1: bool = True
    max_age_s: float = 86_400.0


def parse_envelope(body: bytes) -> Envelope | Refused:
    """The envelope in an HTTP body."""
    fields = json_object(body)
    if fields is None:
        return Refused("malformed", "not a JSON object, or a key is repeated in it")
    kind = fields.get("Type")
    if not isinstance(kind, str) or kind not in SIGNED_FIELDS:
        return Refused("malformed", "not an SNS message (unsigned raw delivery is not taken)")
    if fields.get("Subject", "") is None:
        del fields["Subject"]
    optional = {"Subject"} - fields.keys()
    names = [name for name in SIGNED_FIELDS[kind] if name not in optional]
    needed = (*names, "Signature", "SignatureVersion", "SigningCertURL")
    if not all(isinstance(fields.get(name), str) for name in needed):
        return Refused("malformed", "a field of the SNS message is missing or no text")
    arn = _TOPIC_ARN.fullmatch(fields["TopicArn"])
    timestamp_ms = iso_ms(fields["Timestamp"]) if _TIMESTAMP.fullmatch(fields["Timestamp"]) else 0
    try:
        signature = b64decode(fields["Signature"], validate=True)
        signed = "".join(f"{name}\n{fields[name]}\n" for name in names).encode("utf-8")
    except (Base64Error, ValueError):
        return Refused("malformed", "the signature is not base64 or the text is not Unicode")
    if arn is None or not timestamp_ms or not _MESSAGE_ID.fullmatch(fields["MessageId"]):
        return Refused("malformed", "TopicArn, Timestamp or MessageId has a wrong shape")
    return Envelope(
        type=kind,
        message_id=fields["MessageId"],
        topic_arn=fields["TopicArn"],
        region=arn["region"],
        message=fields["Message"],
        timestamp_ms=timestamp_ms,
        token=fields.get("Token", ""),
        certificate_url=fields["SigningCertURL"],
        signature_version=fields["SignatureVersion"],
        signature=signature,
        signed=signed,
    )


def verify(
    body: bytes, rules: Rules, certificates: Certificates, now_ms: int
) -> Envelope | Refused | CertificateNeeded:
    """The envelope if it is authentic, else why not, or which certificate is missing to tell."""
    envelope = parse_envelope(body)
    if isinstance(envelope, Refused):
        return envelope
    if envelope.topic_arn not in rules.topic_arns:
        return Refused("bad_signature", "the topic is not on the allow-list")
    url = certificate_url(envelope.certificate_url, envelope.region)
    if not url:
        return Refused("bad_signature", "SigningCertURL is not one of SNS in the topic's region")
    if envelope.signature_version not in ({"1", "2"} if rules.allow_version_1 else {"2"}):
        return Refused("bad_signature", "the signature version is not accepted")
    age_ms = now_ms - envelope.timestamp_ms
    if age_ms > rules.max_age_s * 1000 or age_ms < -MAX_FUTURE_MS:
        return Refused("stale", f"published {age_ms // 1000} s ago")
    key = certificates.key(url, now_ms)
    if isinstance(key, CertificateNeeded):
        return key
    algorithm = SHA1() if envelope.signature_version == "1" else SHA256()  # noqa: S303  (version 1 is SHA-1)
    try:
        key.verify(envelope.signature, envelope.signed, PKCS1v15(), algorithm)
    except InvalidSignature:
        return Refused("bad_signature", "the signature does not fit")
    return envelope


def certificate_url(url: str, region: str) -> str:
    """The URL to fetch a signing certificate from, re-serialised; empty if ``url`` is not one of SNS in ``region``."""
    match = _CERTIFICATE_URL.fullmatch(url)
    if match is None or match["region"] != region or bool(match["cn"]) != region.startswith("cn-"):
        return ""
    return f"https://sns.{region}.amazonaws.com{match['cn'] or ''}/{match['file']}"


class Certificates:
    """Public keys by certificate URL: pinned by file name, or learned; bounded, and gone when they expire.

    ``usable`` judges a certificate at a time: its key, or why it cannot be used (by default: one of SNS).
    """

    def __init__(
        self,
        pinned: Mapping[str, bytes] | None = None,
        usable: Callable[[x509.Certificate, int], RSAPublicKey | str] | None = None,
    ) -> None:
        self._usable = usable or _usable
        self._pinned = {name: x509.load_pem_x509_certificate(pem) for name, pem in (pinned or {}).items()}
        self._learned: dict[str, x509.Certificate] = {}
        self._failed_until: dict[str, int] = {}

    def key(self, url: str, now_ms: int) -> RSAPublicKey | CertificateNeeded:
        """The key to verify with; ``url`` has passed :func:`certificate_url`."""
        for certificate in (self._pinned.get(url.rpartition("/")[2]), self._learned.get(url)):
            key = self._usable(certificate, now_ms) if certificate is not None else ""
            if not isinstance(key, str):
                return key
        self._learned.pop(url, None)
        return CertificateNeeded(url, self._failed_until.get(url, 0))

    def learn(self, url: str, answer: HttpResponse | NoResponse, now_ms: int) -> str:
        """Keep what was fetched from ``url``; the reason if it cannot be used (remembered for a minute)."""
        fault = self._learn(url, answer, now_ms)
        if fault:
            _put(self._failed_until, url, now_ms + _FAILURE_MS, _FAILURES)
        return fault

    def _learn(self, url: str, answer: HttpResponse | NoResponse, now_ms: int) -> str:
        if isinstance(answer, NoResponse):
            return answer.detail
        if answer.status != 200 or len(answer.body) > MAX_CERTIFICATE_BYTES:
            return f"status {answer.status}, {len(answer.body)} bytes"
        try:
            certificate = x509.load_pem_x509_certificate(answer.body)
        except ValueError:
            return "not a certificate"
        key = self._usable(certificate, now_ms)
        if isinstance(key, str):
            return key
        self._failed_until.pop(url, None)
        _put(self._learned, url, certificate, _CACHED)
        return ""


def load_pinned(directory: str) -> dict[str, bytes]:
    """The certificates pinned in ``directory``, by file name; raises ValueError if one cannot be used."""
    if not directory:
        return {}
    try:
        pinned = {path.name: path.read_bytes() for path in sorted(Path(directory).expanduser().glob("*.pem"))}
        for pem in pinned.values():
            x509.load_pem_x509_certificate(pem)
    except (OSError, ValueError) as exc:
        raise ValueError(f"pinned_certificates: {directory} holds a file that is no readable certificate") from exc
    if not pinned:
        raise ValueError(f"pinned_certificates: there is no .pem file in {directory}")
    return pinned


def _usable(certificate: x509.Certificate, now_ms: int) -> RSAPublicKey | str:
    after, before = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not after.timestamp() * 1000 <= now_ms <= before.timestamp() * 1000:
        return "the certificate is not valid now"
    try:
        key = certificate.public_key()
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return "the certificate cannot be read"
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        return f"the key is not RSA of {MIN_KEY_BITS} bits"
    if [name.value for name in names] != [SUBJECT]:
        return f"the certificate is not issued to {SUBJECT}"
    return key


def _put(cache: dict[str, V], key: str, value: V, limit: int) -> None:
    cache.pop(key, None)
    while len(cache) >= limit:
        del cache[next(iter(cache))]
    cache[key] = value


_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)"
_FILE = r"(?P<file>SimpleNotificationService-[0-9a-f]{8,64}\.pem)"
_CERTIFICATE_URL = re.compile(rf"https://sns\.{_REGION}\.amazonaws\.com(?P<cn>\.cn)?(?::443)?/{_FILE}", re.ASCII)
_MESSAGE_ID = re.compile(r"[0-9A-Za-z-]{1,100}")  # no line end: the string to sign tells fields apart by those alone
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z", re.ASCII)  # for the same reason
_TOPIC_ARN = re.compile(rf"arn:aws(?:-cn|-us-gov)?:sns:{_REGION}:\d{{12}}:[A-Za-z0-9_-]{{1,256}}(?:\.fifo)?", re.ASCII)
