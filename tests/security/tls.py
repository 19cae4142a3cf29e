"""An authority of our own, and an HTTPS server that shows what it is told to show."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates of servers."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def trusted(self) -> ssl.SSLContext:
        """What trusts this authority and no other."""
        return ssl.create_default_context(cadata=self.certificate.public_bytes(Encoding.PEM).decode())

    def server(self, *names: str, begins: timedelta = -DAY, ends: timedelta = DAY, alone: bool = False) -> bytes:
        """Key and certificate of a server, as PEM; ``alone`` is self-signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _built(names[0], key, None if alone else self, begins, ends, ca=False, names=names)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return private + built.public_bytes(Encoding.PEM)


@cache
def authority(name: str = "ours") -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(key, _built(name, key, None, -DAY, DAY, ca=True))


def _built(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: Authority | None,
    begins: timedelta,
    ends: timedelta,
    *,
    ca: bool,
    names: tuple[str, ...] = (),
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
    return builder.sign(issuer.key if issuer else key, SHA256())


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


@dataclass
class Host:
    """A running server; ``asked`` are the paths that got through its TLS."""

    port: int = 0
    asked: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def serving(
    folder: Path, pem: bytes, answer: Callable[[web.Request], web.StreamResponse | None]
) -> AsyncIterator[Host]:
    """On the loopback with this key and certificate; empty ``pem`` serves without TLS."""
    host = Host()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        host.asked.append(request.path)
        return answer(request) or web.Response(status=404)  # type: ignore[arg-type]

    context = None
    if pem:
        (folder / "server.pem").write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        host.port = runner.addresses[0][1]
        yield host
    finally:
        await runner.cleanup()
