"""A message as one call of SingleSendMail, or the reason why this API cannot carry it.

Rules:

1. One recipient per call: a call may name a hundred addresses, but nothing says that they do not see each other, all
   share one id, and no text can differ.
2. What the API has no place for is refused in words, never left out silently: files, a finished message, visible
   recipients, headers outside its list, a second reply address. DirectMail's SMTP carries all of them.
3. ``Message-ID`` carries our id and the attempt: notifications repeat it as ``msg_id``. Where it were not kept, the
   answer's ``EnvId`` would bring them home.

Source: DirectMail API reference and official SDK (SingleSendMail, version 2015-11-23).
"""

from __future__ import annotations

import json
import re
from uuid import uuid4

from streams.content.mime import ascii_address, one_line
from streams.core import verp
from streams.core.event import Reason, ReasonKind
from streams.core.ids import is_message_id
from streams.providers.base import Batch, Entry, HttpRequest, fill
from streams.providers.directmail.config import Config
from streams.providers.directmail.signing import post

MAX_RECIPIENTS = 1
MAX_BYTES = 6_000_000
MAX_SUBJECT = 256
MAX_ALIAS = 14
MAX_HEADERS = 10
STANDARD_HEADERS = {name.lower(): name for name in ("Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post")}

_SENDER_HEADER = re.compile(r"x-user-[a-z0-9-]{1,64}", re.IGNORECASE)
_TAG = re.compile(r"[A-Za-z0-9_-]{1,128}")


def fits(batch: Batch) -> str:
    """Empty if the batch may go out in one call, else the reason why its entries must go one by one."""
    return "" if len(batch.entries) == 1 else "DirectMail is called for one recipient at a time"


def refusal(batch: Batch) -> Reason | None:
    """Why this API cannot carry a message of one recipient at all."""
    why = _no_place(batch)
    if why:
        return Reason(ReasonKind.INVALID_REQUEST, detail=f"DirectMail's API carries no {why}; its SMTP does")
    entry = batch.entries[0]
    if "," in entry.recipient.email:
        return Reason(ReasonKind.INVALID_ADDRESS, detail="DirectMail's API takes a comma for the end of an address")
    subject = one_line(fill(batch.subject, entry.variables))
    if len(subject) > MAX_SUBJECT:
        return Reason(
            ReasonKind.INVALID_REQUEST, detail=f"DirectMail takes subjects of at most {MAX_SUBJECT} characters"
        )
    size = sum(len(fill(pattern, entry.variables).encode("utf-8", "replace")) for pattern in (batch.text, batch.html))
    if size > MAX_BYTES:
        return Reason(ReasonKind.MESSAGE_TOO_LARGE, detail=f"DirectMail's API takes at most {MAX_BYTES} bytes of text")
    return None


def _no_place(batch: Batch) -> str:
    if batch.mime:
        return "finished messages"
    if batch.attachments:
        return "attachments"
    if batch.visible_to or batch.visible_cc:
        return "visible recipients besides its own"
    if len(batch.reply_to) > 1:
        return "second reply address"
    for name, _ in batch.headers:
        if name.lower() not in STANDARD_HEADERS and not _SENDER_HEADER.fullmatch(name):
            return f"header {one_line(name)[:64]} (only X-User-… and List-Unsubscribe)"
    if len(batch.headers) >= MAX_HEADERS:
        return f"more than {MAX_HEADERS - 1} headers of the sender"
    return ""


def build_request(config: Config, batch: Batch, now_ms: int) -> HttpRequest:
    """The one POST for one recipient."""
    return post(config, "SingleSendMail", parameters(config, batch), uuid4().hex, now_ms)


def parameters(config: Config, batch: Batch) -> dict[str, str]:
    """The parameters of SingleSendMail; raises ValueError for more than one recipient (they would see each other)."""
    (entry,) = batch.entries
    named = {
        "AccountName": ascii_address(batch.sender.email),
        "AddressType": "1",
        "ReplyToAddress": "true" if config.reply_to_address and not batch.reply_to else "false",
        "ToAddress": ascii_address(entry.recipient.email),
        "Subject": one_line(fill(batch.subject, entry.variables)),
        "HtmlBody": fill(batch.html, entry.variables),
        "TextBody": fill(batch.text, entry.variables),
        "FromAlias": one_line(batch.sender.name)[:MAX_ALIAS].strip(),
        "Headers": _headers(batch, entry),
        "UnSubscribeLinkType": config.unsubscribe_link,
        "UnSubscribeFilterLevel": config.unsubscribe_filter,
    }
    if batch.reply_to:
        named["ReplyAddress"] = ascii_address(batch.reply_to[0].email)
        named["ReplyAddressAlias"] = one_line(batch.reply_to[0].name)[:MAX_ALIAS].strip()
    tag = _tag(config, batch)
    if tag:
        named["TagName"] = tag
        named["ClickTrace"] = "1" if _tracked(config, batch) else "0"
    if not named["HtmlBody"] and not named["TextBody"]:
        named["TextBody"] = "\n"  # one of the two is required
    return {name: value for name, value in named.items() if value}


def _headers(batch: Batch, entry: Entry) -> str:
    headers: dict[str, str] = {}
    if is_message_id(entry.message_id):
        domain = ascii_address(batch.sender.email).rpartition("@")[2]
        headers["Message-ID"] = verp.message_id_header(domain, entry.message_id, entry.attempt)
    for name, value in batch.headers:
        key = STANDARD_HEADERS.get(name.lower(), name)
        if key != "Message-ID":
            headers[key] = one_line(value)
    return json.dumps(headers, separators=(",", ":")) if headers else ""


def _tag(config: Config, batch: Batch) -> str:
    if config.message_tags:
        found = next((tag for tag in batch.tags if _TAG.fullmatch(tag)), "")
        if found:
            return found
    return config.tag


def _tracked(config: Config, batch: Batch) -> bool:
    """One switch for opens and clicks: whoever forbids one of them forbids both."""
    asked = (batch.track_opens, batch.track_clicks)
    if False in asked:
        return False
    return True in asked or config.click_trace
