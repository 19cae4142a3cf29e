"""Alibaba Cloud's message service (MNS): its XML, and which of its HTTP pushes are authentic.

Rules of a push, in the order they are applied:

1. The body is the one whose MD5 is signed: the signature covers it through ``Content-MD5`` alone.
2. The certificate's address lies at one of MNS's own hosts, compared as a whole, and is fetched by https whatever
   scheme it names; nothing of it is parsed leniently, so that nothing can point elsewhere.
3. The message names its topic, and the topic is on the list: all topics of the service sign alike. A message of format
   SIMPLIFIED names none, and what its author made it look like proves nothing; it is known by the signed header
   ``x-mns-message-id``, and taken only where the signed path carries our secret.
4. ``Date`` is signed and fresh. A repeat carries a date of its own.
5. The signature covers method, digest, content type, date, every ``x-mns-`` header and the path with its query.

Source: MNS, HttpEndpoint (push), signature and certificate; message formats.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from hashlib import md5
from urllib.parse import parse_qs
from xml.etree import ElementTree as ET

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1

from streams.providers._payload import json_object, text
from streams.providers._sns import Certificates
from streams.providers.base import CertificateNeeded, Inbound, Refused

MIN_KEY_BITS = 1024
"""The size of the service's key is not documented; only its certificate at its own host is taken."""
MAX_FUTURE_MS = 15 * 60 * 1000
MAX_MESSAGES = 64

_ROOTS = frozenset({"Notification", "Message", "Messages"})
_SIGNED = frozenset({"authorization", "content-md5", "content-type", "date"})


@dataclass(frozen=True, slots=True)
class Rules:
    """Whose pushes are taken: topics as ``owner/name``, the secret of the path, the oldest ``Date``.

    ``path`` replaces the path we see, where a proxy in front changes it.
    """

    topics: frozenset[str]
    secret: str = ""
    max_age_s: float = 900.0
    path: str = ""


@dataclass(frozen=True, slots=True)
class Pushed:
    """An authentic push."""

    message_id: str


def verify(
    inbound: Inbound, rules: Rules, certificates: Certificates, now_ms: int
) -> Pushed | Refused | CertificateNeeded:
    """The push if it is authentic, else why not, or which certificate is missing to tell."""
    headers = {name.lower(): value for name, value in inbound.headers.items()}
    path = rules.path or inbound.path
    signed = string_to_sign("POST", headers, path)
    named = _signature_and_url(headers)
    if signed is None or named is None or _is_repeated(inbound.headers):
        return Refused("malformed", "a header of the signature is missing, repeated or has a wrong shape")
    signature, url = named
    if not _is_digest_of(headers["content-md5"], inbound.body):
        return Refused("bad_signature", "Content-MD5 is not that of the body")
    if not url:
        return Refused("bad_signature", "x-mns-signing-cert-url is not one of MNS")
    pushed = _sent_to_us(inbound.body, headers, path, rules)
    if isinstance(pushed, Refused):
        return pushed
    age_ms = now_ms - _date_ms(headers["date"])
    if age_ms > rules.max_age_s * 1000 or age_ms < -MAX_FUTURE_MS:
        return Refused("stale", f"signed {age_ms // 1000} s ago")
    key = certificates.key(url, now_ms)
    if isinstance(key, CertificateNeeded):
        return key
    try:
        key.verify(signature, signed, PKCS1v15(), SHA1())  # noqa: S303  (what the service signs with)
    except InvalidSignature:
        return Refused("bad_signature", "the signature does not fit")
    return pushed


def string_to_sign(method: str, headers: Mapping[str, str], path: str) -> bytes | None:
    """What MNS signs; ``headers`` in lower case. None if a header that it needs is missing, or holds a line end."""
    needed = [headers.get(name) for name in ("content-md5", "date")]
    ours = sorted((name, value) for name, value in headers.items() if name.startswith("x-mns-"))
    parts = [
        method,
        needed[0],
        headers.get("content-type", ""),
        needed[1],
        *(f"{name}:{value}" for name, value in ours),
    ]
    if None in needed or not path.startswith("/") or any("\n" in str(part) or "\r" in str(part) for part in parts):
        return None
    return "\n".join([*map(str, parts), path]).encode("utf-8", "replace")


def certificate_url(url: str) -> str:
    """Where to fetch a signing certificate, re-serialised with https; empty if ``url`` is none of MNS's."""
    match = _CERTIFICATE_URL.fullmatch(url)
    return f"https://{match['host']}/{match['file']}" if match else ""


def messages(written: str) -> list[Mapping[str, str]] | None:
    """The messages in XML of MNS (a topic's ``Notification``, a queue's ``Message`` or ``Messages``), a mapping each.

    None if it is none: no XML, another root, with a document type (entities are not for us), or with a field that is
    repeated (as in JSON: nobody can tell which one was meant).
    """
    root = parse_xml(written)
    if root is None or (kind := local_name(root)) not in _ROOTS:
        return None
    found = [root] if kind != "Messages" else [child for child in root if local_name(child) == "Message"]
    read = [_fields(message) for message in found[:MAX_MESSAGES]]
    fields = [one for one in read if one is not None]
    return fields if len(fields) == len(read) else None


