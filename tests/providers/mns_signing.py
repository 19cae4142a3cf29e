"""Signs pushes of the message service with certificates of our own, the way MNS does."""

from __future__ import annotations

from base64 import b64encode
from email.utils import formatdate
from hashlib import md5

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, HashAlgorithm

from streams.providers.base import Inbound
from tests.providers.sns_signing import NOW_MS, rsa_key

FILE = "x509_public_certificate.pem"
URL = f"https://mnstest.oss-cn-hangzhou.aliyuncs.com/{FILE}"
PATH = "/webhooks/directmail"


def pushed(
    body: bytes,
    *,
    key: rsa.RSAPrivateKey | None = None,
    url: str = URL,
    path: str = PATH,
    at_ms: int = NOW_MS,
    raw_md5: bool = False,
    digest_of: bytes | None = None,
    algorithm: HashAlgorithm | None = None,
    signed_path: str | None = None,
    **headers: str,
) -> Inbound:
    """A push with its signature over what it is made of; `headers` (`_` for `-`) are added before signing."""
    digest = md5(body if digest_of is None else digest_of)
    named = {
        "content-md5": b64encode(digest.digest() if raw_md5 else digest.hexdigest().encode()).decode(),
        "content-type": "text/xml;charset=utf-8",
        "date": formatdate(at_ms / 1000, usegmt=True),
        "x-mns-request-id": "512B2A634403E52B1956133E",
        "x-mns-signing-cert-url": b64encode(url.encode()).decode(),
        "x-mns-version": "2015-06-06",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    own = [f"{name}:{named[name]}" for name in sorted(named) if name.startswith("x-mns-")]
    lines = ["POST", named["content-md5"], named["content-type"], named["date"], *own, signed_path or path]
    signature = (key or rsa_key()).sign("\n".join(lines).encode(), PKCS1v15(), algorithm or SHA1())
    named["authorization"] = b64encode(signature).decode()
    return Inbound({"host": "hooks.example.com", **named}, body, named["content-type"], path)
