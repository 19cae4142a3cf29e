"""A deployment for tests: broker, provider sandbox, ingress and worker, each a real process on a free port.

Rules:

1. Started means ready: every part has answered. A part that ends before that, or later, is a failure that names its
   own words.
2. Everything ends with the process that started it, however that ends (:mod:`streams.processes`).
3. The providers are stand-ins (``mailgun``, the default, and ``ses``): nothing leaves this machine.
4. What the configuration of the caller adds goes over ours: further sections as TOML, single keys as ``STREAMS_…``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

from streams.broker import BrokerUnavailable, EmbeddedBroker, free_port
from streams.client import Address, Client
from streams.processes import BoundProcess, log_tail
from streams.settings import Settings, load_settings
from streams.stand_ins import CONFIG, SECRETS
from streams.testing.mails import Sandbox

START_TIMEOUT_S = 45.0
SENDER = "Tests <tests@mg.example.com>"
_POLL_S = 0.02


class DeploymentFailed(RuntimeError):
    """A part did not start, or has ended: which one, and its last words."""


class Deployment:
    """Use it as a context manager, or call `start` and `stop`.

    ``folder`` gets configuration, logs and state. ``toml`` are further sections of the configuration, ``env`` further
    environment variables (secrets, and single keys as ``STREAMS_…``). ``bootstrap`` is a Kafka of yours instead of the
    embedded broker; there every topic gets a prefix of this run.
    """

    def __init__(
        self,
        folder: Path,
        *,
        toml: str = "",
        env: Mapping[str, str] | None = None,
        bootstrap: str = "",
        event_delay_s: float = 0.05,
    ) -> None:
        self.folder = folder
        self.config = folder / "streams.toml"
        self.sandbox: Sandbox
        self.settings: Settings
        self.ingress_url = ""
        self._toml = toml
        self._further = dict(env or {})
        self._own_broker = None if bootstrap else EmbeddedBroker()
        self._bootstrap = bootstrap
        self._event_delay_s = event_delay_s
        self._ports = (free_port(), free_port(), free_port())
        self._processes: dict[str, BoundProcess] = {}
        self._http = httpx.Client(timeout=10.0, trust_env=False)

    # -- life

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start everything and return when all of it is ready. Raises DeploymentFailed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._own_broker is not None:
            try:
                self._bootstrap = self._own_broker.start().bootstrap
            except BrokerUnavailable as exc:
                raise DeploymentFailed(str(exc)) from exc
        sandbox_port, ingress_port, _ = self._ports
        sandbox_url, self.ingress_url = f"http://127.0.0.1:{sandbox_port}", f"http://127.0.0.1:{ingress_port}"
        self.sandbox = Sandbox(self._http, sandbox_url)
        self._configure(sandbox_url)
        self._spawn(
            "sandbox",
            *("--port", str(sandbox_port), "--smtp-port", "-1", "--webhooks", f"{self.ingress_url}/webhooks"),
            *("--data", str(self.folder / "sandbox"), "--all-delivered", "--event-delay", str(self._event_delay_s)),
        )
        self.run("topics", "create")
        self._await("sandbox", f"{sandbox_url}/sandbox/stats")  # its certificate is there: ingress reads it
        self._spawn("ingress")
        self.start_worker()
        self._await("ingress", f"{self.ingress_url}/health/ready")
        return self

    def stop(self) -> None:
        """End everything; safe to call twice."""
        for name in ("worker", "ingress", "sandbox"):
            if (process := self._processes.pop(name, None)) is not None:
                process.stop(grace_s=10.0)
        self._http.close()
        if self._own_broker is not None:
            self._own_broker.stop()

    def start_worker(self) -> None:
        """Start the worker (again) and wait until it has its partitions."""
        self._spawn("worker")
        self._await("worker", f"http://127.0.0.1:{self._ports[2]}/health/ready")

    def kill_worker(self) -> None:
        """As a power cut would."""
        self._processes.pop("worker").kill()

    # -- use

    @property
    def bootstrap(self) -> str:
        """Where Kafka is."""
        return self._bootstrap

    @property
    def prefix(self) -> str:
        """What stands before every topic's name; empty on a broker of its own."""
        return self.settings.kafka.prefix

    @property
    def environment(self) -> dict[str, str]:
        """For programs that are to use this deployment: ``STREAMS_CONFIG`` and all it refers to."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAMS_")}
        package = str(Path(__file__).resolve().parents[2])
        paths = [package, *filter(None, clean.get("PYTHONPATH", "").split(os.pathsep))]
        clean["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))  # the package is found wherever it was found by us
        return {**clean, **SECRETS, **self._further, "STREAMS_CONFIG": str(self.config)}

    def client(self, *, sender: Address | None = SENDER, tenant: str = "", timeout_s: float = 30.0) -> Client:
        """A client of this deployment; close it."""
        return Client.from_config(
            str(self.config), env=self.environment, sender=sender, tenant=tenant, timeout_s=timeout_s
        )

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Run a command (``run("templates", "put", …)``) and give what it printed. Raises DeploymentFailed."""
        done = subprocess.run(
            [sys.executable, "-m", "streams", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise DeploymentFailed(f"streams {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def check(self) -> None:
        """Raise DeploymentFailed if a part has ended."""
        for name, process in self._processes.items():
            if process.returncode is not None:
                raise DeploymentFailed(f"the {name} ended with code {process.returncode}: {self.log(name)}")

    def log(self, name: str) -> str:
        """The end of what a part (``worker``, ``ingress``, ``sandbox``) has logged."""
        return log_tail(self.folder / f"{name}.log", 4000)

    # -- inside

    def _configure(self, sandbox_url: str) -> None:
        _, ingress_port, worker_port = self._ports
        values: dict[str, Any] = {
            "bootstrap": self._bootstrap,
            "profile": "embedded" if self._own_broker is not None else "kafka",
            "prefix": "" if self._own_broker is not None else f"test-{uuid4().hex[:8]}.",
            "folder": self.folder,
            "sandbox": sandbox_url,
            "ingress_port": ingress_port,
            "worker_port": worker_port,
            "mailgun": "",
            "ses": "",
        }
        self.config.write_text(CONFIG.format_map(values) + self._toml, encoding="utf-8")
        self.settings = load_settings(str(self.config), self.environment)

    def _spawn(self, name: str, *arguments: str) -> None:
        argv = [sys.executable, "-m", "streams", name, *arguments]
        log = self.folder / f"{name}.log"
        self._processes[name] = BoundProcess(argv, env=self.environment, cwd=self.folder, log=log)

    def _await(self, name: str, url: str) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers(url):
            self.check()
            if time.monotonic() > deadline_s:
                raise DeploymentFailed(f"the {name} was not ready within {START_TIMEOUT_S:.0f} s: {self.log(name)}")
            time.sleep(_POLL_S)

    def _answers(self, url: str) -> bool:
        try:
            return self._http.get(url).is_success
        except httpx.HTTPError:
            return False
