"""Values of flags that are more than a word: ``@FILE`` and JSON objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streams.cli.failure import UsageFailure


def text_or_file(text: str | None) -> str | None:
    """The text itself, or that of the file after ``@``; raises UsageFailure."""
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageFailure(f"{text[1:]} cannot be read: {exc}") from exc


def json_object(flag: str, text: str | None) -> dict[str, Any]:
    """The object that ``flag`` gives, as JSON or in a file; empty without a value. Raises UsageFailure."""
    if text is None:
        return {}
    try:
        value = json.loads(text_or_file(text) or "")
    except ValueError as exc:
        raise UsageFailure(f"{flag} is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise UsageFailure(f"{flag} must be a JSON object")
    return value
