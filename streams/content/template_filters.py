"""Jinja2's filters and tests, none of which may run away: each is told what it may be given before it runs.

Rules:

1. Only filters in the tables here exist. A filter is either about elements (:data:`SEQUENCES`) or makes text of what
   it is given; then that must have a text, of bounded length.
2. :data:`SIZES` knows how large the result can become where it can be larger than what goes in.
3. Filters that take longer than in proportion to their input (:data:`SLOW`) get short inputs only.
4. A filter that answers bit by bit (``map``, ``select``) is read to the end at once: what follows can be weighed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from itertools import islice
from types import MappingProxyType
from typing import Any

from jinja2 import Environment
from jinja2.nodes import EvalContext
from jinja2.runtime import Context

from streams.content.template_limits import MAX_ELEMENTS, Budget, LimitReached

SEQUENCES = frozenset(
    {"attr", "batch", "count", "d", "default", "dictsort", "first", "groupby", "items", "last", "length", "list"}
    | {"map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort", "sum", "unique"}
)
TEXTS = frozenset(
    {"abs", "capitalize", "center", "e", "escape", "filesizeformat", "float", "forceescape", "format", "indent", "int"}
    | {"join", "lower", "replace", "round", "safe", "string", "striptags", "title", "tojson", "trim", "truncate"}
    | {"upper", "urlencode", "urlize", "wordcount", "wordwrap"}
)
SLOW = frozenset({"int", "striptags", "urlize", "wordwrap"})
NUMERIC = frozenset({"batch", "center", "indent", "round", "slice", "tojson", "truncate", "wordwrap"})

MAX_SLOW = 20_000
MAX_ARGUMENT = 10_000
_MAX_INDENT = 16
_NOT_GIVEN = (Context, EvalContext, Environment)  # what Jinja2 hands over by itself


def guarded(name: str, function: Callable[..., Any], budget: Budget) -> Callable[..., Any]:
    """The filter ``name``, refusing what would make it run away."""
    shown = name in TEXTS

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        args = tuple(_read(a) if isinstance(a, Iterator) else a for a in args)
        given = [a for a in args if not isinstance(a, _NOT_GIVEN)]
        weights = [budget.weight(a, shown=shown) for a in (*given, *kwargs.values())]
        budget.tick(sum(weights))
        if name in SLOW and sum(weights) > MAX_SLOW:
            raise LimitReached(f"the filter {name} takes at most {MAX_SLOW} characters")
        if name in NUMERIC and any(isinstance(a, int) and a > MAX_ARGUMENT for a in (*given[1:], *kwargs.values())):
            raise LimitReached(f"an argument of the filter {name} is larger than {MAX_ARGUMENT}")
        if name in SIZES:
            budget.spend(SIZES[name](weights[0], *given, **kwargs))
        result = function(*args, **kwargs)
        if isinstance(result, Iterator):
            result = _read(result)
        if isinstance(result, (list, tuple)):
            budget.elements(len(result))
        elif isinstance(result, str):
            budget.spend(len(result))
        return result

    return run


def guarded_test(function: Any, budget: Budget) -> Callable[..., Any]:
    """A test (``x is in y``): what it compares is weighed first."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        budget.tick(sum(budget.weight(a) for a in args if not isinstance(a, _NOT_GIVEN)))
        return function(*args, **kwargs)

    return run


def format_size(pattern: str, weight: int) -> int:
    """How long ``pattern % values`` can become, for values of ``weight``; raises :class:`LimitReached` if a width in it
    has four digits or is a value itself.
    """
    if len(pattern) > MAX_SLOW and "%" in pattern:
        raise LimitReached(f"a format has more than {MAX_SLOW} characters")
    bare, before = pattern, ""
    while bare != before:
        bare, before = _KEY.sub("", bare), bare
    if _WIDE.search(bare):
        raise LimitReached("a format is too wide")
    return len(pattern) + pattern.count("%") * (1000 + weight)


def _read(items: Iterator[Any]) -> list[Any]:
    found = list(islice(items, MAX_ELEMENTS + 1))
    if len(found) > MAX_ELEMENTS:
        raise LimitReached(f"a list becomes longer than {MAX_ELEMENTS} elements")
    return found


def _center(weight: int, value: Any, width: int = 80) -> int:
    return weight + width


def _format(weight: int, value: Any, *args: Any, **kwargs: Any) -> int:
    values = sum(len(str(a)) for a in (*args, *kwargs.values()))  # bounded: they have been weighed
    return format_size(str(value), values)


def _indent(weight: int, value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> int:
    lines = str(value).count("\n") + 1
    return weight + lines * (len(width) if isinstance(width, str) else max(width, 0))


def _join(weight: int, value: Any, d: Any = "", attribute: Any = None) -> int:
    return weight + (len(str(d)) * len(value) if hasattr(value, "__len__") else 0)


def _replace(weight: int, value: Any, old: Any, new: Any, count: int | None = None) -> int:
    return weight + str(value).count(str(old)) * len(str(new)) * _ESCAPED


def _sum(weight: int, value: Any, attribute: Any = None, start: Any = 0) -> int:
    if not isinstance(start, (int, float)):
        raise LimitReached("the filter sum adds up numbers only")
    return 0


def _tojson(weight: int, value: Any, indent: int | None = None) -> int:
    if indent and (indent > _MAX_INDENT or weight > MAX_SLOW):
        raise LimitReached("the filter tojson indents little and short values only")
    return weight * _ESCAPED


def _wordwrap(weight: int, value: Any, width: int = 79, break_long_words: bool = True, wrapstring: Any = "\n") -> int:
    return weight * (1 + len(str(wrapstring or "\n")))


def _escaped(weight: int, *_: Any) -> int:
    return weight * _ESCAPED


_ESCAPED = 3  # what writing in another alphabet costs; more only where almost every character needs it
SIZES: Mapping[str, Callable[..., int]] = MappingProxyType(
    {
        "center": _center,
        "format": _format,
        "indent": _indent,
        "join": _join,
        "replace": _replace,
        "sum": _sum,
        "tojson": _tojson,
        "urlencode": _escaped,
        "wordwrap": _wordwrap,
    }
)
_KEY = re.compile(r"\([^()]*\)")
_WIDE = re.compile(r"%[^a-zA-Z%]*(\d{4,}|\*)")
