"""Providers: credentials they accept, keys that verify their webhooks, accounts that may send, clocks that agree.

A provider is asked with calls that send nothing: Mailgun with an empty message, which it refuses as incomplete only
after it has accepted key and domain (sending keys may ask nothing else); SES with GetAccount; DirectMail with a send
without a recipient; SMTP with a login.
"""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from email.utils import parsedate_to_datetime

from streams.core.message import Stream
from streams.doctor.directmail import check_directmail
from streams.doctor.finding import Finding, bad, good
from streams.doctor.queues import check_sqs
from streams.doctor.smtp import check_smtp
from streams.providers.base import (
    ChecksItself,
    EventsPage,
    Exchange,
    HttpRequest,
    HttpResponse,
    NoResponse,
    Provider,
)
from streams.providers.directmail import DirectMail
from streams.providers.mailgun import Mailgun
from streams.providers.ses import Ses
from streams.providers.smtp import Smtp

_DEADLINE_S = 10.0
_SKEW_S = 60.0
_TOPIC_ARN = re.compile(r"arn:aws(?:-cn|-us-gov)?:sns:[a-z]{2}(?:-[a-z]+)+-\d:\d{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?")


async def check_provider(name: str, adapter: Provider, exchange: Exchange, now_ms: int) -> list[Finding]:
    """All findings about one configured account."""
    if isinstance(adapter, Mailgun):
        return [finding async for finding in _mailgun(name, adapter, exchange, now_ms)]
    if isinstance(adapter, Ses):
        return [finding async for finding in _ses(name, adapter, exchange, now_ms)]
    if isinstance(adapter, DirectMail):
        return await check_directmail(name, adapter, exchange, now_ms)
    if isinstance(adapter, Smtp):
        return await check_smtp(name, adapter)
    if isinstance(adapter, ChecksItself):
        return [
            Finding(f"{name} {found.what}", not found.advice, found.detail, found.advice)
            for found in await adapter.check(exchange, now_ms)
        ]
    return []


async def _mailgun(name: str, adapter: Mailgun, exchange: Exchange, now_ms: int) -> AsyncIterator[Finding]:
    config = adapter.config
    key = b64encode(f"api:{config.api_key}".encode()).decode("ascii")
    form = ("content-type", "application/x-www-form-urlencoded")
    url = f"{config.base_url}/v3/{config.domain}/messages"
    request = HttpRequest("POST", url, (("authorization", f"Basic {key}"), form), b"")
    answer = await exchange(request, _DEADLINE_S)
    yield _mailgun_credentials(name, adapter, answer)
    for finding in _clock(name, answer, now_ms):
        yield finding
    if config.signing_keys:
        yield good(f"{name} webhook key", f"{len(config.signing_keys)} signing key(s)")
    else:
        advice = (
            f"copy the HTTP webhook signing key from Mailgun's API security page and set [providers.{name}] "
            'signing_keys = ["env:MAILGUN_SIGNING_KEY"]'
        )
        yield bad(f"{name} webhook key", "there is no signing key: every webhook will be refused", advice)
    if adapter.events_source:
        yield _mailgun_events(name, adapter, await exchange(adapter.events_request(now_ms - 1000, now_ms), _DEADLINE_S))
    if config.test_mode:
        advice = f"take [providers.{name}] test_mode out where mail shall reach anybody"
        yield bad(f"{name} test mode", "Mailgun accepts (and bills) messages and delivers none", advice)


def _mailgun_events(name: str, adapter: Mailgun, answer: HttpResponse | NoResponse) -> Finding:
    check = f"{name} events"
    page = adapter.read_events_page(answer, 0)
    if isinstance(page, EventsPage):
        return good(check, "can be read: doubtful sends are settled, lost webhooks are made up for")
    advice = f"set [providers.{name}] events_key to a key that may read events, or fill_gaps = false"
    return bad(check, f"the events cannot be read ({page.detail})", advice)


def _mailgun_credentials(name: str, adapter: Mailgun, answer: HttpResponse | NoResponse) -> Finding:
    check, config = f"{name} credentials", adapter.config
    if isinstance(answer, NoResponse):
        return _no_answer(check, name, config.base_url, answer)
    if answer.status == 400:
        return good(check, f"key and domain {config.domain} are accepted")
    if answer.status == 404:
        advice = f"correct [providers.{name}] domain, or base_url: a domain lives in one region (US or EU) only"
        return bad(check, f"there is no domain {config.domain} at {config.base_url}", advice)
    if answer.status in (401, 402, 403):
        advice = f"check [providers.{name}] api_key, its domain, and the account's plan and state at Mailgun"
        return bad(check, f"Mailgun refuses the key ({answer.status}): {_excerpt(answer)}", advice)
    advice = f"check [providers.{name}] base_url, and Mailgun's status page"
    return bad(check, f"unexpected answer {answer.status}: {_excerpt(answer)}", advice)


