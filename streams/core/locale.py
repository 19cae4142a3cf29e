"""Which language a recipient reads, and which variant of a template that is.

Rules:

1. The recipient's data say it (``locale``, else ``language``: ``de``, ``pt-BR``, ``pt_BR``), else the request's.
2. A variant of the template ``welcome`` is stored as ``welcome#de``. The nearest one is taken: ``pt-br``, then ``pt``,
   then ``welcome`` itself, which must exist.
3. What is no language tag (RFC 5646, at most 35 characters) means none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MARK = "#"
_FIELDS = ("locale", "language")
_is_tag = re.compile(r"[a-z]{2,8}(?:-[a-z0-9]{1,8})*").fullmatch
_LONGEST = 35


def locale_of(data: Mapping[str, Any]) -> str:
    """The normal form of what the data say (lower case, hyphens); empty if they say nothing."""
    for name in _FIELDS:
        value = data.get(name)
        if isinstance(value, str) and (tag := locale_tag(value)):
            return tag
    return ""


def locale_tag(text: str) -> str:
    """The normal form of a language tag; empty for what is none."""
    if len(text) > _LONGEST:
        return ""
    tag = text.strip().replace("_", "-").lower()
    return tag if _is_tag(tag) else ""


def variant_ids(template_id: str, locale: str) -> Iterator[str]:
    """The ids of the variants to look for, the nearest first; the template itself is not among them."""
    while locale:
        yield f"{template_id}{MARK}{locale}"
        locale = locale.rpartition("-")[0]


def base_id(template_id: str) -> str:
    """The template that a variant belongs to."""
    return template_id.partition(MARK)[0]
