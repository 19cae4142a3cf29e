"""Who is likely behind an open or a click: a person, a mail reader's proxy, or a security scanner.

No single sign is proof, so signs of a click have weights and add up; an open is told by its fetcher alone. Nothing is
left out for it: events carry the label, and whoever counts decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from streams.core.event import Automated

_PROXY = re.compile(r"GoogleImageProxy|ggpht\.com|YahooMailProxy", re.IGNORECASE).search
_BARE = "Mozilla/5.0"  # Apple Mail Privacy Protection says no more than this
_GATEWAY = re.compile(
    r"barracuda|proofpoint|mimecast|ironport|fireeye|trendmicro|symantec|messagelabs|forcepoint|sophos|fortinet|zscaler"
    r"|urldefense|safelinks|bitdefender|checkpoint|cloudmark|cisco[ -]?(?:secure|email)|mailscanner",
    re.IGNORECASE,
).search
_PROGRAM = re.compile(
    r"\b(?:bot|crawler|spider|curl|wget|python|go-http-client|java|okhttp|libwww|httpclient|headless\w*|phantomjs|ruby"
    r"|node-fetch|axios|guzzle\w*|postman\w*|aiohttp|httpx|scrapy|powershell)\b",
    re.IGNORECASE,
).search

_ENOUGH = 2
_AT_ONCE_MS = 2_000
_SOON_MS = 10_000
_MANY_LINKS = 4
_SOME_LINKS = 3

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Networks:
    """Whose networks are known: from there, everything is a proxy's, or a scanner's."""

    proxies: tuple[Network, ...] = ()
    scanners: tuple[Network, ...] = ()

    @classmethod
    def of(cls, proxies: Iterable[str], scanners: Iterable[str]) -> Networks:
        """From CIDR texts; raises ValueError for what is none."""
        return cls(tuple(map(ip_network, proxies)), tuple(map(ip_network, scanners)))


@dataclass(frozen=True, slots=True)
class Visit:
    """What is known of a fetch. ``age_ms`` is the time since the mail was handed over; ``links`` how many different
    links of the mail were fetched within seconds.
    """

    ip: str = ""
    user_agent: str = ""
    head: bool = False
    prefetch: bool = False
    age_ms: int = 0
    links: int = 1


def label_open(visit: Visit, networks: Networks) -> Automated:
    """Of a pixel."""
    agent = visit.user_agent.strip()
    if visit.head or _within(visit.ip, networks.scanners) or _GATEWAY(agent) or _PROGRAM(agent):
        return Automated.SCANNER
    if visit.prefetch or agent == _BARE or _PROXY(agent) or _within(visit.ip, networks.proxies):
        return Automated.PROXY
    return Automated.NONE


def label_click(visit: Visit, networks: Networks) -> Automated:
    """Of a link."""
    agent = visit.user_agent.strip()
    if _within(visit.ip, networks.scanners):
        return Automated.SCANNER
    signs = 2 * visit.head + 2 * bool(_GATEWAY(agent)) + 2 * bool(_PROGRAM(agent))
    signs += not agent
    signs += 2 * (visit.age_ms < _AT_ONCE_MS) or 1 * (visit.age_ms < _SOON_MS)
    signs += 2 * (visit.links >= _MANY_LINKS) or 1 * (visit.links >= _SOME_LINKS)
    if signs >= _ENOUGH:
        return Automated.SCANNER
    if visit.prefetch or _PROXY(agent):
        return Automated.PROXY
    return Automated.NONE


def _within(address: str, networks: tuple[Network, ...]) -> bool:
    if not networks or not address:
        return False
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in networks)
