"""SES's sending calls: a body becomes accepted recipients, or the call is refused. No I/O.

A message may have several recipients; each gets a line of the ledger, the first one carries the message's one
`Send` event. Without a configuration set nothing is published. Templates know `{{name}}` and `{{a.b}}`; a missing
attribute is accepted and becomes a Rendering Failure event, as in the real service.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import default as default_policy
from email.utils import getaddresses
from typing import Any, Final
from uuid import uuid4

from streams.sandbox.config import SesConfig
from streams.sandbox.ledger import Accepted
from streams.sandbox.outcomes import Draw, Outcome, plan, plan_after_first, plan_without_events
from streams.sandbox.ses_checks import (
    EICAR,
    MAX_RECIPIENTS,
    attachments_size,
    bare_address,
    check_headers,
    header_tags,
    message_size,
    recipients_of,
    tags_of,
)
from streams.sandbox.ses_events import template_data
from streams.sandbox.ses_model import (
    ApiError,
    BulkEntry,
    Content,
    SendBulkEmail,
    SendEmail,
    Template,
    TemplateContent,
)
from streams.sandbox.suppressions import SuppressionLists

LIST: Final = "ses.addresses"
_MAX_TEMPLATE_DATA: Final = 262_144
_SET_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VARIABLE: Final = re.compile(r"\{\{\{?\s*([A-Za-z_][\w.-]*)\s*\}\}\}?")
_LINK: Final = re.compile(r"https?://[^\s\"'<>]+")


@dataclass(frozen=True, slots=True)
class Mail:
    """One message, ready to be planned: content rendered, recipients not yet looked at."""

    sender: str
    recipients: list[str]
    subject: str
    bodies: dict[str, str]
    size: int
    tags: dict[str, str]
    configuration_set: str
    infected: bool = False
    missing: str | None = None  # the attribute that the template wanted
    template: str = ""


@dataclass(frozen=True, slots=True)
class EntryResult:
    """The answer to one entry of a bulk call."""

    status: str
    error: str | None
    message_id: str | None


class SesSending:
    """Turns calls into accepted recipients. `templates` are the stored ones, by name."""

    def __init__(self, config: SesConfig, draw: Draw, lists: SuppressionLists, identity_variable: str,
                 templates: dict[str, TemplateContent]) -> None:  # fmt: skip
        self._config = config
        self._draw = draw
        self._lists = lists
        self._identity_variable = identity_variable
        self._templates = templates

    def read(self, call: SendEmail) -> Mail:
        """The message of SendEmail. Raises ApiError."""
        given = [name for name in ("simple", "raw", "template") if getattr(call.content, name) is not None]
        if len(given) != 1:
            raise ApiError("BadRequestException", "Exactly one of Simple, Raw and Template must be given.")
        tags = tags_of(call.email_tags)
        recipients = call.destination.addresses() if call.destination is not None else []
        if call.content.raw is not None:
            return self._raw(call, call.content, recipients, tags)
        sender = self._sender(call.from_email_address)
        bare = recipients_of(recipients)
        chosen = self._configuration_set(call.configuration_set_name)
        if call.content.template is not None:
            return self._rendered(
                sender, bare, call.content.template, [call.content.template.template_data], tags, chosen
            )
        simple = call.content.simple
        assert simple is not None
        check_headers(simple.headers)
        parts = {"text": simple.body.text, "html": simple.body.html}
        bodies = {name: part.data for name, part in parts.items() if part is not None}
        if not bodies:
            raise ApiError("BadRequestException", "Body must contain Text or Html.")
        extra, infected = attachments_size(simple.attachments)
        infected = infected or any(EICAR in body for body in bodies.values())
        size = message_size(simple.subject.data, *bodies.values()) + extra
        return Mail(sender, bare, simple.subject.data, bodies, size, tags, chosen, infected)

    def _raw(self, call: SendEmail, content: Content, recipients: list[str], tags: dict[str, str]) -> Mail:
        assert content.raw is not None
        try:
            data = b64decode(content.raw.data, validate=False)
        except (binascii.Error, ValueError) as error:
            raise ApiError("BadRequestException", "Raw.Data is not valid base64.") from error
        head = data.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
        headers = BytesHeaderParser(policy=default_policy).parsebytes(head + b"\n\n")
        sender = self._sender(call.from_email_address or str(headers.get("from", "")))
        if not recipients:
            fields = [str(value) for name in ("to", "cc", "bcc") for value in headers.get_all(name, [])]
            recipients = [address for _, address in getaddresses(fields)]
        chosen = call.configuration_set_name or _text(headers, "x-ses-configuration-set")
        from_header = header_tags(_text(headers, "x-ses-message-tags"))
        text = data.decode("utf-8", "replace")
        return Mail(
            sender, recipients_of(recipients), _text(headers, "subject"), {"mime": text}, len(data),
            {**from_header, **tags}, self._configuration_set(chosen or None), EICAR in text,
        )  # fmt: skip

    def entry(self, call: SendBulkEmail, entry: BulkEntry) -> Mail:
        """The message of one bulk entry. Raises ApiError (which concerns the entry alone)."""
        replacement = entry.replacement_email_content and entry.replacement_email_content.replacement_template
        data = replacement.replacement_template_data if replacement else None
        check_headers(entry.replacement_headers)
        tags = tags_of(call.default_email_tags) | tags_of(entry.replacement_tags)
        template = call.default_content.template
        recipients = recipients_of(entry.destination.addresses())
        chosen = self._configuration_set(call.configuration_set_name)
        sender = self._sender(call.from_email_address)
        return self._rendered(sender, recipients, template, [template.template_data, data], tags, chosen)

    def check_bulk(self, call: SendBulkEmail) -> None:
        """What refuses a bulk call as a whole. Raises ApiError."""
        if not call.bulk_email_entries:
            raise ApiError("BadRequestException", "BulkEmailEntries must not be empty.")
        if sum(len(entry.destination.addresses()) for entry in call.bulk_email_entries) > MAX_RECIPIENTS:
            raise ApiError("BadRequestException", "Recipient count exceeds 50.")
        self._sender(call.from_email_address)
        self._configuration_set(call.configuration_set_name)
        self._template(call.default_content.template)
        tags_of(call.default_email_tags)

    def _template(self, template: Template) -> tuple[str, TemplateContent]:
        if template.template_content is not None:
            return "inline", template.template_content
        name = template.template_name or (template.template_arn or "").rpartition("/")[2]
        if name not in self._templates:
            raise ApiError("NotFoundException", f"Template {name} does not exist", 404)
        return name, self._templates[name]

    def _rendered(self, sender: str, recipients: list[str], template: Template, sources: Sequence[str | None],
                  tags: dict[str, str], chosen: str) -> Mail:  # fmt: skip
        name, content = self._template(template)
        check_headers(template.headers)
        values: dict[str, Any] = {}
        for source in sources:
            data = template_data(source)
            if data is None or len(source or "") > _MAX_TEMPLATE_DATA:
                raise ApiError("BadRequestException", "TemplateData is not a JSON object of at most 262144 characters.")
            values |= data
        texts = {"subject": content.subject or "", "text": content.text, "html": content.html}
        missing: list[str] = []
        done = {key: _fill(text, values, missing) for key, text in texts.items() if text is not None}
        subject = done.pop("subject")
        if not done:
            raise ApiError("BadRequestException", "The template has neither Text nor Html.")
        extra, infected = attachments_size(template.attachments)
        size = message_size(subject, *done.values()) + extra
        return Mail(
            sender, recipients, subject, done, size, tags, chosen, infected, missing[0] if missing else None, name
        )

    def _sender(self, address: str | None) -> str:
        if not address or not address.strip():
            raise ApiError("BadRequestException", "Missing required header 'From'.")
        bare_address(address)
        return address

    def _configuration_set(self, name: str | None) -> str:
        chosen = name or self._config.default_configuration_set or ""
        if chosen and not _SET_NAME.fullmatch(chosen):
            raise ApiError("BadRequestException", "Configuration set name is not valid.")
        known = self._config.configuration_sets
        if chosen and known and chosen not in known:
            raise ApiError("NotFoundException", f"Configuration set <{chosen}> does not exist.", 404)
        return chosen

    def accept(self, mail: Mail, call_id: str, now_ms: int) -> tuple[str, list[Accepted]]:
        """(message id, one record per recipient)."""
        message_id = f"0100{now_ms:012x}-{uuid4()}-000000"
        records: list[Accepted] = []
        for position, recipient in enumerate(mail.recipients):
            outcome = self._outcome(mail, recipient, now_ms)
            if not mail.configuration_set:
                chosen = plan_without_events(outcome)
            elif position == 0:
                chosen = plan("ses", outcome)
            else:
                chosen = plan_without_events(outcome) if mail.missing else plan_after_first(outcome)
            detail = mail.missing or (_first_link(mail) if "Click" in chosen.events else "")
            records.append(
                Accepted(
                    "ses", message_id, recipient, dict(mail.tags), [], now_ms, call_id, mail.subject, mail.size, chosen,
                    mail.sender, 0, mail.configuration_set, mail.recipients if len(mail.recipients) > 1 else None, "",
                    detail, mail.template,
                )
            )  # fmt: skip
        return message_id, records

    def _outcome(self, mail: Mail, recipient: str, now_ms: int) -> Outcome:
        if mail.missing:
            return Outcome.RENDERING_FAILURE
        if mail.infected:
            return Outcome.REJECT
        if self._lists.find(LIST, recipient, now_ms) is not None:
            return Outcome.SUPPRESSED_BOUNCE
        return self._draw.outcome(recipient, mail.tags.get(self._identity_variable, recipient))


def renderer(mail: Mail) -> Callable[[str], dict[str, Any] | None]:
    """How a recipient's copy looks."""

    def rendered(recipient: str) -> dict[str, Any] | None:
        if recipient.lower() not in (address.lower() for address in mail.recipients):
            return None
        shown = {"from": mail.sender, "to": mail.recipients, "subject": mail.subject, "variables": mail.tags}
        return {**shown, "template": mail.template, **mail.bodies}

    return rendered


def _text(headers: Message, name: str) -> str:
    return str(headers.get(name, "")).strip()


def _fill(text: str, values: dict[str, Any], missing: list[str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        found: Any = values
        for step in match[1].split("."):
            if not isinstance(found, dict) or step not in found:
                missing.append(match[1])
                return ""
            found = found[step]
        return found if isinstance(found, str) else str(found)

    return _VARIABLE.sub(value_of, text) if "{{" in text else text


def _first_link(mail: Mail) -> str:
    for body in reversed(mail.bodies.values()):
        if found := _LINK.search(body):
            return found[0]
    return "https://www.example.com/"
