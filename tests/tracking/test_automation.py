"""Facts about automated opens and clicks, row by row: who is a proxy, who a scanner, who likely a person."""

from __future__ import annotations

import pytest

from streams.core.event import Automated
from streams.tracking.automation import Networks, Visit, label_click, label_open

NONE, PROXY, SCANNER = Automated.NONE, Automated.PROXY, Automated.SCANNER
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
NETWORKS = Networks.of(["192.0.2.0/24", "2001:db8:1::/48"], ["198.51.100.0/24"])
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("visit", "label"),
    {
        "a browser": (Visit("203.0.113.7", CHROME, age_ms=HOUR), NONE),
        "Apple Mail Privacy Protection says only Mozilla/5.0": (Visit("203.0.113.7", "Mozilla/5.0"), PROXY),
        "Apple's text with spaces": (Visit("203.0.113.7", " Mozilla/5.0 "), PROXY),
        "a real Apple device": (Visit("203.0.113.7", SAFARI), NONE),
        "Gmail's image proxy": (Visit("66.249.84.1", GMAIL), PROXY),
        "Yahoo's image proxy": (Visit("203.0.113.7", "YahooMailProxy; https://help.yahoo.com/"), PROXY),
        "a proxy's network": (Visit("192.0.2.9", CHROME), PROXY),
        "a proxy's IPv6 network": (Visit("2001:db8:1::5", CHROME), PROXY),
        "a scanner's network": (Visit("198.51.100.9", CHROME), SCANNER),
        "a browser's prefetch": (Visit("203.0.113.7", CHROME, prefetch=True), PROXY),
        "HEAD": (Visit("203.0.113.7", CHROME, head=True), SCANNER),
        "a gateway by name": (Visit("203.0.113.7", "BarracudaCentral"), SCANNER),
        "a program": (Visit("203.0.113.7", "python-requests/2.31"), SCANNER),
        "an open at once is no sign": (Visit("203.0.113.7", CHROME, age_ms=500), NONE),
        "an address that is none": (Visit("unknown", CHROME), NONE),
    }.values(),
)
def test_opens(visit: Visit, label: Automated) -> None:
    assert label_open(visit, NETWORKS) is label


@pytest.mark.parametrize(
    ("visit", "label"),
    {
        "a person": (Visit("203.0.113.7", CHROME, age_ms=HOUR), NONE),
        "a person without an open before": (Visit("203.0.113.7", SAFARI, age_ms=60_000), NONE),
        "Apple's privacy does not concern clicks": (Visit("203.0.113.7", "Mozilla/5.0", age_ms=HOUR), NONE),
        "within two seconds of hand-over": (Visit("203.0.113.7", CHROME, age_ms=1_500), SCANNER),
        "within ten seconds alone proves nothing": (Visit("203.0.113.7", CHROME, age_ms=8_000), NONE),
        "within ten seconds, without a name": (Visit("203.0.113.7", "", age_ms=8_000), SCANNER),
        "within ten seconds, three links": (Visit("203.0.113.7", CHROME, age_ms=8_000, links=3), SCANNER),
        "without a name alone proves nothing": (Visit("203.0.113.7", "", age_ms=HOUR), NONE),
        "three links of a mail within seconds": (Visit("203.0.113.7", CHROME, age_ms=HOUR, links=3), NONE),
        "most links of a mail within seconds": (Visit("203.0.113.7", CHROME, age_ms=HOUR, links=4), SCANNER),
        "HEAD": (Visit("203.0.113.7", CHROME, head=True, age_ms=HOUR), SCANNER),
        "Barracuda": (Visit("203.0.113.7", "Mozilla/5.0 (Barracuda Sentinel)", age_ms=HOUR), SCANNER),
        "Proofpoint": (Visit("203.0.113.7", "Proofpoint URL Defense", age_ms=HOUR), SCANNER),
        "Mimecast": (Visit("203.0.113.7", "Mimecast-Link-Check", age_ms=HOUR), SCANNER),
        "a program": (Visit("203.0.113.7", "Go-http-client/2.0", age_ms=HOUR), SCANNER),
        "headless": (Visit("203.0.113.7", "Mozilla/5.0 HeadlessChrome/124.0", age_ms=HOUR), SCANNER),
        "a scanner's network, with an ordinary browser (SafeLinks)": (
            Visit("198.51.100.9", CHROME, age_ms=HOUR),
            SCANNER,
        ),
        "a proxy's network is where people click from, too": (Visit("192.0.2.9", CHROME, age_ms=HOUR), NONE),
        "a browser's prefetch": (Visit("203.0.113.7", CHROME, prefetch=True, age_ms=HOUR), PROXY),
    }.values(),
)
def test_clicks(visit: Visit, label: Automated) -> None:
    assert label_click(visit, NETWORKS) is label


def test_networks_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="not appear"):
        Networks.of(["nowhere"], [])
