"""Files of buckets, from a real look-alike of S3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streams.attachments import Fetcher, FetcherConfig
from streams.core.message import Attachment


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    from boto3.session import Session

    client = Session().client("s3", endpoint_url=s3)
    client.create_bucket(Bucket="invoices")
    client.put_object(Bucket="invoices", Key="2026/Mai ä.pdf", Body=b"%PDF", ContentType="application/pdf")
    client.put_object(Bucket="invoices", Key="secret.pdf", Body=b"%PDF")
    return client


async def fetch(endpoint: str, url: str, **config: Any) -> tuple[Attachment, ...] | str:
    values = {
        "s3_buckets": ("invoices/2026",),
        "s3_endpoint": endpoint,
        "s3_region": "us-east-1",
        "deadline_s": 10,
        **config,
    }
    one = Fetcher(FetcherConfig(**values))
    try:
        return await one.fetch([Attachment("a.pdf", "application/octet-stream", url=url)])
    finally:
        await one.close()


async def test_an_object_of_an_allowed_bucket_is_read(s3: str, bucket: Any) -> None:
    found = await fetch(s3, "s3://invoices/2026/Mai ä.pdf")
    assert found == (Attachment("a.pdf", "application/pdf", b"%PDF"),)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://invoices/secret.pdf", "does not allow"),
        ("s3://other/2026/a.pdf", "does not allow"),
        ("s3://invoices/2026/missing.pdf", "NoSuchKey"),
    ],
)
async def test_an_object_that_may_not_be_read_or_is_not_there_says_so(
    s3: str, bucket: Any, url: str, said: str
) -> None:
    found = await fetch(s3, url)
    assert isinstance(found, str)
    assert said in found


async def test_a_large_object_is_refused(s3: str, bucket: Any) -> None:
    assert await fetch(s3, "s3://invoices/2026/Mai ä.pdf", max_bytes=3) == "attachments[0].url has more than 3 bytes"


async def test_without_allowed_buckets_nothing_is_read(s3: str, bucket: Any) -> None:
    found = await fetch(s3, "s3://invoices/2026/Mai ä.pdf", s3_buckets=())
    assert isinstance(found, str)
    assert "s3_buckets does not allow" in found
