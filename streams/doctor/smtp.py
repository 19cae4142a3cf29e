"""An SMTP server: can it be reached, is its certificate right, does it take the login. Nothing is sent."""

from __future__ import annotations

from streams.doctor.finding import Finding, bad, good
from streams.providers._smtp.opening import NotOpened, open_wire
from streams.providers._smtp.server import Tls
from streams.providers._smtp.stages import Stage
from streams.providers.smtp import Smtp
from streams.providers.smtp.config import Service


async def check_smtp(name: str, adapter: Smtp) -> list[Finding]:
    """Findings about one server and account."""
    config, server = adapter.config, adapter.config.server
    check, where = f"{name} credentials", f"{server.host}:{server.port}"
    try:
        wire = await open_wire(server)
    except NotOpened as exc:
        said = f"{exc.reply.code} {exc.reply.text}" if exc.reply is not None else exc.detail
        return [bad(check, f"{where} refuses at {exc.stage.value}: {said[:160]}", _advice(name, exc))]
    offers = ", ".join(sorted(word for word in wire.offers if word in _OF_INTEREST)) or "no extensions"
    wire.close(politely=True)
    login = f"login {config.username} is accepted" if config.username else "no login is configured"
    findings = [good(check, f"{where}: {login}; {offers}")]
    if server.tls is Tls.NONE:
        advice = f'set [providers.{name}] tls = "starttls" or "implicit"'
        findings.append(bad(f"{name} encryption", "mail and password go over the network in the clear", advice))
    if config.known_service is Service.PLAIN and not config.return_path:
        advice = f"set [providers.{name}] return_path to a domain or mailbox whose bounces we read"
        findings.append(
            bad(f"{name} bounces", "they go to the sender's address, where nobody reads them for us", advice)
        )
    return findings


_OF_INTEREST = frozenset({"pipelining", "8bitmime", "smtputf8", "size", "dsn"})


def _advice(name: str, exc: NotOpened) -> str:
    match exc.stage:
        case Stage.LOGIN:
            return f"check [providers.{name}] username and password"
        case Stage.TLS:
            return f"check [providers.{name}] host, port, tls and ca_file: the certificate must be for this host"
        case _:
            return f"check [providers.{name}] host and port, and whether the network lets this machine connect there"
