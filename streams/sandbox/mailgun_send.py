"""Mailgun's sending calls: a form becomes accepted recipients, or is refused whole. No I/O.

Rules kept from the real service: one malformed address refuses the call and queues nothing; duplicate addresses are
dropped in silence, whatever their case; with `recipient-variables` every address gets a copy of its own,
`%recipient.key%` is replaced in subject, bodies, `h:` and `v:` values, and a missing key stays as it is.
"""

from __future__ import annotations

import random
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from email.parser import BytesHeaderParser
from email.policy import default as default_policy
from itertools import count
from typing import Any, Final

import msgspec

from streams.sandbox.config import MailgunConfig
from streams.sandbox.forms import Form
from streams.sandbox.ledger import Accepted, Plan
from streams.sandbox.mailgun_text import Refused, Text, bare_addresses, moment_ms
from streams.sandbox.outcomes import Draw, Outcome, plan
from streams.sandbox.suppressions import SuppressionLists

_MAX_RECIPIENTS: Final = 1000
_MAX_MESSAGE: Final = 25 * 1024 * 1024
_MAX_OPTIONS: Final = 16 * 1024
_MAX_TAGS: Final = 3
_LINK: Final = re.compile(r"https?://[^\s\"'<>]+")
_SUPPRESSED: Final = {  # asked in this order
    "mailgun.bounces": Outcome.SUPPRESSED_BOUNCE,
    "mailgun.complaints": Outcome.SUPPRESSED_COMPLAINT,
    "mailgun.unsubscribes": Outcome.SUPPRESSED_UNSUBSCRIBE,
}
_BODIES: Final = ("text", "html", "amp-html")


@dataclass(frozen=True, slots=True)
class Taken:
    """An accepted call: the id of the answer (with brackets), its recipients, and how to see a copy as it was sent."""

    answer_id: str
    records: list[Accepted]
    rendered: Callable[[str], dict[str, Any] | None]
    size: int


class MailgunSending:
    """Turns forms into accepted recipients."""

    def __init__(self, config: MailgunConfig, draw: Draw, lists: SuppressionLists, identity_variable: str) -> None:
        self._config = config
        self._draw = draw
        self._lists = lists
        self._identity_variable = identity_variable
        self._serial = count(1)
        self._random = random.Random(secrets.randbits(64))  # ids never repeat, not even after a restart

    def take(self, domain: str, form: Form, *, mime: bool, now_ms: int) -> Taken:
        """Accepts a call. Raises Refused."""
        draft = _Draft(domain, form, mime=mime)
        draft.check_options()
        scheduled_ms = _scheduled(form.first("o:deliverytime"), now_ms, self._config.max_schedule_days)
        minted = self._minted(domain, now_ms)
        own_id = draft.headers.get("message-id")
        answer_id = minted if own_id is None or not own_id.constant else own_id.source.strip().strip("<>")
        lists = self._filled(domain)
        records: list[Accepted] = []
        for address, copies, values in draft.copies():
            variables = draft.variables_for(values, address)
            subject = draft.subject.render(values, address)
            size = draft.fixed_size + sum(text.size(values, address) for text in draft.bodies)
            message_id = answer_id if own_id is None or own_id.constant else own_id.render(values, address).strip(" <>")
            for recipient in copies:
                chosen = self._plan(recipient, variables, draft, now_ms, lists)
                link = _first_link(draft, values, address) if "clicked" in chosen.events else ""
                records.append(
                    Accepted(
                        "mailgun", message_id, recipient, variables, draft.tags, now_ms, minted, subject, size, chosen,
                        draft.sender, scheduled_ms, "", copies if len(copies) > 1 else None, domain, link,
                        draft.template,
                    )
                )  # fmt: skip
        return Taken(f"<{answer_id}>", records, draft.rendered, draft.stored_size)

    def take_again(self, stored: Accepted, addresses: list[str], now_ms: int) -> Taken:
        """Sends a stored copy again, with a new message id."""
        minted = self._minted(stored.domain, now_ms)
        records = [
            Accepted(
                "mailgun", minted, address, stored.variables, stored.tags, now_ms, minted, stored.subject, stored.size,
                self._fate(address, stored.variables, stored.tags, now_ms, self._filled(stored.domain)), stored.sender,
                0, "", addresses if len(addresses) > 1 else None, stored.domain, stored.detail, stored.template,
            )
            for address in addresses
        ]  # fmt: skip
        return Taken(f"<{minted}>", records, lambda recipient: None, stored.size)

    def _minted(self, domain: str, now_ms: int) -> str:
        minted = f"{time.strftime('%Y%m%d%H%M%S', time.gmtime(now_ms // 1000))}.{next(self._serial)}"
        return f"{minted}.{self._random.getrandbits(64):016X}@{domain}"

    def _filled(self, domain: str) -> list[str]:
        return [name for kind in _SUPPRESSED if self._lists.filled(name := f"{kind}/{domain}")]

    def _plan(self, recipient: str, variables: dict[str, Any], draft: _Draft, now_ms: int, lists: list[str]) -> Plan:
        if draft.test_mode:
            return plan("mailgun", Outcome.TEST_MODE)
        return self._fate(recipient, variables, draft.tags, now_ms, lists)

    def _fate(self, recipient: str, variables: dict[str, Any], tags: list[str], now_ms: int, lists: list[str]) -> Plan:
        for name in lists:
            entry = self._lists.find(name, recipient, now_ms)
            kind = name.partition("/")[0]
            if entry is None:
                continue
            if kind != "mailgun.unsubscribes" or not {"*", *tags}.isdisjoint(entry.content.get("tags", ["*"])):
                return plan("mailgun", _SUPPRESSED[kind])
        return plan("mailgun", self._draw.outcome(recipient, str(variables.get(self._identity_variable, recipient))))


