"""The processes of the demo: real ones, each with its log, in a directory of their own, on free ports.

Rules:

1. They die with the demo, however it ends (:mod:`streams.processes`).
2. Started means: it has answered on its health page. A process that ends before that is a failure that names its log.
3. On a broker that is not ours every topic and group name carries the run's own prefix.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from streams.broker import EmbeddedBroker, free_port
from streams.demo.config import CONFIG, SECRETS
from streams.processes import BoundProcess, log_tail
from streams.settings import Settings, load_settings

_START_TIMEOUT_S = 30.0
_POLL_S = 0.02


class DemoFailed(RuntimeError):
    """The demo could not go on; the message says which part, and where its log is."""


class DemoSystem:
    """Broker, sandbox, ingress and worker with two providers. `start`, then `settings`, `inject`, `heal`, `stats`,
    `ledger`; use it as a context manager. What else runs is a subclass's business (:mod:`streams.demo.whole`).
    """

    def __init__(self, folder: Path, run: str, bootstrap: str | None = None) -> None:
        self.folder = folder
        self._own_broker = EmbeddedBroker() if bootstrap is None else None
        self._bootstrap = bootstrap or ""
        self._prefix = "" if bootstrap is None else f"demo-{run}."
        self._processes: dict[str, BoundProcess] = {}
        self._client = httpx.Client(timeout=10.0, trust_env=False)
        self.sandbox_url = ""
        self.ingress_url = ""
        self.settings: Settings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, phase: Callable[[str], None]) -> None:
        """Start everything and wait until it is ready; raises DemoFailed or BrokerUnavailable."""
        phase("starting the broker")
        if self._own_broker is not None:
            self._own_broker.start()
            self._bootstrap = self._own_broker.bootstrap
        sandbox_port, ingress_port, worker_port = free_port(), free_port(), free_port()
        self.sandbox_url = f"http://127.0.0.1:{sandbox_port}"
        config = self._write_config(ingress_port, worker_port)
        env = {**_clean_environment(), **SECRETS, "STREAMS_CONFIG": str(config)}
        self.settings = load_settings(config, env)
        self.ingress_url = f"http://127.0.0.1:{ingress_port}"
        phase("creating topics, starting providers")
        arguments = ["--port", str(sandbox_port), "--data", str(self.folder / "sandbox")]
        arguments += ["--webhooks", f"{self.ingress_url}/webhooks", "--repeat", "0.02"]
        arguments += ["--event-delay", "0.3", "--latency-ms", "3"]
        self._spawn("sandbox", [*arguments, *self._sandbox_options()], env)
        self._run("topics", ["create"], env)
        self._await("sandbox", f"{self.sandbox_url}/sandbox/stats")  # its certificate is there: ingress reads it
        phase("starting ingress and worker")
        self._spawn("ingress", [], env)
        self._spawn("worker", [], env)
        self._start_more(env)
        self._await("ingress", f"http://127.0.0.1:{ingress_port}/health/ready")
        self._await("worker", f"http://127.0.0.1:{worker_port}/health/ready")

    def inject(self, provider: str) -> None:
        """From now on the provider answers every send with 503."""
        self._ask("POST", "/sandbox/faults", {"kind": "status", "status": 503, "provider": provider})

    def heal(self) -> None:
        """The provider is well again."""
        self._ask("DELETE", "/sandbox/faults")

    def stats(self) -> dict[str, Any]:
        """The sandbox's counts."""
        found: dict[str, Any] = self._ask("GET", "/sandbox/stats").json()
        return found

    def ledger(self) -> list[str]:
        """The sandbox's ledger, one JSON object a line."""
        return self._ask("GET", "/sandbox/ledger").text.splitlines()

    def rendered(self, call_id: str, recipient: str) -> dict[str, Any]:
        """A copy as the sandbox got it (of its last calls)."""
        found: dict[str, Any] = self._ask("GET", f"/sandbox/rendered?call_id={call_id}&recipient={recipient}").json()
        return found

    def check(self) -> None:
        """Raise DemoFailed if a process has ended."""
        for name, process in self._processes.items():
            if process.returncode is not None:
                raise DemoFailed(f"the {name} ended with code {process.returncode}: {_last_line(self._log(name))}")

    def stop(self) -> None:
        """End everything; safe to call twice."""
        for name in ("worker", "poll", "ingress", "sandbox"):
            process = self._processes.pop(name, None)
            if process is not None:
                process.stop(grace_s=10.0)
        self._client.close()
        if self._own_broker is not None:
            self._own_broker.stop()

    def _sandbox_options(self) -> list[str]:
        """Further options of the sandbox."""
        return ["--smtp-port", "-1"]

    def _start_more(self, env: dict[str, str]) -> None:
        """Start what else there is, after ingress and worker."""

    def _texts(self) -> dict[str, str]:
        """What else stands in the configuration: of two providers, before the routing rules, and at the end."""
        return {"mailgun": "", "ses": "", "rules": "", "more": ""}

    def _write_config(self, ingress_port: int, worker_port: int) -> Path:
        path = self.folder / "streams.toml"
        text = CONFIG.format(
            bootstrap=self._bootstrap,
            profile="embedded" if self._own_broker is not None else "kafka",
            prefix=self._prefix,
            folder=self.folder,
            sandbox=self.sandbox_url,
            ingress_port=ingress_port,
            worker_port=worker_port,
            **self._texts(),
        )
        path.write_text(text, encoding="utf-8")
        return path

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _spawn(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        argv = [sys.executable, "-m", "streams", name, *arguments]
        self._processes[name] = BoundProcess(argv, env=env, cwd=self.folder, log=self._log(name))

    def _run(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        argv = [sys.executable, "-m", "streams", name, *arguments]
        process = BoundProcess(argv, env=env, cwd=self.folder, log=self._log(name))
        if process.wait(_START_TIMEOUT_S):
            raise DemoFailed(_last_line(self._log(name)))

    def _await(self, name: str, url: str) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers(url):
            self.check()
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"the {name} was not ready within {_START_TIMEOUT_S:.0f} s: {_last_line(self._log(name))}"
                )
            time.sleep(_POLL_S)

    def _answers(self, url: str) -> bool:
        try:
            return self._client.get(url).is_success
        except httpx.HTTPError:
            return False

    def _ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> httpx.Response:
        try:
            answer = self._client.request(method, self.sandbox_url + path, json=content)
            answer.raise_for_status()
        except httpx.HTTPError as exc:
            raise DemoFailed(f"the sandbox does not answer: {exc}") from exc
        return answer


def _clean_environment() -> dict[str, str]:
    """Ours, without settings that would override the demo's own; the package is found wherever the demo was started."""
    package = str(Path(__file__).resolve().parents[2])
    env = {name: value for name, value in os.environ.items() if not name.startswith("STREAMS_")}
    paths = [package, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    return env | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def _last_line(log: Path) -> str:
    """Why a process ended: its own complaint or its first critical line, else its last one."""
    lines = [line for line in log_tail(log, 1 << 20).splitlines() if line.strip()]
    if not lines:
        return "it wrote nothing"
    telling = next((line for line in lines if line.startswith("streams: ") or " CRITICAL " in line), lines[-1])
    return telling.removeprefix("streams: ")
