"""Whether recipients reach our own links, and whether the ingress there has this configuration's keys."""

from __future__ import annotations

from streams.doctor.finding import Finding, bad, good
from streams.providers.base import Exchange, HttpRequest, HttpResponse
from streams.settings import Settings
from streams.tracking.setup import keyring_of
from streams.tracking.tokens import Origin, Purpose, seal_origin

_DEADLINE_S = 5.0
_NOBODY = f"{'a' * 20}-{'a' * 20}"


async def check_links(settings: Settings, exchange: Exchange) -> list[Finding]:
    """Looks at a page to unsubscribe nobody, which changes nothing; nothing if tracking is off."""
    ring = keyring_of(settings)
    if ring is None:
        return []
    check, base = "links of our own", settings.tracking.public_url.rstrip("/")
    token = seal_origin(ring, Purpose.UNSUBSCRIBE, Origin(_NOBODY, 0, 0))
    answer = await exchange(HttpRequest("GET", f"{base}/t/{Purpose.UNSUBSCRIBE}/{token}"), _DEADLINE_S)
    advice = "start `streams ingress`, and pass /t/ to it in the proxy that speaks TLS for it"
    if not isinstance(answer, HttpResponse):
        return [bad(check, f"{base}/t/ does not answer: {answer.detail}", advice)]
    page = answer.headers.get("content-security-policy", "") != ""
    if answer.status == 404 and page:
        advice = "give ingress and workers the same [tracking] secrets, and restart them"
        return [bad(check, f"the ingress at {base} does not know the first key of [tracking] secrets", advice)]
    if answer.status != 200 or not page:
        return [bad(check, f"{base}/t/ answers {answer.status}, not as an ingress does", advice)]
    return [good(check, f"{base}/t/ answers, and knows the key")]
