"""Which URLs and which network addresses may be asked for a file. Pure.

Rules:

1. Only https, on port 443; another port, and an address that is not public, only for hosts that the operator names.
2. What is judged is the address that is connected to, after the name was resolved, for every redirect anew: what a name
   meant a moment ago proves nothing (DNS rebinding).
3. A host is judged as the client reads it: full-width digits and dots make an address too.
4. An IPv6 address that stands for an IPv4 one (mapped, 6to4, Teredo, NAT64) is judged by both; what is not in the one
   block that is given to the public (2000::/3) is not public, whatever else it once was meant for.
5. From S3 only what the operator allows is read, for it is read with the worker's own rights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote_plus, urljoin, urlsplit

from yarl import URL

_HTTPS = 443
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")  # RFC 4291 §2.4, as IANA gives it out: site-local fec0::/10 is none of it
_EXAMPLES = IPv6Network("3fff::/20")  # RFC 9637, not known to every Python


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not, or cannot, be fetched; ``why`` goes on with the sentence. ``again``: another try may succeed."""

    why: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Web:
    """A file behind https. ``allowed``: the operator names this host, whatever its address."""

    url: str
    host: str
    port: int
    allowed: bool


@dataclass(frozen=True, slots=True)
class Bucket:
    """A file in S3."""

    bucket: str
    key: str
    version: str = ""


def target_of(url: str, allow_hosts: Iterable[str], s3_buckets: Iterable[str]) -> Web | Bucket | Refused:
    """What a URL asks for, if it may."""
    return _bucket_of(url, s3_buckets) if url.lower().startswith("s3://") else web_of(url, allow_hosts)


def web_of(url: str, allow_hosts: Iterable[str]) -> Web | Refused:
    """The same for https alone: what a redirect may lead to."""
    if not url.isprintable() or " " in url or "\\" in url:
        return Refused("is no URL")
    try:
        parts = urlsplit(url)
        host = (URL(url).raw_host or "").rstrip(".").lower()  # as it is connected to
        port = _HTTPS if parts.port is None else parts.port
    except ValueError:
        return Refused("is no URL")
    if parts.scheme.lower() != "https":
        return Refused("leads to something else than https")
    if not host:
        return Refused("names no host")
    if "@" in parts.netloc:
        return Refused("holds a user or password")
    known = {name.lower() for name in allow_hosts}
    allowed = host in known or f"{host}:{port}" in known
    if port != _HTTPS and not allowed:
        return Refused(f"names port {port}; only {_HTTPS} is asked")
    if not allowed and (literal := _literal(host)) is not None and not is_public(literal):
        return Refused("leads to an address that is not public")
    return Web(parts._replace(fragment="").geturl(), host, port, allowed)


def redirected(target: Web, place: str, allow_hosts: Iterable[str]) -> Web | Refused:
    """What a redirect to ``place`` asks for, if it may."""
    try:
        url = urljoin(target.url, place)
    except ValueError:
        return Refused("is no URL")
    return web_of(url, allow_hosts)


def is_public(address: str) -> bool:
    """Whether a network address belongs to the public internet."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(map(_is_global, _meant(parsed)))


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (address not in _UNICAST or address in _EXAMPLES):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _meant(address: IPv4Address | IPv6Address) -> Iterable[IPv4Address | IPv6Address]:
    """The address, or those that it stands for."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    if int(address) >> 32 == 0:  # ::a.b.c.d, long deprecated, still routed by some
        return (address, IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        return (address, address.sixtofour)
    return (address, *address.teredo) if address.teredo is not None else (address,)


def _literal(host: str) -> str | None:
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        return None


def _bucket_of(url: str, s3_buckets: Iterable[str]) -> Bucket | Refused:
    bucket, _, rest = url[len("s3://") :].partition("/")
    key, _, query = rest.partition("?versionId=")
    if not bucket or not key:
        return Refused("names no bucket and key")
    if ".." in key.split("/") or "." in key.split("/"):
        return Refused("has a key with steps up or in place")
    for entry in s3_buckets:
        name, _, prefix = entry.strip("/").partition("/")
        if bucket == name and (not prefix or key == prefix or key.startswith(f"{prefix}/")):
            return Bucket(bucket, key, unquote_plus(query.partition("&")[0]))
    return Refused(f"names the bucket {bucket}, which [attachments] s3_buckets does not allow")