async def _ses(name: str, adapter: Ses, exchange: Exchange, now_ms: int) -> AsyncIterator[Finding]:
    try:
        await asyncio.to_thread(adapter.prepare)
    except ValueError as exc:
        advice = f"set [providers.{name}] access_key_id and secret_access_key, or give this process an AWS role"
        yield bad(f"{name} credentials", str(exc), advice)
    else:
        answer = await exchange(adapter.quota_request(now_ms), _DEADLINE_S)
        for finding in (*_ses_account(name, adapter, answer), *_clock(name, answer, now_ms)):
            yield finding
    yield _topic_arns(name, adapter)
    async for finding in check_sqs(name, adapter):
        yield finding
    if not adapter.config.configuration_set and len(adapter.config.configuration_sets) < len(Stream):
        advice = f"set [providers.{name}] configuration_set to one with an SNS event destination"
        yield bad(f"{name} events", "without a configuration set SES publishes no events", advice)


def _ses_account(name: str, adapter: Ses, answer: HttpResponse | NoResponse) -> Iterator[Finding]:
    check = f"{name} credentials"
    if isinstance(answer, NoResponse):
        yield _no_answer(check, name, adapter.config.endpoint, answer)
        return
    if answer.status != 200:
        advice = (
            f"check [providers.{name}] access_key_id, secret_access_key and region; the identity needs the permission "
            "ses:GetAccount besides ses:SendEmail and ses:SendBulkEmail"
        )
        yield bad(check, f"SES refuses them ({answer.status}): {_excerpt(answer)}", advice)
        return
    yield good(check, f"accepted in {adapter.config.region}")
    account = json.loads(answer.body)
    if account.get("ProductionAccessEnabled") is False:
        advice = "ask AWS for production access (SES console); until then only verified addresses can be mailed"
        yield bad(f"{name} account", "the account is in SES's sandbox mode", advice)
    elif account.get("SendingEnabled") is False or account.get("EnforcementStatus") == "SHUTDOWN":
        status = account.get("EnforcementStatus", "unknown")
        advice = "look for AWS's mail about it, resolve it, and enable sending again (SES console)"
        yield bad(f"{name} account", f"sending is paused (enforcement status {status})", advice)
    elif account.get("EnforcementStatus") == "PROBATION":
        advice = "bring bounce and complaint rates down before AWS stops the account"
        yield bad(f"{name} account", "the account is under review", advice)
    else:
        quota = adapter.read_quota(answer)
        rate = f", {quota.max_send_rate:,.0f} messages/s" if quota else ""
        yield good(f"{name} account", f"in production{rate}")


def _topic_arns(name: str, adapter: Ses) -> Finding:
    check, arns = f"{name} topics", adapter.config.topic_arns
    malformed = [arn for arn in arns if not _TOPIC_ARN.fullmatch(arn)]
    if not arns and adapter.config.sqs_queue_url:
        return good(check, "none: only raw delivery and EventBridge are taken from the queue")
    if not arns:
        advice = f'set [providers.{name}] topic_arns = ["arn:aws:sns:REGION:ACCOUNT:TOPIC"]'
        return bad(check, "no SNS topic is allowed: every webhook will be refused", advice)
    if malformed:
        advice = f"copy the topic's ARN from the SNS console to [providers.{name}] topic_arns"
        return bad(check, f"not an SNS topic ARN: {', '.join(malformed)}", advice)
    return good(check, f"{len(arns)} allowed")


def _clock(name: str, answer: HttpResponse | NoResponse, now_ms: int) -> Iterator[Finding]:
    """Signatures, windows and due times hang on the clock; the provider's is taken to be right."""
    if isinstance(answer, NoResponse) or "date" not in answer.headers:
        return
    try:
        theirs = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except ValueError:
        return
    skew_s = now_ms / 1000 - theirs
    if abs(skew_s) > _SKEW_S:
        way = "ahead of" if skew_s > 0 else "behind"
        advice = "synchronise this machine's clock (chrony, systemd-timesyncd)"
        yield bad("clock", f"this machine is {abs(skew_s):.0f} s {way} {name}", advice)
    else:
        yield good("clock", f"within {_SKEW_S:g} s of {name}")


def _no_answer(check: str, name: str, url: str, answer: NoResponse) -> Finding:
    advice = f"check the network and name resolution of this machine, and the address in [providers.{name}]"
    return bad(check, f"no answer from {url}: {answer.detail}", advice)


def _excerpt(answer: HttpResponse) -> str:
    return " ".join(answer.body[:160].decode("utf-8", "replace").split())
