"""Jinja2 for templates of people we need not trust: no files, no Python, and an end to every render.

Rules:

1. Nothing loads another template, reaches an attribute that Jinja2's sandbox forbids, or changes the data it is given.
2. Every loop turn, call, comparison and filter is a step; what is made is weighed before it is made
   (:mod:`streams.content.template_limits`). There is no operation that escapes this: slices, ``~``, blocks that are
   set, macros.
3. The same template and data give the same text, whenever it is rendered: nothing random, no clock.
4. ``a.b`` on a dict means the entry ``b`` first, so data may have a key called ``items``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from streams.content.template_filters import SEQUENCES, TEXTS, format_size, guarded, guarded_test
from streams.content.template_limits import Budget, LimitReached, Limits

__all__ = ["LimitReached", "Limits", "MailEnvironment"]

_STRING_METHODS = frozenset(
    {"capitalize", "endswith", "find", "isdigit", "lower", "lstrip", "rstrip", "split", "startswith", "strip", "title"}
    | {"upper", "count", "isalpha", "isalnum", "removeprefix", "removesuffix", "partition", "rpartition", "swapcase"}
)
_GLOBALS = frozenset({"range", "dict", "namespace", "cycler", "joiner"})
_LARGEST_NUMBER_BITS = 2048
_MAX_SOURCE, _MAX_TAGS, _MAX_IN_TAGS = 1_000_000, 1_000, 40_000
_open = re.compile(r"\{[{%]").search
_MADE = (str, list, tuple, dict)
_SCOPES = frozenset({"_loop_vars", "_block_vars"})  # what Jinja2 itself adds to a call


class MailEnvironment(ImmutableSandboxedEnvironment):
    """One render at a time: :meth:`begin` starts the count. ``html`` escapes whatever is interpolated."""

    intercepted_binops = frozenset({"*", "**", "%", "+", "-", "/", "//"})

    def __init__(self, *, html: bool, limits: Limits, clock: Callable[[], float] = time.thread_time) -> None:
        self._budget = Budget(limits, clock)
        super().__init__(
            autoescape=html, undefined=StrictUndefined, finalize=self.shown, keep_trailing_newline=True, cache_size=0
        )
        self.globals = {name: value for name, value in self.globals.items() if name in _GLOBALS}
        known = SEQUENCES | TEXTS
        self.filters = {name: guarded(name, f, self._budget) for name, f in self.filters.items() if name in known}
        self.tests = {name: guarded_test(f, self._budget) for name, f in self.tests.items()}

    def begin(self) -> None:
        """A new message: nothing has been spent yet."""
        self._budget.begin()

    def gathered(self, parts: Iterable[str]) -> str:
        """All of a render's output; raises :class:`LimitReached`."""
        size, kept = 0, []
        for part in parts:
            size += len(part)
            self._budget.check(size)
            kept.append(part)
        return "".join(kept)

    # -- what compiled templates call

    def turn(self) -> bool:
        """A turn of a loop."""
        self._budget.tick()
        return True

    def seen(self, value: Any) -> Any:
        """An operand of a comparison."""
        self._budget.tick(self._budget.weight(value))
        return value

    def shown(self, value: Any) -> Any:
        """What stands in the text for a value: nothing for None."""
        if value is None:
            return ""
        if not isinstance(value, str):
            self._budget.weight(value, shown=True)
        return value

    def joined(self, *parts: Any) -> Any:
        """The ``~`` operator."""
        self._budget.tick(sum(self._budget.weight(part, shown=True) for part in parts))
        texts = [part if hasattr(part, "__html__") else str(self.shown(part)) for part in parts]
        self._budget.spend(sum(map(len, texts)))
        if any(hasattr(text, "__html__") for text in texts):
            return Markup("").join(texts)
        return "".join(texts)

    def cut(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        """``value[start:stop:step]``."""
        result = value[start:stop:step]
        if isinstance(result, str):
            self._budget.spend(len(result))
        elif isinstance(result, (list, tuple)):
            self._budget.elements(len(result))
        self._budget.tick(len(result))
        return result

    def concat(self, parts: Iterable[str]) -> str:
        """What a macro, a ``set`` block or a block has written."""
        kept = list(parts)
        self._budget.spend(sum(map(len, kept)))
        return "".join(kept)

    # -- what Jinja2 calls

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        _check_source(source)
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

    def wrap_str_format(self, value: Any) -> None:
        """``str.format`` would make text of any width: the filter ``format`` is there instead."""
        if super().wrap_str_format(value) is not None:
            raise SecurityError("the method format cannot be used; use the filter format")

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if getattr(obj, "__self__", None) is self:  # our own calls: see _Counting
            return obj(*args)
        weigh = self._budget.weight
        given = (*args, *(value for name, value in kwargs.items() if name not in _SCOPES))
        self._budget.tick(sum(map(weigh, given)))
        result = super().call(context, obj, *args, **kwargs)
        if isinstance(result, _MADE):
            self._budget.spend(weigh(result))
        return result

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self._check_operands(operator, left, right)
        return super().call_binop(context, operator, left, right)

    # -- guards

    def _check_operands(self, operator: str, left: Any, right: Any) -> None:
        budget = self._budget
        budget.tick()
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            _check_numbers(operator, left, right)
        elif operator == "%" and isinstance(left, str):
            budget.spend(format_size(left, budget.weight(right, shown=True)))
        elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            length = len(left) + len(right)
            budget.spend(length) if isinstance(left, str) else budget.elements(length)
        elif operator == "*":
            body, times = (left, right) if hasattr(left, "__len__") else (right, left)
            if hasattr(body, "__len__") and isinstance(times, int):
                length = len(body) * max(times, 0)
                budget.spend(length) if isinstance(body, str) else budget.elements(length)


class _Counting(NodeTransformer):
    """Makes every loop turn and comparison a step, and ``~`` and slices guarded calls."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja2's naming
        self.generic_visit(node)
        if node.test is not None:
            node.test = nodes.And(_call("turn", []), node.test)
        node.body.insert(0, nodes.ExprStmt(_call("turn", [])))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("joined", node.nodes)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _call("seen", [node.expr])
        for operand in node.ops:
            operand.expr = _call("seen", [operand.expr])
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        bounds = (node.arg.start, node.arg.stop, node.arg.step)
        return _call("cut", [node.node, *(nodes.Const(None) if bound is None else bound for bound in bounds)])


def _call(name: str, arguments: list[nodes.Expr]) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None)


def _check_source(source: str) -> None:
    """A template is read on the thread that sends mail: what would take seconds to read is refused."""
    if len(source) > _MAX_SOURCE:
        raise LimitReached(f"the template is longer than {_MAX_SOURCE} characters")
    tags = inside = at = 0
    while (tag := _open(source, at)) is not None:
        closed = source.find("}}" if tag[0] == "{{" else "%}", tag.end())
        at = closed if closed >= 0 else len(source)
        tags, inside = tags + 1, inside + at - tag.end()
        if tags > _MAX_TAGS or inside > _MAX_IN_TAGS:
            raise LimitReached(f"the template has more than {_MAX_TAGS} tags, or {_MAX_IN_TAGS} characters in them")


def _check_numbers(operator: str, left: float, right: float) -> None:
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() + right.bit_length()
        if operator == "**":
            bits = left.bit_length() * max(right, 0)
        if bits > _LARGEST_NUMBER_BITS:
            raise LimitReached("a number becomes too large")
