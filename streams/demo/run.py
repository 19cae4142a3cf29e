"""The demo from start to verdict.

Rules:

1. Every wait has a condition and a deadline; what a deadline finds undone is named.
2. The verdict compares sets, it does not count to an expected number only (:mod:`streams.demo.oracle`).
3. After a failure the working directory stays, and its path is printed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from streams.demo.latency import Latencies, measure
from streams.demo.ledger import read_ledger
from streams.demo.mail import PlannedRequest, templates
from streams.demo.oracle import Accepted, Verdict, judge
from streams.demo.plan import Plan, make_plan
from streams.demo.reader import Reader
from streams.demo.show import Screen, print_verdict
from streams.demo.system import DemoFailed
from streams.demo.watch import Transitions, Watcher
from streams.demo.ways import TYPES, count_ways, unused
from streams.demo.whole import WholeSystem
from streams.kafka import KafkaClient, NewRecord
from streams.serde.records import encode
from streams.settings import librdkafka_options
from streams.topics import SEND_REQUESTS, SEND_REQUESTS_BULK, TEMPLATES, Topics

_OUTAGE_AT = "mailgun"
_OUTAGE_LASTS_S = 1.5  # after the breaker has opened
_PACE_PER_S = 30.0  # transactional messages, while their latency is measured: the campaign lasts longer
_TRICKLE_S = 12.0  # the last wave lasts at least so long while the breaker is not closed
_QUIET_S = 1.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """``bootstrap`` None starts the embedded broker."""

    messages: int = 2500
    seed: int = 1
    bootstrap: str | None = None
    as_json: bool = False
    keep: bool = False


def run_demo(options: DemoOptions) -> int:
    """Run it; the exit code is 0 only if every count is equal."""
    run = uuid4().hex[:8]
    folder = Path(tempfile.mkdtemp(prefix="streams-demo-"))
    screen = Screen(quiet=options.as_json)
    try:
        with screen:
            report, verdict = _Demo(options, folder, run, screen).play()
    except (DemoFailed, TimeoutError) as exc:
        sys.stderr.write(f"streams: the demo failed: {exc}\nlogs are in {folder}\n")
        return 1
    except BaseException:
        sys.stderr.write(f"logs are in {folder}\n")
        raise
    if not options.as_json:
        print_verdict(report, verdict)
    problems = _problems(report, verdict)
    if problems:
        (folder / "differences.txt").write_text("\n".join(verdict.differences), encoding="utf-8")
        for line in verdict.differences[:5]:
            sys.stderr.write(line + "\n")
        sys.stderr.write(f"streams: the demo failed: {'; '.join(problems)}; logs are in {folder}\n")
    elif options.keep:
        sys.stderr.write(f"logs are in {folder}\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    if options.as_json:
        sys.stdout.write(json.dumps(report) + "\n")
    return 1 if problems else 0


def _problems(report: dict[str, Any], verdict: Verdict) -> list[str]:
    """Why the demo is not a success, in words."""
    found = [] if verdict.equal else ["the counts differ"]
    found += [f"nothing came by {way}" for way in unused(report["ways_in"])]
    found += [
        f"the breaker of {name} opened {moves['opened']} times and closed {moves['closed']} times"
        for name, moves in report["breakers"].items()
        if moves["opened"] != moves["closed"]
    ]
    if report["transactional"]["broken"]:
        found.append("transactional mail waited behind the campaign")
    return found


class _Demo:
    def __init__(self, options: DemoOptions, folder: Path, run: str, screen: Screen) -> None:
        self._options = options
        self._screen = screen
        self._plan: Plan = make_plan(options.messages, options.seed, run)
        self._system = WholeSystem(folder, run, options.bootstrap)
        self._began_s = time.monotonic()
        self._deadline_s = self._began_s + 60.0 + options.messages / 100.0
        self._due_ms: dict[str, float] = {}
        self._campaign_ms = 0.0
        self._watcher: Watcher
        self._reader: Reader
        self._kafka: KafkaClient
        self._topics: Topics

    def play(self) -> tuple[dict[str, Any], Verdict]:
        with self._system as system:
            system.start(self._screen.phase)
            kafka = system.settings.kafka
            self._topics = Topics(kafka.prefix)
            self._kafka = self._client()
            self._watcher = Watcher(self._client, self._topics, self._plan)
            self._reader = Reader(system)
            with self._watcher as watcher, self._reader as reader:
                self._screen.watch(watcher.progress, self._plan.messages)
                sending_s = time.monotonic()
                self._send_everything()
                self._settle()
                took_s = watcher.progress.last_s - sending_s
            accepted, reported = read_ledger(system.ledger())
            verdict = judge(self._plan, accepted, [*reported, *reader.visits], watcher.progress.events)
            ways = count_ways({kind: self._kafka.read(self._topics.webhooks(kind)) for kind in TYPES})
        return self._report(verdict, took_s, self._latencies(accepted), ways), verdict

    def _client(self) -> KafkaClient:
        settings = self._system.settings.kafka
        return KafkaClient(settings.bootstrap, librdkafka_options(settings))

    # -- the order of events

    def _send_everything(self) -> None:
        plan, screen = self._plan, self._screen
        screen.phase(f"sending {plan.messages} messages by Mailgun, SES, SMTP and DirectMail")
        for template in templates():
            name = template["template_id"].encode()
            self._kafka.send(NewRecord(self._topics.name(TEMPLATES), name, encode("Template", template)))
        self._kafka.flush()
        self._produce(plan.before)
        self._until("the first wave is sent", lambda: self._sent() >= self._to_be_sent(plan.before))
        screen.phase("transactional mail alone, at a pace")
        self._pace(plan.alone)
        self._until("it is sent", lambda: self._sent() >= self._to_be_sent((*plan.before, *plan.alone)))
        screen.phase(f"the same beside a campaign of {len(plan.campaign[0].message_ids)} in three languages")
        self._campaign_ms = time.time() * 1000
        self._produce(plan.campaign, flush=False)
        self._pace(plan.beside)
        paced = (*plan.before, *plan.alone, *plan.beside, *plan.campaign)
        self._until("both are sent", lambda: self._sent() >= self._to_be_sent(paced))
        screen.phase(f"outage: {_OUTAGE_AT} answers 503")
        self._system.inject(_OUTAGE_AT)
        self._produce(plan.during)
        self._until(f"the breaker of {_OUTAGE_AT} opens", lambda: self._breaker().opened > 0)
        screen.phase(f"breaker of {_OUTAGE_AT} is open: mail takes the other way")
        healed_at_s = time.monotonic() + _OUTAGE_LASTS_S
        self._until("the outage is over", lambda: time.monotonic() >= healed_at_s)
        self._system.heal()
        screen.phase(f"outage is over: waiting for the breaker of {_OUTAGE_AT} to close")
        self._trickle(plan.afterwards)
        self._until(f"the breaker of {_OUTAGE_AT} closes", lambda: self._breaker().state == "closed")
        again = {identity for request in plan.follow_ups for identity in request.message_ids}
        screen.phase("waiting for the providers' reports")
        self._until("every message reaches its end", lambda: self._due() <= again)
        screen.phase("writing again to addresses that became unusable")
        self._produce(plan.follow_ups)
        self._until("every message reaches its end", lambda: not self._watcher.progress.waiting_for)

    def _settle(self) -> None:
        """Nothing may come any more that would change a count."""
        self._screen.phase("waiting for silence")
        self._until("everything that providers reported is fetched", self._system.nothing_waits)
        progress = self._watcher.progress
        since_s = time.monotonic()
        self._until("no event comes any more", lambda: time.monotonic() - max(since_s, progress.last_s) > _QUIET_S)

    def _trickle(self, requests: Sequence[PlannedRequest]) -> None:
        """A few at a time until the breaker has closed (nobody probes for nothing), then the rest."""
        pause_s = _TRICKLE_S / len(requests)
        for number, request in enumerate(requests):
            if self._breaker().state == "closed":
                self._produce(requests[number:])
                return
            self._produce([request])
            self._pause(pause_s)

    def _pause(self, pause_s: float) -> None:
        """Until so much time has passed, or the breaker has closed."""
        end_s = time.monotonic() + pause_s
        self._until("the next request is due", lambda: time.monotonic() >= end_s or self._breaker().state == "closed")

    # -- looking

    def _due(self) -> set[str]:
        return {identity for identity, _ in list(self._watcher.progress.waiting_for)}

    def _to_be_sent(self, requests: Iterable[PlannedRequest]) -> int:
        return len({identity for request in requests for identity in request.message_ids} & self._plan.sent)

    def _sent(self) -> int:
        return self._watcher.progress.counts["message.sent"]

    def _breaker(self) -> Transitions:
        return self._watcher.progress.breakers.get(_OUTAGE_AT, Transitions())

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        while not holds():
            self._system.check()
            if failure := self._watcher.failure or self._reader.failure:
                raise DemoFailed(failure)
            if time.monotonic() > self._deadline_s:
                raise DemoFailed(f"timed out before {what}{self._undone()}")
            time.sleep(_POLL_S)

    def _undone(self) -> str:
        left = sorted(self._watcher.progress.waiting_for)
        if not left:
            return ""
        lines = [
            f"{identity} to {self._plan.address_of(identity)} has no {kind}{self._seen(identity)}"
            for identity, kind in left
        ]
        (self._system.folder / "missing.txt").write_text("\n".join(lines), encoding="utf-8")
        return f"; {len(left)} events are missing:\n  " + "\n  ".join(lines[:10])

    def _seen(self, identity: str) -> str:
        """What is known of a message, for the list of what is missing."""
        kinds = [
            event.type.removeprefix("message.")
            for event in self._watcher.progress.events
            if event.message_id == identity
        ]
        return f" (recorded: {', '.join(kinds) or 'nothing'})"

    # -- sending

    def _produce(self, requests: Iterable[PlannedRequest], *, flush: bool = True) -> None:
        """Alternately as Avro and as plain JSON: both are public encodings."""
        for number, request in enumerate(requests):
            topic = self._topics.name(SEND_REQUESTS_BULK if request.bulk else SEND_REQUESTS)
            value = json.dumps(request.body).encode() if number % 2 else encode("SendRequest", request.body)
            self._kafka.send(NewRecord(topic, request.routing_key.encode(), value))
        if flush:
            self._kafka.flush()

    def _pace(self, requests: Sequence[PlannedRequest]) -> None:
        """Each at its time, whatever becomes of those before."""
        begin_s, begin_ms = time.monotonic(), time.time() * 1000
        for number, request in enumerate(requests):
            due_s = number / _PACE_PER_S
            time.sleep(max(0.0, begin_s + due_s - time.monotonic()))
            self._due_ms |= dict.fromkeys(request.message_ids, begin_ms + due_s * 1000)
            self._produce([request], flush=False)
            if number % int(_PACE_PER_S) == 0:
                self._system.check()
        self._kafka.flush()

    # -- the result

    def _latencies(self, accepted: Iterable[Accepted]) -> Latencies:
        taken = {line.message_id: line.accepted_ms for line in accepted}
        alone, beside = (
            measure(self._due_ms, taken, (identity for request in wave for identity in request.message_ids))
            for wave in (self._plan.alone, self._plan.beside)
        )
        last_ms = max((taken.get(one, 0) for request in self._plan.campaign for one in request.message_ids), default=0)
        return Latencies(alone, beside, last_ms - self._campaign_ms)

    def _report(self, verdict: Verdict, took_s: float, latencies: Latencies, ways: dict[str, int]) -> dict[str, Any]:
        breakers = self._watcher.progress.breakers
        return {
            "requested": self._plan.requested,
            "messages": self._plan.messages,
            "events": dict(verdict.events),
            "lost": verdict.lost,
            "duplicated": verdict.duplicated,
            "by_provider": dict(verdict.by_provider),
            "breakers": {
                name: {"opened": seen.opened, "closed": seen.closed} for name, seen in sorted(breakers.items())
            },
            "wall_s": round(time.monotonic() - self._began_s, 1),
            "messages_per_s": round(self._plan.messages / took_s) if took_s > 0 else 0,
            "ways_in": ways,
            "transactional": latencies.as_json() | {"broken": latencies.broken},
        }