class _Draft:
    """A form, read and checked."""

    def __init__(self, domain: str, form: Form, *, mime: bool) -> None:
        self.domain = domain
        self.form = form
        self.batch = _batch_variables(form.first("recipient-variables"))
        self._by_lower: dict[str, dict[str, Any]] | None = None
        self.headers = {name.lower(): text for name, text in self._texts("h:").items()}
        self._mime = _mime_source(form) if mime else None
        self.sender, subject = self._sender_and_subject()
        self.subject = self._text(subject)
        self.to = bare_addresses(self._required("to"), "to")
        self.cc = bare_addresses(form.all("cc"), "cc")
        self.bcc = bare_addresses(form.all("bcc"), "bcc")
        if len(self.to) + len(self.cc) + len(self.bcc) > _MAX_RECIPIENTS:
            raise Refused(400, f"to parameter: a message may have at most {_MAX_RECIPIENTS} recipients")
        self.template = form.first("template") or ""
        self.bodies = self._read_bodies()
        self.fixed_size = sum(len(file.content) for file in form.files if file.name in ("attachment", "inline"))
        self.stored_size = self.fixed_size + sum(len(text.source) for text in self.bodies)
        if self.stored_size > _MAX_MESSAGE:
            raise Refused(413, "Message is too large: the limit is 25 MB")
        self._variables = self._texts("v:")
        self._constant = {name: text.source for name, text in self._variables.items()}
        self._all_constant = all(text.constant for text in self._variables.values())
        self.tags = form.all("o:tag")
        self.test_mode = (form.first("o:testmode") or "no").lower() in ("yes", "true")

    def _text(self, source: str) -> Text:
        return Text(source, self.batch is not None)

    def _texts(self, prefix: str) -> dict[str, Text]:
        values = self.form.values.items()
        return {name[2:]: self._text(given[-1]) for name, given in values if name[:2] == prefix}

    def _required(self, name: str) -> list[str]:
        values = [value for value in self.form.all(name) if value.strip()]
        if not values:
            raise Refused(400, f"{name} parameter is missing")
        return values

    def _sender_and_subject(self) -> tuple[str, str]:
        if self._mime is not None:
            head = self._mime.encode().replace(b"\r\n", b"\n").partition(b"\n\n")[0]
            headers = BytesHeaderParser(policy=default_policy).parsebytes(head + b"\n\n")
            return str(headers.get("from", "")), str(headers.get("subject", ""))
        sender = self._required("from")[0]
        bare_addresses([sender], "from")
        return sender, self.form.first("subject") or ""

    def _read_bodies(self) -> list[Text]:
        if self._mime is not None:
            return [self._text(self._mime)]
        bodies = [self._text(value) for name in _BODIES if (value := self.form.first(name)) is not None]
        if not bodies and not self.template:
            raise Refused(400, "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified")
        return bodies

    def check_options(self) -> None:
        """The limits on o:, h:, v: and t: parameters."""
        options = {name: values for name, values in self.form.values.items() if name[:2] in ("o:", "h:", "v:", "t:")}
        if sum(len(name) + len(value) for name, values in options.items() for value in values) > _MAX_OPTIONS:
            raise Refused(400, "o:, h:, v: and t: parameters exceed 16 KB in total")
        if len(self.tags) > _MAX_TAGS:
            raise Refused(400, f"o:tag parameter: at most {_MAX_TAGS} tags are allowed per message")
        if any(len(tag) > 128 or not tag.isascii() for tag in self.tags):
            raise Refused(400, "o:tag parameter: a tag is at most 128 ASCII characters")

    def copies(self) -> Iterable[tuple[str, list[str], dict[str, Any]]]:
        """(address of the copy, envelope recipients of the copy, its variables)."""
        if self.batch is None:
            everyone = {address.lower(): address for address in (*self.to, *self.cc, *self.bcc)}
            yield self.to[0], list(everyone.values()), {}
            return
        others = self.cc + self.bcc  # duplicated for every copy, as the real service does
        for address in self.to:
            yield address, [address, *others], self._values(address)

    def _values(self, address: str) -> dict[str, Any]:
        assert self.batch is not None
        values = self.batch.get(address)
        if values is None:
            if self._by_lower is None:
                self._by_lower = {key.lower(): value for key, value in self.batch.items()}
            values = self._by_lower.get(address.lower(), {})
        return values

    def variables_for(self, values: dict[str, Any], address: str) -> dict[str, Any]:
        """The `v:` values of a copy; shared between copies when nothing is replaced."""
        if self._all_constant:
            return self._constant
        return {name: text.render(values, address) for name, text in self._variables.items()}

    def rendered(self, recipient: str) -> dict[str, Any] | None:
        """The copy that `recipient` gets, or None when it is not one of the recipients."""
        for address, copies, values in self.copies():
            if recipient.lower() in (copy.lower() for copy in copies):
                names = ["mime"] if self._mime is not None else [name for name in _BODIES if name in self.form.values]
                return {
                    "from": self.sender,
                    "to": [address] if self.batch is not None else self.to,
                    "subject": self.subject.render(values, address),
                    "headers": {name: text.render(values, address) for name, text in self.headers.items()},
                    "variables": self.variables_for(values, address),
                    "template": self.template,
                    "attachments": [
                        {"filename": file.filename, "bytes": len(file.content)}
                        for file in self.form.files
                        if file.name in ("attachment", "inline")
                    ],
                    **{name: text.render(values, address) for name, text in zip(names, self.bodies, strict=True)},
                }
        return None


