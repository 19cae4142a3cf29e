"""The ledger: durable before the answer, whole after a crash, continued after a restart, streamed and counted."""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64encode
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import aiohttp
import pytest

from streams.sandbox.journal import Journal
from streams.sandbox.ledger import Accepted, Ledger, Plan
from tests.sandbox import process
from tests.sandbox.conftest import START, Receiver, ledger_lines, settled

AUTH = {"Authorization": "Basic " + b64encode(b"api:key-sandbox").decode()}


async def send(http: aiohttp.ClientSession, url: str, to: str, message_id: str) -> None:
    form = {"from": "a@mg.example.com", "to": to, "text": "x", "v:message_id": message_id}
    async with http.post(f"{url}/v3/mg.example.com/messages", data=form, headers=AUTH) as answer:
        assert answer.status == 200


def test_every_answered_message_is_in_the_file_after_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    sandbox, url = process.start(path)
    answered: list[str] = []

    def keep_sending(worker: int) -> None:
        for number in range(100_000):
            name = f"m-{worker}-{number}"
            form = {"from": "a@mg.example.com", "to": "u@example.net", "text": "x", "v:message_id": name}
            try:
                request = Request(f"{url}/v3/mg.example.com/messages", urlencode(form).encode(), AUTH)
                with urlopen(request, timeout=10) as answer:
                    assert answer.status == 200
            except (URLError, OSError):
                return
            answered.append(name)

    threads = [threading.Thread(target=keep_sending, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < 200 and any(thread.is_alive() for thread in threads):
        threads[0].join(0.01)
    sandbox.kill()
    sandbox.wait(10)
    assert sandbox.stdout is not None
    sandbox.stdout.close()
    for thread in threads:
        thread.join(15)
    assert len(answered) >= 200
    whole = path.read_bytes().rpartition(b"\n")[0].splitlines()
    written = [json.loads(line)["variables"]["message_id"] for line in whole]
    assert set(answered) <= set(written)
    assert max(Counter(written).values()) == 1


async def test_a_torn_last_line_is_cut_off_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"a":1}\n{"b":2}\n{"torn":')
    journal = Journal(path)
    assert path.read_bytes() == b'{"a":1}\n{"b":2}\n'
    offset = journal.append(b'{"c":3}\n')
    assert journal.line_at(offset) is None  # not durable yet
    await journal.committed()
    assert journal.line_at(offset) == b'{"c":3}'
    await journal.close()
    assert path.read_bytes().splitlines()[2] == b'{"c":3}'


async def test_waiting_requests_share_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal")
    writes: list[bytes] = []
    real = journal._write
    monkeypatch.setattr(journal, "_write", lambda data: (writes.append(data), real(data)))

    async def one(number: int) -> None:
        journal.append(b"%d\n" % number)
        await journal.committed()

    await asyncio.gather(*(one(number) for number in range(100)))
    await journal.close()
    assert len(writes) == 2  # the first, and all that came while it was written
    assert (tmp_path / "journal").read_bytes().split() == [b"%d" % number for number in range(100)]


async def test_who_comes_while_the_last_lines_are_being_written_waits_for_them(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(b"x\n")
    writing = asyncio.create_task(journal.committed())
    async with asyncio.timeout(5):
        while not journal._busy:
            await asyncio.sleep(0)
        await journal.committed()
        assert journal.durable_end == 2
        await writing
        await journal.close()


async def test_a_failed_write_fails_the_waiters_and_everything_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal")

    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "_write", full)
    for _ in range(2):
        journal.append(b"x\n")
        with pytest.raises(OSError, match="No space left"):
            await journal.committed()
    with pytest.raises(OSError, match="No space left"):
        await journal.close()


async def test_a_restart_goes_on_where_the_last_run_stopped(
    start: START, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    first = await start(mailgun={"webhook_url": receiver.url, "retry_scale": 1.0})
    receiver.answers = [500] * 6  # the first attempts fail; the retries are minutes away
    await send(http, first.url, "bounce+1@example.net", "m-1")
    await send(http, first.url, "success@example.net", "m-1")
    async with http.post(f"{first.url}/v3/mg.example.com/complaints", data={"address": "c@x.org"}, headers=AUTH):
        pass
    before = [request.json()["event-data"]["id"] for request in await receiver.wait_for(4)]
    await first.stop()
    first.url = ""
    receiver.answers.clear()
    second = await start(mailgun={"webhook_url": receiver.url})
    await settled(second)
    again = [request.json()["event-data"]["id"] for request in receiver.requests[4:]]
    delivered = [line for line in ledger_lines(second) if line.get("answer") == "gave_up"]
    assert [line["event"] for line in delivered] == ["delivered"]  # never retried, so it had ended
    assert sorted([*again, delivered[0]["event_id"]]) == sorted(before)
    stats = second.control.stats()
    assert (stats["accepted"]["mailgun"], stats["duplicates"], stats["calls"]["mailgun"]) == (2, 1, 2)
    async with http.get(f"{second.url}/v3/mg.example.com/complaints/c@x.org", headers=AUTH) as answer:
        assert answer.status == 200
    await send(http, second.url, "bounce+1@example.net", "m-2")
    assert ledger_lines(second)[-1]["plan"]["outcome"] == "suppressed_bounce"


async def test_the_ledger_is_streamed_with_filters(
    start: START, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(mailgun={"webhook_url": receiver.url})
    await send(http, sandbox.url, "success@example.net", "m-1")
    await settled(sandbox)

    async def lines(**query: str) -> list[dict[str, Any]]:
        async with http.get(f"{sandbox.url}/sandbox/ledger", params=query) as answer:
            assert answer.status == 200
            return [json.loads(line) for line in (await answer.text()).splitlines()]

    everything = await lines()
    assert everything == ledger_lines(sandbox)
    assert [line["event"] for line in await lines(kind="webhook")] == ["accepted", "delivered"]
    assert len(await lines(kind="accepted", provider="mailgun")) == 1
    assert await lines(provider="ses") == []
    assert await lines(since=str(everything[0]["accepted_ms"] + 60_000)) == []
    async with http.get(f"{sandbox.url}/sandbox/ledger?since=yesterday") as answer:
        assert answer.status == 400


async def test_statistics_count_what_happened(start: START, receiver: Receiver, http: aiohttp.ClientSession) -> None:
    sandbox = await start(mailgun={"webhook_url": receiver.url})
    for message_id in ("m-1", "m-1", "m-2"):
        await send(http, sandbox.url, "success@example.net,bounce@example.net", message_id)
    await settled(sandbox)
    async with http.get(f"{sandbox.url}/sandbox/stats") as answer:
        stats = await answer.json()
    assert stats["recipients"] == stats["accepted"]["mailgun"] == 6
    assert {provider: calls for provider, calls in stats["calls"].items() if calls} == {"mailgun": 3}
    assert stats["duplicates"] == 4
    ends = [line["plan"]["end"] for line in ledger_lines(sandbox) if "provider" in line]
    assert stats["ends"]["mailgun"] == dict(Counter(ends))
    assert sum(stats["reported"]["mailgun"].values()) == stats["answers"]["mailgun"]["delivered"] == 12
    assert stats["pending_webhooks"] == 0
    assert stats["cpu_s"] > 0


async def test_the_index_forgets_the_oldest_but_the_file_does_not(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", "message_id", index_limit=8)
    rows = [
        Accepted("mailgun", f"id-{n}", "u@example.net", {}, [], 1000 + n, f"call-{n}", "", 0, Plan("success", "d", []))
        for n in range(20)
    ]
    ledger.accept(rows)
    assert list(ledger.find("mailgun", recipient="u@example.net")) == []  # nothing is durable yet
    await ledger.committed()
    found = [record.provider_message_id for record in ledger.find("mailgun", recipient="U@example.net")]
    assert found == [f"id-{n}" for n in range(12, 20)]
    assert [record.accepted_ms for record in ledger.accepted_from("mailgun", 1018)] == [1018, 1019]
    assert [record.accepted_ms for record in ledger.accepted_until("mailgun", 1013)] == [1013, 1012]
    assert sum(chunk.count(b"\n") for chunk in ledger.lines(None, 0, frozenset({"accepted", "webhook", "list"}))) == 20
    await ledger.close()


async def test_events_may_be_posted_twice_when_asked(
    start: START, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(mailgun={"webhook_url": receiver.url}, webhook_duplicate_rate=1.0)
    await send(http, sandbox.url, "success@example.net", "m-1")
    requests = await receiver.wait_for(4)
    assert set(Counter(request.body for request in requests).values()) == {2}
    assert sandbox.webhooks.duplicates_posted == 2


def test_sigterm_ends_the_service_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    sandbox, url = process.start(path)
    form = urlencode({"from": "a@mg.example.com", "to": "u@example.net", "text": "x"}).encode()
    with urlopen(Request(f"{url}/v3/mg.example.com/messages", form, AUTH), timeout=10) as answer:
        assert answer.status == 200
    sandbox.terminate()
    assert sandbox.wait(10) == 0
    assert sandbox.stdout is not None
    sandbox.stdout.close()
    assert len(path.read_bytes().splitlines()) == 1
