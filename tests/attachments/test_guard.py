from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.attachments.guard import Bucket, Refused, Web, is_public, redirected, target_of

ALLOW = ("files.internal", "minio.internal:9000")
BUCKETS = ("invoices/2026", "public")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "fec0::1", "feb0::1", "5f00::1", "3fff::1", "100::1", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "4000::1", "e000::1",
        "64:ff9b:1::8.8.8.8", "64:ff9b:1:7f00:0:100:808:808",
        "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "not an address", "",
    ],
)  # fmt: skip
def test_what_is_not_public_is_never_asked(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_what_is_public_may_be_asked(address: str) -> None:
    assert is_public(address)


@given(st.integers(0, 2**32 - 1))
def test_an_address_is_no_more_public_in_ipv6_than_in_ipv4(number: int) -> None:
    plain = IPv4Address(number)
    for text in (f"::ffff:{plain}", str(IPv6Address(int(ip_address("64:ff9b::")) + number)), f"::{plain}"):
        assert not is_public(text) or is_public(str(plain))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://files.example/a", "something else than https"),
        ("file:///etc/passwd", "something else than https"),
        ("gopher://files.example/", "something else than https"),
        ("https:///a", "names no host"),
        ("https://user:pass@files.example/a", "user or password"),
        ("https://files.example@169.254.169.254/", "user or password"),
        ("https://files.example:8443/a", "names port 8443"),
        ("https://files.example:99999/a", "is no URL"),
        ("https://files.example:0/a", "names port 0"),
        ("https://[::1/a", "is no URL"),
        ("https://files.example\\@127.0.0.1/", "is no URL"),
        ("https://files.example/a b", "is no URL"),
        ("https://files.example/a\nHost: x", "is no URL"),
        ("https://127.0.0.1/a", "not public"),
        ("https://[::1]/a", "not public"),
        ("https://[::ffff:10.0.0.1]/a", "not public"),
        ("https://169.254.169.254/latest/meta-data", "not public"),
        ("https://１２７.0.0.1/a", "not public"),
        ("https://127。0。0。1/a", "not public"),
        ("https://１６９.254.169.254/latest/meta-data", "not public"),
        ("https://𝟏27.0.0.1/a", "not public"),
        ("https://minio.internal:9001/a", "names port 9001"),
        ("s3://", "no bucket and key"),
        ("s3://invoices", "no bucket and key"),
        ("s3://secret/a", "does not allow"),
        ("s3://invoices/2025/a", "does not allow"),
        ("s3://invoices/20267/a", "does not allow"),
        ("s3://invoices/2026/../2025/a", "steps up"),
    ],
)
def test_a_url_that_may_not_be_asked_says_why(url: str, why: str) -> None:
    found = target_of(url, ALLOW, BUCKETS)
    assert isinstance(found, Refused)
    assert why in found.why


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://files.example/a?x=1#part", Web("https://files.example/a?x=1", "files.example", 443, allowed=False)),
        ("HTTPS://Files.Internal./a", Web("https://Files.Internal./a", "files.internal", 443, allowed=True)),
        ("https://files.internal:8443/a", Web("https://files.internal:8443/a", "files.internal", 8443, allowed=True)),
        ("https://minio.internal:9000/a", Web("https://minio.internal:9000/a", "minio.internal", 9000, allowed=True)),
        ("https://8.8.8.8/a", Web("https://8.8.8.8/a", "8.8.8.8", 443, allowed=False)),
        ("s3://public/a b#?.pdf", Bucket("public", "a b#?.pdf")),
        ("s3://invoices/2026/1.pdf?versionId=v1", Bucket("invoices", "2026/1.pdf", "v1")),
    ],
)
def test_a_url_that_may_be_asked_is_taken_apart(url: str, target: object) -> None:
    assert target_of(url, ALLOW, BUCKETS) == target


@given(st.text(max_size=80), st.sampled_from(["https://", "s3://", ""]))
def test_no_text_makes_it_raise(text: str, scheme: str) -> None:
    assert isinstance(target_of(scheme + text, ALLOW, BUCKETS), (Web, Bucket, Refused))


@pytest.mark.parametrize("query", ["", "&", "&x", "&v=1", "=", "%", "%ff", ";", "&&=", "a&b=c"])
def test_no_version_of_a_file_in_a_bucket_stops_the_worker(query: str) -> None:
    found = target_of(f"s3://public/a?versionId={query}", ALLOW, BUCKETS)
    assert isinstance(found, Bucket)
    assert (found.bucket, found.key) == ("public", "a")


@given(st.text(max_size=40), st.sampled_from(["https://", "https://files.internal", "s3://public/", "s3://", ""]))
def test_no_url_and_no_redirect_is_more_than_refused(text: str, begin: str) -> None:
    target_of(begin + text, ALLOW, BUCKETS)
    redirected(Web("https://files.example/a", "files.example", 443, False), begin + text, ALLOW)


def test_a_redirect_to_what_is_no_url_is_refused() -> None:
    found = redirected(Web("https://files.example/a", "files.example", 443, False), "https://[", ALLOW)
    assert found == Refused("is no URL")
