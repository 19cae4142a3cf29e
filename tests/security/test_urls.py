"""One list of tricky URLs for everybody who is told where to go: what passes leads, for every reader, where it says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx
import idna
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from streams.attachments import Fetcher, FetcherConfig
from streams.attachments.guard import Web, is_public, redirected, web_of
from streams.core.message import Attachment
from streams.providers import _mns, _sns
from streams.providers.base import Finding, HttpRequest, HttpResponse, ListName, Question
from streams.providers.mailgun.hosts import is_same_host, storage_url
from streams.tracking.urls import is_sealed_form, trackable
from tests.providers.test_mailgun_resend import BASE, EARLIER, LETTER, NOW, QUEUED, Script, failed, mailgun
from tests.security.urls import EVIL, INNER, urls

SNS = ("sns.us-east-1.amazonaws.com", "SimpleNotificationService-0123456789abcdef.pem")
MNS = ("mnstest.oss-cn-hangzhou.aliyuncs.com", "x509_public_certificate.pem")
STORED = ("storage-us-east4.api.mailgun.net", "v3/domains/mg.example.com/messages/KEY")
API = ("api.mailgun.net", "v3/mg.example.com/events/W3siYSI6")


def readings(url: str) -> set[tuple[str, str, int | None]]:
    """Where each of the parsers that we and our clients use would go: scheme, host and port."""
    parts, ours, sent = urlsplit(url), URL(url), httpx.URL(url)
    found = [
        (parts.scheme, parts.hostname or "", parts.port),
        (ours.scheme, ours.raw_host or "", ours.explicit_port),
        (sent.scheme, sent.raw_host.decode(), sent.port),
    ]
    return {(scheme, host.rstrip("."), None if port == 443 else port) for scheme, host, port in found}


@pytest.mark.parametrize("url", [*urls(*SNS), *urls(*MNS)], ids=repr)
def test_a_signing_certificate_is_asked_of_the_service_itself_or_of_nobody(url: str) -> None:
    for found, (host, file) in ((_sns.certificate_url(url, "us-east-1"), SNS), (_mns.certificate_url(url), MNS)):
        assert found in ("", f"https://{host}/{file}")
        assert not found or readings(found) == {("https", host, None)}


@pytest.mark.parametrize("url", urls(*STORED), ids=repr)
async def test_mailguns_key_goes_to_no_other_place_than_where_messages_are_stored(url: str) -> None:
    """Mailgun's own answer is asked where a message lies; the answer is not taken for granted."""
    script = Script(failed(storage={"url": url, "key": "KEY"}), QUEUED)
    await mailgun().resend(LETTER, EARLIER, script, 30.0, NOW)
    for request in script.asked:
        ((scheme, host, port),) = readings(request.url)
        assert (scheme, port) == ("https", None)
        assert host == "api.mailgun.net" or host.endswith(f".{STORED[0]}") or host == STORED[0], "a name of Mailgun's"
    if len(script.asked) == 2:
        assert URL(script.asked[1].url).raw_path == f"/{STORED[1]}", "nor to another message or domain"
    assert storage_url(url, BASE, "mg.example.com") in ("", url)


def next_page(reader: str, url: str) -> HttpRequest | None:
    """The request that Mailgun's paging leads to."""
    answer = HttpResponse(200, {}, json.dumps({"items": [{"id": "1"}], "paging": {"next": url}}).encode())
    if reader == "list":
        return getattr(mailgun().read_list(ListName.BOUNCE, 0, answer, NOW), "next", None)
    return getattr(mailgun().read_events_page(answer, NOW), "next", None)


@pytest.mark.parametrize("reader", ["list", "events"])
@pytest.mark.parametrize("url", urls(*API), ids=repr)
def test_mailguns_key_follows_no_page_to_another_host(reader: str, url: str) -> None:
    request = next_page(reader, url)
    assert is_same_host(url, BASE) == (request is not None)
    if request is not None:
        try:
            client_goes = httpx.URL(request.url)
        except httpx.InvalidURL:
            return  # then nothing is sent
        assert (client_goes.scheme, client_goes.host, client_goes.port) == ("https", "api.mailgun.net", None)
        assert (URL(str(client_goes)).scheme, URL(str(client_goes)).raw_host) == ("https", "api.mailgun.net")


