"""What the sandbox providers took, as objects.

A mail is shown as its recipient would get it: with their own data, headers, and bodies decoded. The sandbox keeps the
copies of its last 500 calls; of older mails the ledger's facts are there, but no content.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import Any

import httpx

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class MailFile:
    """An attachment: its name and size (bytes)."""

    filename: str
    size: int


@dataclass(frozen=True, slots=True)
class SentMail:
    """One mail to one recipient. ``message_id`` and ``attempt`` are ours; ``sent_ms`` is when the provider took it.

    ``fate`` is what the sandbox will report (``delivered``, ``bounce`` …); ``headers`` without those of every mail.
    """

    provider: str
    recipient: str
    sender: str
    subject: str
    text: str
    html: str
    message_id: str
    attempt: int
    sent_ms: int
    fate: str
    tags: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    files: tuple[MailFile, ...] = ()
    mime: str = field(default="", repr=False)


class Sandbox:
    """The stand-ins for the providers. ``since_ms`` hides what was sent before."""

    def __init__(self, http: httpx.Client, url: str, since_ms: int = 0) -> None:
        self.url = url
        self._http = http
        self._since_ms = since_ms

    def from_now_on(self) -> Sandbox:
        """The same, without what was sent until now."""
        return Sandbox(self._http, self.url, time.time_ns() // 1_000_000)

    def mails(self, to: str = "", *, message_id: str = "", provider: str = "") -> list[SentMail]:
        """Every mail that was taken, in the order of taking; of one recipient, message or provider if asked."""
        query = {"kind": "accepted", "since": str(self._since_ms)} | ({"provider": provider} if provider else {})
        lines = self._ask("GET", "/sandbox/ledger", params=query).text.splitlines()
        found = [json.loads(line) for line in lines]
        return [
            self._mail(one)
            for one in found
            if (not to or one["recipient"].lower() == to.lower())
            and (not message_id or one["variables"].get("message_id") == message_id)
        ]

    def wait_for_mail(self, to: str = "", *, message_id: str = "", timeout_s: float = 30.0) -> SentMail:
        """The first mail that fits, as soon as it is there. Raises TimeoutError."""
        deadline_s = time.monotonic() + timeout_s
        while not (mails := self.mails(to, message_id=message_id)):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"no mail{f' to {to}' if to else ''} was sent within {timeout_s:g} s")
            time.sleep(_POLL_S)
        return mails[0]

    def fail(self, **fault: Any) -> int:
        """Make providers fail: ``fail(kind="status", status=503, provider="mailgun", count=3)``; the rule's number.

        What there is: ``streams.sandbox.faults``.
        """
        return int(self._ask("POST", "/sandbox/faults", json=fault).json()["id"])

    def heal(self) -> None:
        """Forget every fault."""
        self._ask("DELETE", "/sandbox/faults")

    def stats(self) -> dict[str, Any]:
        """The sandbox's counts."""
        return dict(self._ask("GET", "/sandbox/stats").json())

    def _mail(self, taken: Mapping[str, Any]) -> SentMail:
        shown = self._http.get(
            f"{self.url}/sandbox/rendered", params={"call_id": taken["call_id"], "recipient": taken["recipient"]}
        )
        copy: dict[str, Any] = shown.json() if shown.is_success else {}
        if "mime" in copy:
            copy |= dict(_read(copy["mime"]))
        variables = taken["variables"]
        return SentMail(
            provider=taken["provider"],
            recipient=taken["recipient"],
            sender=str(copy.get("from") or taken.get("sender", "")),
            subject=str(copy.get("subject") or taken["subject"]),
            text=copy.get("text", ""),
            html=copy.get("html", ""),
            message_id=str(variables.get("message_id", "")),
            attempt=int(variables.get("attempt") or 0),
            sent_ms=taken["accepted_ms"],
            fate=taken["plan"]["end"],
            tags=tuple(taken["tags"]),
            headers=copy.get("headers", {}),
            files=tuple(MailFile(one["filename"], one["bytes"]) for one in copy.get("attachments", ())),
            mime=copy.get("mime", ""),
        )

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        answer = self._http.request(method, self.url + path, **request)
        if answer.is_client_error:
            raise ValueError(f"{method} {path}: {answer.text}")
        return answer.raise_for_status()


_USUAL = frozenset({"from", "to", "cc", "subject", "date", "message-id", "mime-version"})


def _read(mime: str) -> Iterator[tuple[str, Any]]:
    """What a whole message shows."""
    mail = message_from_bytes(mime.encode("utf-8", "surrogateescape"), policy=policy.default)
    yield "from", str(mail.get("From", ""))
    yield "subject", str(mail.get("Subject", ""))
    usual = (*_USUAL, "content-type", "content-transfer-encoding")
    yield "headers", {name: str(value) for name, value in mail.items() if name.lower() not in usual}
    for name, kind in (("text", "plain"), ("html", "html")):
        body = mail.get_body((kind,))
        if body is not None:
            yield name, body.get_content().replace("\r\n", "\n")
    files = [part for part in mail.walk() if part.get_filename()]
    yield (
        "attachments",
        [{"filename": part.get_filename(), "bytes": len(part.get_payload(decode=True) or b"")} for part in files],
    )
