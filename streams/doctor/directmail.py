"""DirectMail: whether its keys are accepted, and whether its notifications can come home.

A send without a recipient is asked for: it is refused as incomplete, but only after the signature has been accepted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from streams.doctor.finding import Finding, bad, good
from streams.pollers.mns import MnsSource
from streams.pollers.source import SourceUnavailable
from streams.providers._payload import detail, json_object, text
from streams.providers.base import Exchange, HttpResponse, NoResponse
from streams.providers.directmail import DirectMail
from streams.providers.directmail.response import Fate, fate_of
from streams.providers.directmail.signing import post

_DEADLINE_S = 10.0
_INCOMPLETE = {"AddressType": "1", "ReplyToAddress": "false"}


async def check_directmail(name: str, adapter: DirectMail, exchange: Exchange, now_ms: int) -> list[Finding]:
    """All findings about one configured account."""
    found: list[Finding] = []
    if adapter.config.access_key_id:
        request = post(adapter.config, "SingleSendMail", _INCOMPLETE, f"doctor-{now_ms}", now_ms)
        found.append(_credentials(name, adapter, await exchange(request, _DEADLINE_S)))
    found += _ways_home(name, adapter)
    found += [finding async for finding in _queue(name, adapter)]
    return found


def _credentials(name: str, adapter: DirectMail, answer: HttpResponse | NoResponse) -> Finding:
    check, endpoint = f"{name} credentials", adapter.config.endpoint
    if isinstance(answer, NoResponse):
        advice = f"check the network from here, and [providers.{name}] region or endpoint_url"
        return bad(check, f"no answer from {endpoint}: {detail(answer.detail)}", advice)
    body = json_object(answer.body) or {}
    code = text(body.get("Code"), 128)
    said = f"{code or answer.status}: {detail(body.get('Message'))}"
    fate, _ = fate_of(code, answer.status)
    if fate is Fate.HOLD:
        advice = (
            f"check [providers.{name}] access_key_id and access_key_secret, the key's permission for DirectMail, the "
            "region, and this machine's clock"
        )
        return bad(check, f"DirectMail refuses them: {said}", advice)
    if fate in (Fate.REJECT, Fate.BAD_RECIPIENT) and code:
        return good(check, f"accepted in {adapter.config.region}")
    return bad(check, f"unexpected answer: {said}", f"check [providers.{name}] region or endpoint_url, and try again")


def _ways_home(name: str, adapter: DirectMail) -> Iterator[Finding]:
    config, check = adapter.config, f"{name} notifications"
    if config.topics:
        yield good(check, f"{len(config.topics)} topic(s) may push")
    elif config.push_secret:
        yield good(check, "pushes with the secret are taken")
    elif config.mns_queue:
        yield good(check, "from the queue alone")
    else:
        advice = f'set [providers.{name}] topics = ["ACCOUNT-ID/TOPIC-NAME"], or mns_queue'
        yield bad(check, "no topic is allowed and there is no queue: nobody tells what became of a message", advice)


async def _queue(name: str, adapter: DirectMail) -> AsyncIterator[Finding]:
    access = adapter.queue
    if access is None:
        return
    source = MnsSource(name, access, adapter.config, "", 1)
    try:
        waiting = await source.waiting()
    except SourceUnavailable as exc:
        advice = f"check [providers.{name}] mns_queue, mns_account_id, region and credentials"
        yield bad(f"{name} queue", f"{access.endpoint}/queues/{access.queue}: {exc}", advice)
    else:
        yield good(f"{name} queue", f"{waiting.items:,} messages wait; they are fetched by `streams poll`")
    finally:
        await source.aclose()
