"""Signing calls of Alibaba Cloud's RPC interfaces, in both ways there are.

``1.0``   HMAC-SHA1 over the method and all parameters, sorted; the signature is one more parameter.
``acs3``  HMAC-SHA256 over method, path, query, named headers and the hash of the body; the signature is a header.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, urlencode, urlsplit

from streams.providers.base import HttpRequest
from streams.providers.directmail.config import Config

VERSION = "2015-11-23"

_FORM = "application/x-www-form-urlencoded"


def post(config: Config, action: str, parameters: Mapping[str, str], nonce: str, now_ms: int) -> HttpRequest:
    """The signed POST of an action; its parameters travel in the body, which may be large."""
    moment = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if config.signature == "acs3":
        return _acs3(config, action, parameters, nonce, moment)
    return _rpc(config, action, parameters, nonce, moment)


def percent(text: str) -> str:
    """RFC 3986 percent-encoding of everything but unreserved characters."""
    return quote(text.encode("utf-8", "replace"), safe="~")


def rpc_signature(method: str, parameters: Mapping[str, str], secret: str) -> str:
    """Base64 of HMAC-SHA1 over ``METHOD&%2F&…`` with the key ``secret&``."""
    canonical = "&".join(f"{percent(name)}={percent(parameters[name])}" for name in sorted(parameters))
    to_sign = f"{method}&{percent('/')}&{percent(canonical)}"
    return b64encode(hmac.digest(f"{secret}&".encode(), to_sign.encode(), "sha1")).decode("ascii")


def _rpc(config: Config, action: str, parameters: Mapping[str, str], nonce: str, moment: str) -> HttpRequest:
    every = {
        **parameters,
        "Action": action,
        "Format": "JSON",
        "Version": VERSION,
        "AccessKeyId": config.access_key_id,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": nonce,
        "Timestamp": moment,
    }
    if config.security_token:
        every["SecurityToken"] = config.security_token
    every["Signature"] = rpc_signature("POST", every, config.access_key_secret)
    body = urlencode(every, errors="replace").encode("ascii")
    return HttpRequest("POST", f"{config.endpoint}/", (("content-type", _FORM),), body)


def _acs3(config: Config, action: str, parameters: Mapping[str, str], nonce: str, moment: str) -> HttpRequest:
    body = urlencode(parameters, errors="replace").encode("ascii")
    hashed = sha256(body).hexdigest()
    signed = {
        "content-type": _FORM,
        "host": urlsplit(config.endpoint).netloc,
        "x-acs-action": action,
        "x-acs-content-sha256": hashed,
        "x-acs-date": moment,
        "x-acs-signature-nonce": nonce,
        "x-acs-version": VERSION,
    }
    if config.security_token:
        signed["x-acs-security-token"] = config.security_token
    names = sorted(signed)
    headers = "".join(f"{name}:{signed[name]}\n" for name in names)
    canonical = f"POST\n/\n\n{headers}\n{';'.join(names)}\n{hashed}"
    to_sign = f"ACS3-HMAC-SHA256\n{sha256(canonical.encode()).hexdigest()}"
    signature = hmac.digest(config.access_key_secret.encode(), to_sign.encode(), "sha256").hex()
    credential = f"Credential={config.access_key_id},SignedHeaders={';'.join(names)},Signature={signature}"
    sent = tuple((name, signed[name]) for name in names if name != "host")
    return HttpRequest(
        "POST",
        f"{config.endpoint}/",
        (*sent, ("accept", "application/json"), ("authorization", f"ACS3-HMAC-SHA256 {credential}")),
        body,
    )
