"""The classic notification: ``key=value&key=value…``, and nothing in it is encoded.

Rules:

1. A value may hold spaces, ``&``, ``=`` and ``+``. A field begins only where a key of our list stands after ``&`` or at
   the beginning, and the first occurrence of a key is the field.
2. ``url`` is the last field of a click: it runs to the end, whatever it contains.
3. ``err_msg`` is the remote host's own text. What it contains may look like ``failed_type``, which follows it: there
   the last one counts, if it ends the text.
"""

from __future__ import annotations

import re

KEYS = (
    "X-Notify-Message-ID",
    "env_id",
    "msg_id",
    "msgid",
    "account",
    "from",
    "rcpt",
    "recv_time",
    "end_time",
    "operate_time",
    "status",
    "event",
    "region",
    "err_code",
    "err_msg",
    "failed_type",
    "tag",
    "url",
)
_KEY = re.compile(rf"(?:^|&)({'|'.join(map(re.escape, KEYS))})=")
_LAST_TYPE = re.compile(r"&failed_type=([A-Za-z0-9_]{0,64})\s*\Z")
_EVENT = re.compile(r"(?:^|&)event=([^&]*)")


def fields(text: str) -> dict[str, str] | None:
    """The fields of a notification; None if it is none (it begins with no key we know)."""
    text = text.strip("\r\n \t\ufeff")
    if _KEY.match(text) is None:
        return None
    starts = _starts(text)
    found: dict[str, str] = {}
    for index, (key, _, value_at) in enumerate(starts):
        end = starts[index + 1][1] if index + 1 < len(starts) else len(text)
        found[key] = text[value_at:end]
    return found


def _starts(text: str) -> list[tuple[str, int, int]]:
    """(key, where it begins, where its value begins) of each field, in order."""
    event = _EVENT.search(text)
    has_url = event is not None and event[1].lower().endswith(("open", "click"))
    last_type = _LAST_TYPE.search(text)
    starts: list[tuple[str, int, int]] = []
    seen: set[str] = set()
    for match in _KEY.finditer(text):
        key = match[1]
        if key in seen or (key == "url" and not has_url):
            continue
        if key == "failed_type" and "err_msg" in seen and last_type is not None and match.start() != last_type.start():
            continue  # said by the remote host
        seen.add(key)
        starts.append((key, match.start(), match.end()))
        if key == "url":
            break
    return starts
