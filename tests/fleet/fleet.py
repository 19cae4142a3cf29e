"""The processes of a fleet, and what can be done to them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from streams.broker import free_port
from streams.processes import BoundProcess, log_tail
from tests.fleet.account import Account, account_of
from tests.fleet.config import CONFIG, ROOT, SECRETS
from tests.fleet.requests import ids_of
from tests.fleet.seen import Seen, Watcher


class Fleet:
    """Use it as a context manager; everything ends with it."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        *,
        prefix: str,
        partitions: int = 4,
        profile: str = "kafka",
        sandbox: Sequence[str] = (),
        ses: str = "",
        providers_at: str = "",
        kafka_at: str = "",
        environment: Mapping[str, str] | None = None,
        keep: bool = True,
    ) -> None:
        """``sandbox`` are further options of it, ``ses`` further lines of its provider (``{sandbox}`` is its URL).

        ``providers_at`` (a URL) and ``kafka_at`` (a bootstrap address) are what the processes are told instead of
        the truth, for a proxy in between; ``environment`` goes to every process, so ``STREAMS_…`` changes any key.
        Without ``keep`` the events themselves are forgotten, and there is no :meth:`account`.
        """
        self.folder = folder
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.restarts: Counter[str] = Counter()
        self.sandbox_port = free_port()
        self.ingress_port = free_port()
        self.sandbox_url = f"http://127.0.0.1:{self.sandbox_port}"
        self.ingress_url = f"http://127.0.0.1:{self.ingress_port}"
        self._processes: dict[str, BoundProcess] = {}
        self._ports: dict[str, int] = {}
        self._sandbox_options = list(sandbox)
        self._environment = dict(environment or {})
        self._watcher = Watcher(bootstrap, f"{prefix}delivery-events", f"{prefix}oracle", keep=keep)
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "streams.toml"
        self.config.write_text(
            CONFIG.format(
                bootstrap=kafka_at or bootstrap,
                profile=profile,
                prefix=prefix,
                partitions=partitions,
                folder=folder,
                sandbox=providers_at or self.sandbox_url,
                ingress_port=self.ingress_port,
                ses=ses.replace("{sandbox}", self.sandbox_url),
            )
        )

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        data = str(self.folder / "sandbox")
        options = ["--webhooks", f"{self.ingress_url}/webhooks", "--data", data, "--event-delay", "0.05"]
        ports = ["--port", str(self.sandbox_port), "--smtp-port", "0", "--starttls-port", "0"]
        self._spawn("sandbox", ["sandbox", *ports, *options, *self._sandbox_options])
        assert self._spawn("topics", ["topics", "create"]).wait(60) == 0, self.log("topics")
        self._await(f"{self.sandbox_url}/sandbox/stats")
        self.start_ingress()
        self._await(f"{self.ingress_url}/health/ready")
        self._watcher.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(list(self._processes.values())):
            process.stop(grace_s=5)
        self._watcher.close()

    # -- workers

    def start_worker(self, name: str, *, module: str = "", **environment: str) -> BoundProcess:
        """A worker of that name, with extra environment variables; it need not be ready yet. ``module`` is run instead
        of `streams worker`.
        """
        self.restarts[name] += 1
        if name in self._processes:
            self._processes.pop(name).kill()  # it is dead already; what it held is given back
        self._ports[name] = free_port()
        state = str(self.folder / f"state-{name}")
        ours = {"STREAMS_WORKER__DATA_DIR": state, "STREAMS_WORKER__PORT": str(self._ports[name])}
        return self._spawn(name, [] if module else ["worker"], {**ours, **environment}, module or "streams")

    def start_ingress(self, **environment: str) -> BoundProcess:
        """The ingress, on the same port as before if there was one."""
        self._processes.pop("ingress", None)
        return self._spawn("ingress", ["ingress"], environment)

    def start_poller(self) -> BoundProcess:
        """`streams poll`, without a port that others could want."""
        self._processes.pop("poll", None)
        return self._spawn("poll", ["poll", "--port", "0", "--json"])

    def kill_worker(self, name: str) -> None:
        """SIGKILL, as a power cut would."""
        self._processes.pop(name).kill()

    def stop_worker(self, name: str) -> int:
        """SIGTERM and wait; answers the exit code."""
        return self._processes.pop(name).stop(grace_s=40)

    def worker(self, name: str) -> BoundProcess:
        return self.process(name)

    def process(self, name: str) -> BoundProcess:
        """A worker by its name, or `sandbox`, `ingress`, `poll`."""
        return self._processes[name]

    def url(self, name: str) -> str:
        """Where the pages of a worker, or of the `ingress`, are."""
        return self.ingress_url if name == "ingress" else f"http://127.0.0.1:{self._ports[name]}"

    def metric(self, name: str, series: str, **labels: str) -> float:
        """The sum of a series over the labels not given, as that process says now; 0 when it has none."""
        page = httpx.get(f"{self.url(name)}/metrics", timeout=10, trust_env=False).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == series and labels.items() <= sample.labels.items()
        )

    def is_ready(self, name: str) -> bool:
        """What that process says of itself."""
        return self._says(name, "ready")

    def is_live(self, name: str) -> bool:
        """Whether it answers, and nothing fatal has happened."""
        return self._says(name, "live")

    def _says(self, name: str, what: str) -> bool:
        try:
            return httpx.get(f"{self.url(name)}/health/{what}", timeout=3, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def log(self, name: str) -> str:
        return log_tail(self.folder / f"{name}.log", 6000)

    @property
    def seen(self) -> Seen:
        """The events so far."""
        return self._watcher.seen

    # -- messages

    def produce(self, requests: Iterable[dict[str, Any]]) -> set[str]:
        """Requests as plain JSON; answers the ids of all their messages once Kafka has them."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all", "linger.ms": 5})
        identities: set[str] = set()
        for request in requests:
            topic = self.prefix + ("send-requests.bulk" if request["stream"] == "bulk" else "send-requests")
            producer.produce(topic, json.dumps(request).encode(), key=request["idempotency_key"].encode())
            producer.poll(0)
            identities |= ids_of(request)
        assert producer.flush(30) == 0
        return identities

    def until(self, what: str, holds: Callable[[], bool], timeout_s: float) -> None:
        """Wait for a condition; a process that ended by itself, or the deadline, fails with its name."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert not self.seen.unreadable, f"events that cannot be read: {self.seen.unreadable[:3]}"
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{self.log(name)[-1500:]}" for name in self._processes)
                raise AssertionError(f"not within {timeout_s:.0f} s: {what}\n{logs}")
            time.sleep(0.02)

    # -- the oracle

    def ledger(self) -> list[dict[str, Any]]:
        """The sandbox's ledger lines."""
        text = httpx.get(f"{self.sandbox_url}/sandbox/ledger", timeout=60).text
        return [json.loads(line) for line in text.splitlines()]

    def stats(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.sandbox_url}/sandbox/stats", timeout=10).json())

    def calls(self, provider: str, since_ms: int = 0) -> list[dict[str, Any]]:
        """The sandbox's list of API calls, in the order of their answers."""
        page = f"{self.sandbox_url}/sandbox/calls?provider={provider}&since={since_ms}"
        return list(httpx.get(page, timeout=60).json()["calls"])

    def fault(self, **fields: Any) -> None:
        httpx.post(f"{self.sandbox_url}/sandbox/faults", json=fields, timeout=10).raise_for_status()

    def heal(self) -> None:
        httpx.delete(f"{self.sandbox_url}/sandbox/faults", timeout=10).raise_for_status()

    def account(self, identities: set[str]) -> Account:
        """Compare what was asked, what providers took, and what the events say."""
        return account_of(identities, self.ledger(), list(self.seen.events))

    # -- inside

    def _spawn(
        self, name: str, arguments: Sequence[str], extra: dict[str, str] | None = None, module: str = "streams"
    ) -> BoundProcess:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("STREAMS_")}
        ours = {**SECRETS, "STREAMS_CONFIG": str(self.config), "PYTHONPATH": str(ROOT)}
        env = {**clean, **ours, **self._environment, **(extra or {})}
        process = BoundProcess(
            [sys.executable, "-m", module, *arguments], env=env, cwd=self.folder, log=self.folder / f"{name}.log"
        )
        self._processes[name] = process
        return process

    def _await(self, url: str, timeout_s: float = 30) -> None:
        def answers() -> bool:
            try:
                return httpx.get(url, timeout=2, trust_env=False).is_success
            except httpx.HTTPError:
                return False

        self.until(f"{url} answers", answers, timeout_s)