def _mime_source(form: Form) -> str:
    for file in form.files:
        if file.name == "message":
            return file.content.decode("utf-8", "replace")
    message = form.first("message")
    if not message:
        raise Refused(400, "message parameter is missing")
    return message


def _batch_variables(source: str | None) -> dict[str, dict[str, Any]] | None:
    if source is None:
        return None
    try:
        return msgspec.json.decode(source, type=dict[str, dict[str, Any]])
    except msgspec.DecodeError as error:
        raise Refused(400, "recipient-variables parameter is not a valid JSON object of objects") from error


def _scheduled(source: str | None, now_ms: int, max_days: int) -> int:
    """o:deliverytime in epoch milliseconds; 0 for none and for the past."""
    if source is None:
        return 0
    try:
        at_ms = moment_ms(source)
    except ValueError as error:
        raise Refused(400, "o:deliverytime parameter is not a valid RFC 2822 date") from error
    if at_ms > now_ms + timedelta(days=max_days).total_seconds() * 1000:
        raise Refused(400, f"o:deliverytime parameter is more than {max_days} days in the future")
    return at_ms if at_ms > now_ms else 0


def _first_link(draft: _Draft, values: dict[str, Any], address: str) -> str:
    for text in reversed(draft.bodies):
        if found := _LINK.search(text.render(values, address)):
            return found[0]
    return "https://www.example.com/"
