"""A batch as one call of the SES v2 API.

Rules:

1. One recipient: ``SendEmail`` with a raw MIME message. Several: ``SendBulkEmail`` with the content inline and the
   personal values as template data.
2. What SES's template language would interpret is refused by :func:`fits`; such a batch goes one by one.
3. ``message_id`` and ``attempt`` travel as message tags, which every published event repeats.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import Any

from streams.content.mime import ascii_address, ascii_mailbox, build_mime, is_header_allowed, message_id_for, one_line
from streams.providers.base import Batch, Entry, HttpRequest, Pattern, Slot, fill
from streams.providers.ses.config import Config

SINGLE_PATH = "/v2/email/outbound-emails"
BULK_PATH = "/v2/email/outbound-bulk-emails"

_MAX_TEMPLATE_BYTES = 500_000
_MAX_DATA_CHARS = 262_144
_MAX_HEADERS = 15
_MAX_TAGS = 10
_MAX_TAG_CHARS = 256
_JSON = (("content-type", "application/json"),)


def fits(batch: Batch, max_recipients: int) -> str:
    """Empty if the batch may go out in one call, else the reason why not."""
    if len(batch.entries) == 1:
        return ""
    if len(batch.entries) > max_recipients:
        return f"more than {max_recipients} recipients"
    if batch.mime:
        return "a finished message has one recipient"
    if batch.visible_to or batch.visible_cc:
        return "the visible recipients are not the envelope's"
    if batch.attachments:
        return "attachments are sent in a MIME message"
    return _headers_fit(batch) or _content_fits(batch) or _entries_fit(batch)


def _headers_fit(batch: Batch) -> str:
    if len(batch.headers) + len(batch.personal_headers) > _MAX_HEADERS:
        return f"more than {_MAX_HEADERS} headers"
    for name, value in batch.headers:
        if is_header_allowed(name) and not (_HEADER_VALUE.fullmatch(value) and len(name) + len(value) <= 996):
            return f"the header {name} needs a MIME message"
    return ""


def _content_fits(batch: Batch) -> str:
    size = 0
    for pattern in (batch.subject, batch.text, batch.html):
        written = _with_slots(pattern)
        slots = sum(isinstance(part, Slot) for part in pattern)
        if written.count("{{") != slots or written.count("}}") != slots or _NEAR_SLOT.search(written):
            return "the content contains {{ or something like it"
        size += len(written.encode("utf-8", "replace"))
    return f"the content is above {_MAX_TEMPLATE_BYTES} bytes" if size > _MAX_TEMPLATE_BYTES else ""


def _entries_fit(batch: Batch) -> str:
    for entry in batch.entries:
        if not entry.recipient.email.rpartition("@")[0].isascii():
            return "a local part is not ASCII"
        if sum(map(len, entry.variables.values())) > _MAX_DATA_CHARS // 12:  # \\uXXXX twice escaped, at worst
            return "a recipient's values are too long"
    return ""


def build_request(config: Config, batch: Batch, now_ms: int) -> HttpRequest:
    """The one POST that carries the batch, not yet signed."""
    if len(batch.entries) == 1:
        return _post(config, SINGLE_PATH, _single(config, batch, batch.entries[0], now_ms))
    return _post(config, BULK_PATH, _bulk(config, batch))


def account_request(config: Config) -> HttpRequest:
    """GetAccount: the quotas and the health of the account, not yet signed."""
    return HttpRequest("GET", f"{config.endpoint}/v2/email/account", (("accept", "application/json"),))


def _post(config: Config, path: str, body: dict[str, Any]) -> HttpRequest:
    data = json.dumps(body, separators=(",", ":")).encode("ascii")
    return HttpRequest("POST", f"{config.endpoint}{path}", _JSON, data)


def _single(config: Config, batch: Batch, entry: Entry, now_ms: int) -> dict[str, Any]:
    mime = build_mime(batch, entry, message_id_for(batch.sender, entry.message_id), now_ms)
    return {
        "FromEmailAddress": ascii_mailbox(batch.sender),
        "Destination": {"ToAddresses": [ascii_address(entry.recipient.email)]},
        "Content": {"Raw": {"Data": b64encode(mime).decode("ascii")}},
        "EmailTags": _tags(batch, entry),
        **_options(config, batch),
    }


def _bulk(config: Config, batch: Batch) -> dict[str, Any]:
    names = sorted({p.name for p in (*batch.subject, *batch.text, *batch.html) if isinstance(p, Slot)})
    content = {"Subject": one_line(_with_slots(batch.subject))}
    if batch.text or not batch.html:
        content["Text"] = _with_slots(batch.text) or "\n"
    if batch.html:
        content["Html"] = _with_slots(batch.html)
    template: dict[str, Any] = {"TemplateContent": content, "TemplateData": "{}"}
    headers = [{"Name": name, "Value": value} for name, value in batch.headers if is_header_allowed(name)]
    if headers:
        template["Headers"] = headers
    body: dict[str, Any] = {
        "FromEmailAddress": ascii_mailbox(batch.sender),
        "DefaultContent": {"Template": template},
        "BulkEmailEntries": [_entry(batch, entry, names) for entry in batch.entries],
        **_options(config, batch),
    }
    if batch.reply_to:
        body["ReplyToAddresses"] = [ascii_mailbox(mailbox) for mailbox in batch.reply_to]
    return body


def _entry(batch: Batch, entry: Entry, names: list[str]) -> dict[str, Any]:
    data = json.dumps({f"x_{name}": entry.variables.get(name, "") for name in names}, separators=(",", ":"))
    written: dict[str, Any] = {
        "Destination": {"ToAddresses": [ascii_mailbox(entry.recipient)]},
        "ReplacementTags": _tags(batch, entry),
        "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": data}},
    }
    if batch.personal_headers:
        written["ReplacementHeaders"] = [
            {"Name": name, "Value": one_line(fill(value, entry.variables))} for name, value in batch.personal_headers
        ]
    return written


def _options(config: Config, batch: Batch) -> dict[str, Any]:
    options: dict[str, Any] = {}
    configuration_set = config.configuration_sets.get(batch.stream) or config.configuration_set
    if configuration_set:
        options["ConfigurationSetName"] = configuration_set
    if config.tenant_name:
        options["TenantName"] = config.tenant_name
    tracking = {
        name: "ENABLED" if wanted else "DISABLED"
        for name, wanted in (("OpenTrackingEnabled", batch.track_opens), ("ClickTrackingEnabled", batch.track_clicks))
        if wanted is not None
    }
    if tracking:
        options["ConfigurationOverrides"] = {"Tracking": tracking}
    return options


def _tags(batch: Batch, entry: Entry) -> list[dict[str, str]]:
    pairs = [("message_id", entry.message_id), ("attempt", str(entry.attempt))]
    clean = (_NOT_IN_TAG.sub("_", tag)[:_MAX_TAG_CHARS] for tag in batch.tags)
    unique = list(dict.fromkeys(tag for tag in clean if tag))[:_MAX_TAGS]
    pairs += [(f"tag{number}", tag) for number, tag in enumerate(unique, 1)]
    return [{"Name": name, "Value": value} for name, value in pairs]


def _with_slots(pattern: Pattern) -> str:
    return "".join(part if isinstance(part, str) else f"{{{{x_{part.name}}}}}" for part in pattern)


_HEADER_VALUE = re.compile(r"[ -~]{1,995}")
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_-]")
_NEAR_SLOT = re.compile(r"\{\{\{|\}\}\}|\\\{\{")  # Handlebars reads these three otherwise than meant
