"""One file of an allowed bucket, read with the worker's own credentials (boto3's chain), in a thread."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from streams.attachments.guard import Bucket, Refused
from streams.attachments.https import File

_CHUNK = 256 * 1024
_PASSING = frozenset({"500", "502", "503", "504", "InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"})


class S3Files:
    """``endpoint`` is empty for AWS itself. The client is made at the first use."""

    def __init__(self, region: str = "", endpoint: str = "") -> None:
        self._region = region
        self._endpoint = endpoint
        self._client: Any = None

    async def fetch(self, target: Bucket, max_bytes: int, deadline_s: float) -> File | Refused:
        """The object, or why not; the thread ends by itself at the deadline."""
        return await asyncio.to_thread(self._fetch, target, max_bytes, deadline_s)

    def _fetch(self, target: Bucket, max_bytes: int, deadline_s: float) -> File | Refused:
        from botocore.exceptions import BotoCoreError, ClientError

        until_s = time.monotonic() + deadline_s
        version = {"VersionId": target.version} if target.version else {}
        try:
            found = self._connected(deadline_s).get_object(Bucket=target.bucket, Key=target.key, **version)
            with found["Body"] as body:
                if found.get("ContentLength", 0) > max_bytes:
                    return Refused(f"has more than {max_bytes} bytes")
                data = bytearray()
                while chunk := body.read(_CHUNK):
                    data += chunk
                    if len(data) > max_bytes:
                        return Refused(f"has more than {max_bytes} bytes")
                    if time.monotonic() > until_s:
                        return Refused("took too long", again=True)
        except ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
            return Refused(f"was answered with {code or 'an error'}", again=code in _PASSING)
        except (BotoCoreError, OSError, ValueError) as exc:
            return Refused(f"cannot be read from S3 ({type(exc).__name__})", again=True)
        return File(bytes(data), str(found.get("ContentType", "")))

    def _connected(self, deadline_s: float) -> Any:
        if self._client is None:
            from boto3.session import Session
            from botocore.config import Config

            config = Config(connect_timeout=deadline_s, read_timeout=deadline_s, retries={"total_max_attempts": 2})
            self._client = Session().client(
                "s3", region_name=self._region or None, endpoint_url=self._endpoint or None, config=config
            )
        return self._client
