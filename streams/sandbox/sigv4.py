"""Checks AWS Signature Version 4 of a request, as far as the configuration asks. Pure.

Written from the signing rules (canonical request, string to sign, derived key), so that a wrong signature, a wrong
scope or a wrong clock of a client shows here and not first in production.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, quote

from streams.sandbox.config import AccessCheck, SesConfig

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([^,\s]+), ?Signature=([0-9a-f]{64})"
)
_MAX_SKEW_S: Final = 300
NO_KEYS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Denied:
    """The call is not authorised: AWS error code, HTTP status, text."""

    code: str
    status: int
    message: str


def access_key(headers: Mapping[str, str]) -> str:
    """The access key id that a request names; empty when it names none."""
    found = re.search(r"Credential=([^/,\s]+)", headers.get("Authorization", ""))
    return found[1] if found else ""


def check(config: SesConfig, service: str, method: str, raw_path: str, headers: Mapping[str, str], body: bytes,
          now_ms: int, keys: Mapping[str, str] = NO_KEYS) -> Denied | None:  # fmt: skip
    """None when the request passes the configured check; with ``keys``, ids and secrets, only their signatures do."""
    level = AccessCheck.SIGNATURE if keys else config.check
    if level is AccessCheck.NONE:
        return None
    found = _AUTHORIZATION.fullmatch(headers.get("Authorization", ""))
    if found is None:
        return Denied("MissingAuthenticationTokenException", 403, "Missing Authentication Token")
    key_id, day, region, scope_service, signed_names, given = found.groups()
    good = keys or {config.access_key: config.secret}
    if key_id not in good:
        return Denied("UnrecognizedClientException", 403, "The security token included in the request is invalid.")
    if level is AccessCheck.ACCESS_KEY:
        return None
    stamp = headers.get("X-Amz-Date", "")
    if (denied := _clock(stamp, day, now_ms)) is not None:
        return denied
    if region != config.region or scope_service != service:
        return _wrong(f"Credential should be scoped to region '{config.region}' and service '{service}'.")
    canonical = _canonical_request(method, raw_path, headers, signed_names, body)
    scope = f"{day}/{region}/{scope_service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{good[key_id]}".encode()
    for part in (day, region, scope_service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), given):
        return _wrong("The request signature we calculated does not match the signature you provided.")
    return None


def _wrong(message: str) -> Denied:
    return Denied("SignatureDoesNotMatch", 403, message)


def _clock(stamp: str, day: str, now_ms: int) -> Denied | None:
    try:
        moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return Denied("IncompleteSignature", 400, "Date in X-Amz-Date is missing or malformed.")
    if stamp[:8] != day or abs(moment.timestamp() - now_ms / 1000) > _MAX_SKEW_S:
        return Denied("RequestExpired", 400, f"Signature expired or not yet current: {stamp}")
    return None


def _canonical_request(method: str, raw_path: str, headers: Mapping[str, str], signed_names: str, body: bytes) -> str:
    path, _, query = raw_path.partition("?")
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, keep_blank_values=True))
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed_names.split(";")]
    return "\n".join(
        [
            method,
            quote(path, safe="/-_.~"),  # the path is encoded twice for every service but S3
            "&".join(f"{name}={value}" for name, value in pairs),
            "".join(lines),
            signed_names,
            headers.get("x-amz-content-sha256") or sha256(body).hexdigest(),
        ]
    )
