"""A fleet whose providers are each reached through a proxy of their own: Mailgun, SES, DirectMail and a mail server.

    with Network(folder, bootstrap, prefix=prefix) as network:
        network.fleet.start_worker("w1")
        network.proxies["mailgun"].trouble = Trouble(on=Way.ANSWERS, silent=True)

A tenant has the name of the provider that its messages take first, and another one behind it, which is reached
directly. Breakers are set so high that they stay out of it: what a single call does is looked at here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from streams.broker import free_port
from tests.faults.figures import Figures
from tests.faults.proxy import CALM, ChaosProxy, Trouble
from tests.fleet import Fleet, ids_of, single

PROVIDERS: Final = ("mailgun", "ses", "directmail", "relay")
DEADLINE_S: Final = 3.0
QUESTIONS_S: Final = 5
"""After so long a provider is asked about what is in doubt, by other connections: when the calls have been looked at."""
_SECTIONS = """
[providers.directmail]
type = "directmail"
endpoint_url = "{directmail}"
access_key_id = "file:{folder}/dm-key"
access_key_secret = "file:{folder}/dm-secret"
topics = ["1234567890123456/directmail-events"]
pinned_certificates = "{folder}/sandbox/certificates"
concurrency = 64
deadline_s = {deadline_s}
visibility_delay_s = 2

[providers.relay]
type = "smtp"
host = "localhost"
port = {relay}
tls = "implicit"
ca_file = "{folder}/sandbox/smtp-certificate.pem"
username = "sandbox"
password = "file:{folder}/password"
concurrency = 64
deadline_s = {deadline_s}
visibility_delay_s = 2

[providers.direct]
type = "mailgun"
base_url = "{{sandbox}}"
domain = "mg.example.com"
api_key = "env:FLEET_MAILGUN_KEY"
signing_keys = ["env:FLEET_SIGNING_KEY"]
"""
_RULE = """
[[routing.rules]]
tenant = "{name}"
providers = ["{name}", "direct"]
"""
_OWN_ADDRESSES = {"mailgun": "BASE_URL", "ses": "ENDPOINT_URL"}
_FILES = {"dm-key": "LTAIsandbox", "dm-secret": "sandbox-secret", "password": "password-sandbox"}


class Network:
    """Use it as a context manager."""

    def __init__(self, folder: Path, bootstrap: str, *, prefix: str, **environment: str) -> None:
        smtp_port = free_port()
        self.ports = {name: free_port() for name in PROVIDERS}
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in _FILES.items():
            (folder / name).write_text(text)
        sections = _SECTIONS.format(
            folder=folder,
            directmail=f"http://127.0.0.1:{self.ports['directmail']}",
            relay=self.ports["relay"],
            deadline_s=DEADLINE_S,
        )
        self.fleet = Fleet(
            folder,
            bootstrap,
            prefix=prefix,
            sandbox=["--smtp-port", str(smtp_port), "--all-delivered"],
            ses=sections + "".join(_RULE.format(name=name) for name in PROVIDERS),
            environment=self._environment() | environment,
        )
        http = ("127.0.0.1", self.fleet.sandbox_port)
        self._targets = {name: ("127.0.0.1", smtp_port) if name == "relay" else http for name in PROVIDERS}
        self.proxies: dict[str, ChaosProxy] = {}
        self.unreported: set[str] = set()
        """Messages for the mail server, of which nobody reports what became of them: being sent is their end."""
        self._stack = ExitStack()
        self._numbers = count()

    def _environment(self) -> dict[str, str]:
        named = {
            f"STREAMS_PROVIDERS__{name.upper()}__{key}": f"http://127.0.0.1:{self.ports[name]}"
            for name, key in _OWN_ADDRESSES.items()
        }
        options = {"CONCURRENCY": "64", "DEADLINE_S": str(DEADLINE_S), "VISIBILITY_DELAY_S": str(QUESTIONS_S)}
        limits = {
            f"STREAMS_PROVIDERS__{name.upper()}__{key}": value
            for name in _OWN_ADDRESSES
            for key, value in options.items()
        }
        patience = {"STREAMS_BREAKER__CONSECUTIVE": "100000", "STREAMS_BREAKER__MIN_REQUESTS": "100000"}
        return named | limits | patience

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for name in PROVIDERS:
                self.connect(name)
            stack.callback(self._disconnect_all)
            stack.enter_context(self.fleet)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def connect(self, name: str) -> None:
        """Somebody listens where the provider is said to be."""
        self.proxies[name] = ChaosProxy(self._targets[name], self.ports[name]).__enter__()

    def disconnect(self, name: str) -> None:
        """Nobody listens there any more: connections are refused."""
        self.proxies.pop(name).__exit__(None, None, None)

    def _disconnect_all(self) -> None:
        for name in list(self.proxies):
            self.disconnect(name)

    def trouble(self, trouble: Trouble, names: Iterable[str] = PROVIDERS) -> None:
        for name in names:
            self.proxies[name].trouble = trouble

    def mend(self) -> None:
        self.trouble(CALM, list(self.proxies))

    def cut(self, names: Iterable[str]) -> None:
        """What is on its way through the proxies is lost, and does not arrive later."""
        for name in names:
            self.proxies[name].cut()

    def outcomes(self) -> Counter[tuple[str, str]]:
        """How many messages of which provider came to which outcome, as the worker counts them."""
        page = httpx.get(f"{self.fleet.url('w1')}/metrics", timeout=10, trust_env=False).text
        return Counter(
            {
                (sample.labels["provider"], sample.labels["outcome"]): int(sample.value)
                for family in text_string_to_metric_families(page)
                for sample in family.samples
                if sample.name == "streams_provider_attempts_total"
            }
        )

    def send(self, names: Iterable[str], each: int = 1, **fields: Any) -> set[str]:
        """Messages that take these providers first, so many each; answers their ids."""
        requests = [self._request(name, next(self._numbers), fields) for _ in range(each) for name in names]
        self.unreported.update(*(ids_of(request) for request in requests if request["tenant"] == "relay"))
        return self.fleet.produce(requests)

    def finish(self, asked: set[str], figures: Figures) -> None:
        """Wait until all that was sent has come to its end, and take the account."""
        fleet = self.fleet
        fleet.until("the providers have reported everything", lambda: not fleet.stats()["pending_webhooks"], 60)
        reported = asked - self.unreported
        fleet.until("what is reported has ended, or waits for a person", lambda: fleet.seen.rests(reported), 60)
        figures.account(fleet.account(reported))
        waiting = (asked & self.unreported) - fleet.seen.sent - fleet.seen.held
        figures.none("given to the mail server, neither sent nor waiting for a person", waiting)

    def _request(self, name: str, number: int, fields: Mapping[str, Any]) -> dict[str, Any]:
        return single(number, "success", **{"tenant": name, "idempotency_key": f"{name}-{number}", **fields})