@pytest.mark.parametrize("url", urls(*API), ids=repr)
async def test_no_search_for_an_attempt_takes_the_key_to_another_host(url: str) -> None:
    asked: list[str] = []

    async def exchange(request: HttpRequest, deadline_s: float) -> HttpResponse:
        asked.append(request.url)
        page = {"items": [{"id": "1"}], "paging": {"next": url}} if len(asked) == 1 else {"items": []}
        return HttpResponse(200, {}, json.dumps(page).encode())

    entry = LETTER.entries[0]
    question = Question(entry.message_id, entry.attempt, entry.recipient.email, NOW - 600_000)
    found: Finding = await mailgun().find(question, exchange, NOW)
    assert found is not None
    for one in asked[1:]:
        assert is_same_host(one, BASE)


# ---------------------------------------------------------------------------------------------- attachments


@dataclass
class Everything(AbstractResolver):
    """Knows every name, and says that it is the loopback."""

    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        self.asked.append(host)
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None: ...


ATTACHED = urls("files.example", "a.pdf")
REFUSALS = ("not public", "no URL", "else than https", "no host", "user or password", "names port", "bucket")


@pytest.mark.parametrize("url", ATTACHED, ids=repr)
async def test_no_url_of_an_attachment_leads_into_the_network(url: str) -> None:
    """Whatever a name means (here: always the loopback), nobody is connected to."""
    names = Everything()
    fetcher = Fetcher(FetcherConfig(deadline_s=5.0), resolver=names)
    try:
        said = await fetcher.fetch([Attachment("a.pdf", "application/pdf", url=url)]) if url else "is no URL"
    finally:
        await fetcher.close()
    assert isinstance(said, str)
    assert any(word in said for word in REFUSALS), said


@pytest.mark.parametrize("through", ["url", "redirect"])
@pytest.mark.parametrize("url", ATTACHED, ids=repr)
def test_what_passes_as_an_attachment_is_one_host_for_every_reader(through: str, url: str) -> None:
    before = Web("https://files.example/b", "files.example", 443, allowed=False)
    found = web_of(url, ()) if through == "url" else redirected(before, url, ())
    if not isinstance(found, Web):
        return
    assert (found.port, found.allowed) == (443, False)
    assert URL(found.url).raw_host is not None
    assert (URL(found.url).raw_host or "").rstrip(".").lower() == found.host
    try:
        ip_address(found.host)
    except ValueError:
        return  # a name: what it means is judged when it is resolved
    assert is_public(found.host)


@pytest.mark.parametrize("host", INNER)
def test_an_inner_host_that_the_operator_names_is_just_that_host(host: str) -> None:
    """Allowing one name opens no other, and no other spelling of an address."""
    allow = ("files.internal", "minio.internal:9000")
    for port in ("", ":9000", ":8443"):
        found = web_of(f"https://{host}{port}/a", allow)
        assert not isinstance(found, Web) or (not found.allowed and found.port == 443)


# ---------------------------------------------------------------------------------------------- links in mail


def browsed(url: str) -> str:
    """The host that a browser goes to (UTS #46, line ends and tabs dropped); empty where it goes nowhere."""
    try:
        host = urlsplit("".join(c for c in url.strip() if c not in "\t\r\n")).hostname or ""
        return host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except (ValueError, UnicodeError):
        return ""


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("trick", range(len(urls("good.example", "a"))))
def test_a_link_that_leads_through_us_leads_where_it_led(scheme: str, trick: int) -> None:
    """Or it stays in the mail as it was. What is sealed is one line of ASCII with a scheme of the web and a host."""
    url = urls("good.example", "a", scheme)[trick]
    sealed = trackable(url)
    if not sealed:
        return
    assert is_sealed_form(sealed)
    assert sealed.isascii() and sealed.isprintable() and not set(' "<>\\') & set(sealed)
    assert urlsplit(sealed).scheme.lower() in ("http", "https")
    assert browsed(sealed).replace("%20", " ") == browsed(url)


BARE = [trick for trick in urls("good.example", "a") if not trick.lower().startswith(("http://", "https://"))]


@pytest.mark.parametrize("target", BARE, ids=repr)
def test_nothing_without_a_scheme_of_the_web_is_ever_a_target(target: str) -> None:
    assert not is_sealed_form(target)
    sealed = trackable(target)
    assert not sealed or sealed.lower().startswith(("http://", "https://"))
    assert not sealed or EVIL in sealed, "blanks and line ends around it are a browser's to drop"
