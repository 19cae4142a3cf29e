"""A reader of the demo's mail: opens, clicks and leaves, by the links that the delivered copies carry.

Only mail over SMTP carries links of our own here. The reader takes each copy as the sandbox got it, finds pixel, link
and `List-Unsubscribe` in it, and asks the ingress for them as a proxy with TLS in front of it would; every visit is
made twice, as impatient people do. What it did is what events must tell.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from email import message_from_string
from email.policy import default as default_policy
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from streams.demo.config import TRACKING_URL
from streams.demo.oracle import Reported
from streams.demo.system import DemoSystem

_PAUSE_S = 0.2
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36"
_VISITS: dict[str, tuple[str, ...]] = {"open": ("pixel",), "click": ("pixel", "link"), "unsubscribe": ("one-click",)}
"""What a reader of each fate does."""


class Reader:
    """Reads in a thread until it is left. ``failure`` is set if it could not go on."""

    def __init__(self, system: DemoSystem) -> None:
        self.visits: list[Reported] = []
        self.failure = ""
        self._system = system
        self._ended = threading.Event()
        self._ledger = system.folder / "sandbox" / "ledger.jsonl"
        self._read_until = 0
        self._client = httpx.Client(base_url=system.ingress_url, timeout=10.0, trust_env=False)
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(15.0)
        self._client.close()

    def _read(self) -> None:
        try:
            while not self._ended.is_set():
                self._look()
                self._ended.wait(_PAUSE_S)
        except Exception as exc:  # noqa: BLE001 - told by the main thread, which ends the demo
            self.failure = f"the reader of the mail gave up: {type(exc).__name__}: {exc}"

    def _look(self) -> None:
        """Read what has arrived since the last time; the sandbox writes a line before it accepts."""
        with self._ledger.open("rb") as file:
            file.seek(self._read_until)
            new = file.read()
        end = new.rfind(b"\n") + 1
        self._read_until += end
        for text in new[:end].splitlines():
            if not text.startswith(b'{"provider":"smtp"'):
                continue
            line: dict[str, Any] = json.loads(text)
            visits = _VISITS.get(line["plan"]["outcome"], ())
            if not visits:
                continue
            pages = pages_of(self._system.rendered(line["call_id"], quote(line["recipient"]))["mime"])
            for what in visits:
                self._visit(str(line["variables"]["message_id"]), what, pages[what])

    def _visit(self, message_id: str, what: str, page: str) -> None:
        headers = {"User-Agent": _BROWSER}
        ask: Callable[[], httpx.Response] = lambda: self._client.get(page, headers=headers)  # noqa: E731
        if what == "one-click":
            ask = lambda: self._client.post(page, data={"List-Unsubscribe": "One-Click"}, headers=headers)  # noqa: E731
        first, second = ask(), ask()
        taken = {first.status_code, second.status_code} <= {200, 302}
        self.visits.append(Reported("reader", message_id, what, f"{message_id} {what}", delivered=taken))


def pages_of(mime: str) -> dict[str, str]:
    """The pages of ours that a mail leads to, as paths: `pixel`, `link`, `one-click`."""
    mail = message_from_string(mime, policy=default_policy)
    body = mail.get_body(("html",))
    html = "" if body is None else str(body.get_content())
    base = re.escape(TRACKING_URL)
    found = {
        "pixel": re.search(rf'<img src="{base}(/t/o/[^"]+)"', html),
        "link": re.search(rf'<a href="{base}(/t/c/[^"]+)"', html),
        "one-click": re.search(rf"<{base}(/t/u/[^>]+)>", str(mail["List-Unsubscribe"])),
    }
    return {name: match[1] for name, match in found.items() if match is not None}
