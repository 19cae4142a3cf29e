"""IMAP's grammar, as far as the sandbox speaks it (RFC 3501, 9): commands as nested lists, sets of numbers, strings."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

Word: TypeAlias = "str | list[Word]"

_MAX_LITERAL: Final = 65_536
_LITERAL: Final = re.compile(rb"\{(\d{1,9})(\+?)\}\r\n$")
_TOKEN: Final = re.compile(
    r'\s*(?:(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\\r\n]|\\.)*)"|'
    r"(?P<atom>[^\s()\"\[]+(?:\[[^\]\r\n]*\](?:<\d+\.\d+>)?)?))"
)


class Malformed(ValueError):
    """It is no command."""


async def read_command(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[Word] | None:
    """The next command, literals included; None at the end of the connection. Raises Malformed."""
    stack: list[list[Word]] = [[]]
    while True:
        try:
            line = await reader.readuntil(b"\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return None
        literal = _LITERAL.search(line)
        _tokens(line[: literal.start()] if literal else line, stack)
        if literal is None:
            break
        size = int(literal[1])
        if size > _MAX_LITERAL:
            raise Malformed("the literal is too long")
        if not literal[2]:
            writer.write(b"+ go on\r\n")
            await writer.drain()
        try:
            stack[-1].append((await reader.readexactly(size)).decode("utf-8", "replace"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
    if len(stack) != 1:
        raise Malformed("a bracket is open")
    return stack[0]


def _tokens(line: bytes, stack: list[list[Word]]) -> None:
    text = line.decode("utf-8", "replace").rstrip()
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise Malformed(f"nothing begins with {text[position : position + 10]!r}")
        position = found.end()
        if found["open"]:
            inner: list[Word] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif found["close"]:
            if len(stack) < 2:
                raise Malformed("a bracket closes that was never opened")
            stack.pop()
        elif (quoted := found["quoted"]) is not None:
            stack[-1].append(re.sub(r"\\(.)", r"\1", quoted))
        else:
            stack[-1].append(found["atom"])


def is_set(text: str) -> bool:
    """Whether this is a set of numbers."""
    return re.fullmatch(r"(?:\d+|\*)(?::(?:\d+|\*))?(?:,(?:\d+|\*)(?::(?:\d+|\*))?)*", text) is not None


def chosen(text: str, among: Sequence[int]) -> list[int]:
    """Those of `among` (ascending) that a set names; `*` is the last one. Raises Malformed."""
    if not is_set(text):
        raise Malformed(f"{text!r} is no set of numbers")
    last = among[-1] if among else 0
    ranges = []
    for part in text.split(","):
        ends = [last if end == "*" else int(end) for end in part.split(":")]
        ranges.append((min(ends), max(ends)))
    return [number for number in among if any(low <= number <= high for low, high in ranges)]


def quoted(text: str) -> str:
    """A string for an answer."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