def _fields(message: ET.Element) -> Mapping[str, str] | None:
    """None if one is repeated."""
    fields = {local_name(child): child.text or "" for child in message}
    return fields if len(fields) == len(message) else None


def from_base64(written: str) -> str:
    """The text in strict base64, as the service's SDKs write bodies; empty if it is none."""
    if not _BASE64.fullmatch(written):
        return ""
    try:
        return b64decode("".join(written.split()), validate=True).decode("utf-8").strip()
    except (Base64Error, ValueError):
        return ""


def parse_xml(written: str) -> ET.Element | None:
    """The root element; None if it is not well-formed or brings a document type."""
    if "<!DOCTYPE" in written or "<!ENTITY" in written:
        return None
    try:
        return ET.fromstring(written)  # noqa: S314  (no document type, so no entities)
    except (ET.ParseError, ValueError):
        return None


def local_name(element: ET.Element) -> str:
    """The element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def usable(certificate: x509.Certificate, now_ms: int) -> RSAPublicKey | str:
    """The certificate's key, or why it cannot be used. To whom it is issued is not documented; where it lies is."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin.timestamp() * 1000 <= now_ms <= end.timestamp() * 1000:
        return "the certificate is not valid now"
    try:
        key = certificate.public_key()
    except ValueError:
        return "the certificate cannot be read"
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        return f"the key is not RSA of {MIN_KEY_BITS} bits"
    return key


def _is_repeated(headers: Mapping[str, str]) -> bool:
    """Whether a header that is signed stands there twice: then nobody can tell which one was meant."""
    names = [name.lower() for name, _ in headers.items()]
    signed = [name for name in names if name in _SIGNED or name.startswith("x-mns-")]
    return len(set(signed)) != len(signed)


def _signature_and_url(headers: Mapping[str, str]) -> tuple[bytes, str] | None:
    """(signature, the certificate's address or empty if it is not MNS's)."""
    try:
        signature = b64decode(headers["authorization"], validate=True)
        url = b64decode(headers["x-mns-signing-cert-url"], validate=True).decode("ascii")
    except (KeyError, Base64Error, ValueError):
        return None
    return signature, certificate_url(url)


def _is_digest_of(given: str, body: bytes) -> bool:
    """MNS writes base64 of the digest in hexadecimal; base64 of the digest itself (RFC 1864) counts too."""
    digest = md5(body, usedforsecurity=False)
    expected = (b64encode(digest.hexdigest().encode()), b64encode(digest.digest()))
    return any(hmac.compare_digest(given.encode("utf-8", "replace"), one) for one in expected)


def _date_ms(date: str) -> int:
    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0


def _sent_to_us(body: bytes, headers: Mapping[str, str], path: str, rules: Rules) -> Pushed | Refused:
    """An authentic message of any topic of the service: was it ours that sent it here?"""
    if rules.secret:
        given = parse_qs(path.partition("?")[2]).get("secret", [""])[0]
        if not hmac.compare_digest(given.encode("utf-8", "replace"), rules.secret.encode()):
            return Refused("bad_signature", "the path does not carry the secret")
    simplified = "x-mns-message-id" in headers
    envelope = None if simplified else _envelope(body)
    if envelope is None:
        if not rules.secret:
            return Refused("bad_signature", "the message names no topic (format SIMPLIFIED), and there is no secret")
        return Pushed(text(headers.get("x-mns-message-id"), 128))
    topic = f"{text(envelope.get('TopicOwner'), 64)}/{text(envelope.get('TopicName'), 256)}"
    if topic not in rules.topics:
        return Refused("bad_signature", "the topic is not on the list")
    return Pushed(text(envelope.get("MessageId"), 128))


def _envelope(body: bytes) -> Mapping[str, object] | None:
    try:
        return envelope_in(body.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def envelope_in(written: str) -> Mapping[str, object] | None:
    """A topic's envelope in XML or JSON (also in base64); None if there is none around the message."""
    written = (from_base64(written) or written).lstrip("\ufeff \t\r\n")
    if written.startswith("<"):
        found = messages(written)
        return found[0] if found and len(found) == 1 and "TopicName" in found[0] else None
    fields = json_object(written) if written.startswith("{") else None
    return fields if fields is not None and "TopicName" in fields else None


_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{8,}+={0,2}+\s*+")  # looked at once: strangers write it
_REGION = r"[a-z]{2}(?:-[a-z]+)+(?:-\d)?"
_HOST = rf"(?P<host>mnstest\.oss-cn-hangzhou\.aliyuncs\.com|mns-cert\.oss-{_REGION}\.aliyuncs\.com)"
_CERTIFICATE_URL = re.compile(rf"https?://{_HOST}/(?P<file>[A-Za-z0-9_-]{{1,128}}\.(?:pem|crt|cer))", re.ASCII)
