"""Signs requests to AWS (Signature Version 4) with botocore's signer and credential chain.

Rules:

1. Credentials are looked up once and refreshed by botocore; the first look-up may block (see :meth:`Signer.prepare`).
2. A path is signed as it will stand on the wire: the HTTP client writes ``%40`` as ``@``, and AWS would not agree.
3. A request that cannot be signed goes out unsigned: AWS refuses it, and the refusal holds the account like any other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from yarl import URL

from streams.providers.base import HttpRequest
from streams.providers.ses.config import Config


class Signer:
    """The credentials of one account."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._credentials: Any = None

    def prepare(self) -> None:
        """Look the credentials up (blocking); raises ValueError if there are none."""
        if self._frozen() is None:
            raise ValueError("no AWS credentials: set access_key_id and secret_access_key, or use AWS's own chain")

    def forget(self) -> None:
        """Look the credentials up again at the next request: AWS called them expired or unknown."""
        self._credentials = None

    @property
    def ready(self) -> bool:
        """Whether credentials are at hand without looking them up."""
        return self._credentials is not None or bool(self._config.access_key_id)

    def expires_ms(self) -> int:
        """When temporary credentials end (botocore renews its own before that); 0 for lasting ones."""
        ends: datetime | None = getattr(self._credentials, "_expiry_time", None)
        return int(ends.timestamp() * 1000) if ends is not None else 0

    def sign(self, request: HttpRequest, service: str, region: str) -> HttpRequest:
        """``request`` with its ``Authorization``; as it is if there are no credentials."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        frozen = self._frozen()
        if frozen is None:
            return request
        url = _as_sent(request.url)
        signed = AWSRequest(request.method, url, headers=dict(request.headers), data=request.body)
        SigV4Auth(frozen, service, region).add_auth(signed)
        headers = tuple((name.lower(), str(value)) for name, value in signed.headers.items())
        return HttpRequest(request.method, url, headers, request.body)

    def _frozen(self) -> Any:
        from botocore.exceptions import BotoCoreError

        try:
            if self._credentials is None:
                self._credentials = self._look_up()
            return self._credentials.get_frozen_credentials() if self._credentials else None
        except BotoCoreError:
            self._credentials = None
            return None

    def _look_up(self) -> Any:
        from botocore.credentials import Credentials
        from botocore.session import get_session

        config = self._config
        if config.access_key_id:
            return Credentials(config.access_key_id, config.secret_access_key, config.session_token or None)
        return get_session().get_credentials()


def _as_sent(url: str) -> str:
    """``url`` with its path as aiohttp's URLs write it; the query is canonical to AWS however it is written."""
    if "%" not in url:
        return url
    address, mark, query = url.partition("?")
    return f"{URL(address)}{mark}{query}"
