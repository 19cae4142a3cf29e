"""Checks both signatures of Alibaba Cloud's RPC calls (1.0 and ACS3) and that of its message service. Pure.

Written from the signing rules, so that a wrong signature or a wrong clock of a client shows here and not first in
production.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import md5, sha256
from typing import Final
from urllib.parse import parse_qsl, quote

from streams.sandbox.directmail_config import DirectMailConfig

_ACS3: Final = re.compile(r"ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([0-9a-f]{64})")
_MNS: Final = re.compile(r"MNS ([^:]+):([A-Za-z0-9+/=]+)")
_MAX_SKEW_S: Final = 900


@dataclass(frozen=True, slots=True)
class Denied:
    """The call is not authorised: code, HTTP status, text."""

    code: str
    status: int
    message: str


def access_key(headers: Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """The access key id that a call names, signed either way; empty when it names none."""
    found = _ACS3.fullmatch(headers.get("Authorization", ""))
    return found[1] if found else parameters.get("AccessKeyId", "")


def check_call(
    config: DirectMailConfig,
    raw_path: str,
    headers: Mapping[str, str],
    body: bytes,
    parameters: Mapping[str, str],
    now_ms: int,
) -> Denied | None:
    """None when an RPC call passes; `parameters` are those of query and body."""
    if not config.check:
        return None
    if access_key(headers, parameters) != config.access_key:
        return Denied("InvalidAccessKeyId.NotFound", 404, "Specified access key is not found.")
    if "Authorization" in headers:
        return _check_acs3(config, raw_path, headers, body, now_ms)
    if not _is_fresh(parameters.get("Timestamp", ""), now_ms):
        return Denied("InvalidTimeStamp.Expired", 400, "Specified time stamp or date value is expired.")
    rest = {name: value for name, value in parameters.items() if name != "Signature"}
    canonical = "&".join(f"{_percent(name)}={_percent(rest[name])}" for name in sorted(rest))
    expected = _hmac_sha1(f"{config.secret}&", f"POST&%2F&{_percent(canonical)}")
    if not hmac.compare_digest(expected, parameters.get("Signature", "").encode()):
        return Denied("SignatureDoesNotMatch", 400, "Specified signature is not matched with our calculation.")
    return None


def check_queue(
    config: DirectMailConfig, method: str, raw_path: str, headers: Mapping[str, str], body: bytes, now_ms: int
) -> Denied | None:
    """None when a call of the message service passes."""
    if not config.check:
        return None
    found = _MNS.fullmatch(headers.get("Authorization", ""))
    if found is None or found[1] != config.access_key:
        return Denied("AccessIDAuthError", 403, "The AccessID you provided does not exist.")
    try:
        at_s = parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except ValueError:
        at_s = 0.0
    if abs(at_s - now_ms / 1000) > _MAX_SKEW_S:
        return Denied("TimeExpired", 408, "The http request you sent is expired.")
    digest = headers.get("Content-MD5", "")
    if body and digest != b64encode(md5(body, usedforsecurity=False).hexdigest().encode()).decode():
        return Denied("InvalidDigest", 400, "The Content-MD5 you specified is invalid.")
    own = sorted((name.lower(), value) for name, value in headers.items() if name.lower().startswith("x-mns-"))
    lines = [method, digest, headers.get("Content-Type", "") if body else "", headers.get("Date", "")]
    lines += [f"{name}:{value}" for name, value in own]
    if not hmac.compare_digest(_hmac_sha1(config.secret, "\n".join([*lines, raw_path])), found[2].encode()):
        return Denied("SignatureDoesNotMatch", 403, "The request signature we calculated does not match yours.")
    return None


def _check_acs3(
    config: DirectMailConfig, raw_path: str, headers: Mapping[str, str], body: bytes, now_ms: int
) -> Denied | None:
    found = _ACS3.fullmatch(headers["Authorization"])
    assert found is not None  # its key was found in it
    if not _is_fresh(headers.get("x-acs-date", ""), now_ms):
        return Denied("InvalidTimeStamp.Expired", 400, "Specified time stamp or date value is expired.")
    hashed = sha256(body).hexdigest()
    if headers.get("x-acs-content-sha256") != hashed:
        return Denied("InvalidContentSha256", 400, "The hash of the body does not match.")
    path, _, query = raw_path.partition("?")
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    named = "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in found[2].split(";"))
    canonical = "\n".join(
        ["POST", path, "&".join(f"{_percent(k)}={_percent(v)}" for k, v in pairs), named, found[2], hashed]
    )
    to_sign = f"ACS3-HMAC-SHA256\n{sha256(canonical.encode()).hexdigest()}"
    expected = hmac.digest(config.secret.encode(), to_sign.encode(), "sha256").hex()
    if not hmac.compare_digest(expected, found[3]):
        return Denied("SignatureDoesNotMatch", 400, "Specified signature is not matched with our calculation.")
    return None


def _is_fresh(stamp: str, now_ms: int) -> bool:
    try:
        moment = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(moment.timestamp() - now_ms / 1000) <= _MAX_SKEW_S


def _percent(text: str) -> str:
    return quote(text, safe="~")


def _hmac_sha1(key: str, text: str) -> bytes:
    return b64encode(hmac.digest(key.encode(), text.encode(), "sha1"))
