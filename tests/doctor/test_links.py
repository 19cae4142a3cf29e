"""The doctor asks a real ingress for a page of ours, with the right key, the wrong one, and where there is none."""

from __future__ import annotations

from dataclasses import replace

import aiohttp.web

from streams.doctor.links import check_links
from streams.ingress import running
from streams.providers._http import HttpExchange
from streams.settings import IngressSettings, KafkaSettings, Profile, Secret, Settings, TrackingSettings

KEY, OTHER = Secret("a key for the doctor's test"), Secret("another key, of last year")


def settings_with(public_url: str, *secrets: Secret) -> Settings:
    return Settings(
        kafka=KafkaSettings(bootstrap="127.0.0.1:1", profile=Profile.EMBEDDED),
        ingress=IngressSettings(port=0, drain_timeout_s=0.1),
        tracking=TrackingSettings(public_url=public_url, secrets=secrets),
    )


async def look(settings: Settings) -> tuple[bool, str]:
    exchange = HttpExchange()
    try:
        (finding,) = await check_links(settings, exchange)
    finally:
        await exchange.aclose()
    return finding.ok, finding.detail


async def test_links_that_work_and_keys_that_differ_are_told_apart() -> None:
    served = settings_with("https://t.example.com", KEY)
    async with running(served, {}) as (host, port):
        base = f"http://{host}:{port}"
        assert await look(settings_with(base, KEY)) == (True, f"{base}/t/ answers, and knows the key")
        ok, detail = await look(settings_with(base, OTHER, KEY))
        assert not ok
        assert "does not know the first key" in detail


async def test_an_ingress_without_links_and_a_place_that_is_none_are_found(unused_port: int) -> None:
    off = settings_with("", KEY)
    async with running(off, {}) as (host, port):
        assert "answers 404, not as an ingress does" in (await look(settings_with(f"http://{host}:{port}", KEY)))[1]
    assert "does not answer" in (await look(settings_with(f"http://127.0.0.1:{unused_port}", KEY)))[1]


async def test_a_foreign_page_is_no_ingress() -> None:
    async def anything(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
        return aiohttp.web.Response(text="welcome")

    runner = aiohttp.web.ServerRunner(aiohttp.web.Server(anything))
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    assert "answers 200, not as an ingress does" in (await look(settings_with(f"http://{host}:{port}", KEY)))[1]
    await runner.cleanup()


async def test_where_tracking_is_off_nothing_is_asked() -> None:
    settings = replace(settings_with("https://t.example.com", KEY), tracking=TrackingSettings())
    assert await check_links(settings, HttpExchange()) == []
