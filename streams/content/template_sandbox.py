"""Jinja2 for templates of people we need not trust: no files, no Python, and an end to every render.

Rules:

1. Nothing loads another template, reaches an attribute that Jinja2's sandbox forbids, or changes the data it is given.
2. Every loop turn and every call costs a step; steps, seconds and characters are limited (:class:`Limits`). What could
   make much out of little in a single step (``"x" * n``, ``center``, ``replace``) is checked before it runs.
3. The same template and data give the same text, whenever it is rendered: nothing random, no clock.
4. ``a.b`` on a dict means the entry ``b`` first, so data may have a key called ``items``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may cost to render: loop turns and calls, seconds, characters."""

    steps: int = 100_000
    seconds: float = 1.0
    characters: int = 5_000_000


class LimitReached(SecurityError):
    """A render took too many steps, too long, or became too large."""


_STRING_METHODS = frozenset(
    {"capitalize", "endswith", "find", "isdigit", "lower", "lstrip", "rstrip", "split", "startswith", "strip", "title"}
    | {"upper", "count", "isalpha", "isalnum", "removeprefix", "removesuffix", "partition", "rpartition", "swapcase"}
)
_GLOBALS = frozenset({"range", "dict", "namespace", "cycler", "joiner"})
_NO_FILTERS = frozenset({"pprint", "random", "xmlattr"})
_NUMERIC_FILTERS = frozenset({"batch", "center", "indent", "round", "slice", "tojson", "truncate", "wordwrap", "int"})
_LARGEST_ARGUMENT = 10_000
_LARGEST_NUMBER_BITS = 2048
_wide_format = re.compile(r"%[^a-zA-Z%]*(\d{4,}|\*)").search
_EVERY = 64  # steps between two looks at the clock


class MailEnvironment(ImmutableSandboxedEnvironment):
    """One render at a time: :meth:`begin` starts the count. ``html`` escapes whatever is interpolated."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, *, html: bool, limits: Limits, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(
            autoescape=html, undefined=StrictUndefined, finalize=_shown, keep_trailing_newline=True, cache_size=0
        )
        self._limits = limits
        self._clock = clock
        self._steps = 0
        self._until = float("inf")
        self.globals = {name: value for name, value in self.globals.items() if name in _GLOBALS}
        self.filters = {name: self._guarded(name, f) for name, f in self.filters.items() if name not in _NO_FILTERS}

    def begin(self) -> None:
        """A new message: nothing has been spent yet."""
        self._steps = 0
        self._until = self._clock() + self._limits.seconds

    def tick(self) -> str:
        """One step further; raises :class:`LimitReached`."""
        self._steps += 1
        if self._steps > self._limits.steps:
            raise LimitReached(f"the template takes more than {self._limits.steps} steps")
        if self._steps % _EVERY == 0 and self._clock() > self._until:
            raise LimitReached(f"the template takes more than {self._limits.seconds:g} s")
        return ""

    def gathered(self, parts: Iterable[str]) -> str:
        """All of a render's output; raises :class:`LimitReached`."""
        size, kept = 0, []
        for part in parts:
            size += len(part)
            self._check_size(size)
            kept.append(part)
        return "".join(kept)

    def joined(self, *parts: Any) -> Any:
        """The ``~`` operator."""
        texts = [part if hasattr(part, "__html__") else str(_shown(part)) for part in parts]
        self._check_size(sum(map(len, texts)))
        if any(hasattr(text, "__html__") for text in texts):
            return Markup("").join(texts)
        return "".join(texts)

    # -- what Jinja2 calls

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = super()._parse(source, name, filename)
        for forbidden in (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends):
            if tree.find(forbidden) is not None:
                raise SecurityError(f"a template cannot use {forbidden.__name__.lower()}")
        counted: nodes.Template = _Counting().visit(tree)
        counted.set_environment(self)
        return counted

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str):
            return attr in _STRING_METHODS
        if isinstance(obj, (int, float, bytes)):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if obj != self.tick:
            self.tick()
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self._check_operands(operator, left, right)
        return super().call_binop(context, operator, left, right)

    # -- guards

    def _check_size(self, size: int) -> None:
        if size > self._limits.characters:
            raise LimitReached(f"the text becomes longer than {self._limits.characters} characters")

    def _check_operands(self, operator: str, left: Any, right: Any) -> None:
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operator == "%" and isinstance(left, str) and _wide_format(left):
            raise LimitReached("a format is too wide")
        if operator == "+" and not numbers and hasattr(left, "__len__") and hasattr(right, "__len__"):
            self._check_size(len(left) + len(right))
        if operator == "*" and not numbers:
            size, times = (left, right) if hasattr(left, "__len__") else (right, left)
            if hasattr(size, "__len__") and isinstance(times, int):
                self._check_size(len(size) * max(times, 0))
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() + right.bit_length()
            if operator == "**":
                bits = left.bit_length() * max(right, 0)
            if bits > _LARGEST_NUMBER_BITS:
                raise LimitReached("a number becomes too large")

    def _guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The filter, refusing arguments that would make it run away."""

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            given = (*args, *kwargs.values())
            if name in _NUMERIC_FILTERS and any(isinstance(a, int) and a > _LARGEST_ARGUMENT for a in given[1:]):
                raise LimitReached(f"an argument of the filter {name} is larger than {_LARGEST_ARGUMENT}")
            if name == "format" and any(isinstance(a, str) and _wide_format(a) for a in given):
                raise LimitReached("a format is too wide")
            if name == "replace":
                texts = [a for a in given if isinstance(a, str)]
                if len(texts) == 3:
                    self._check_size(len(texts[0]) + (texts[0].count(texts[1]) * len(texts[2])))
            result = function(*args, **kwargs)
            if name == "join" and isinstance(result, str):
                self._check_size(len(result))
            return result

        return guarded


class _Counting(NodeTransformer):
    """Makes every loop turn a step, and ``~`` a guarded call."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja2's naming
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call("tick", [])))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("joined", node.nodes)


def _call(name: str, arguments: list[nodes.Expr]) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None)


def _shown(value: Any) -> Any:
    """What stands in the text for a value: nothing for None."""
    return "" if value is None else value
