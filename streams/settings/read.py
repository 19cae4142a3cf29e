"""Turns tables of the configuration into frozen dataclasses, by looking at their fields.

Rules:

1. A key that no field has, a missing required key, a value of the wrong type or out of bounds is a
   :class:`~streams.settings.secret.SettingsError` of one line that names the key and, where it can, the right one.
2. A field is secret if its type is ``Secret``, or if it is a ``str`` (or tuple of ``str``) declared with ``repr=False``
   or ``metadata={"secret": True}``: then only a reference is accepted, and it is resolved here.
3. A value from the environment is text and is read by the type of the field it is meant for.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from types import MappingProxyType
from typing import Any, Self, TypeVar

from streams.settings.secret import Secret, SettingsError, resolve

T = TypeVar("T")

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


class EnvText(str):
    """A value from the environment; ``variable`` is where it came from."""

    __slots__ = ("variable",)
    variable: str

    def __new__(cls, text: str, variable: str) -> Self:
        self = super().__new__(cls, text)
        self.variable = variable
        return self


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, for messages: ``streams.toml: [kafka] partitions``."""

    source: str
    section: tuple[str, ...] = ()
    key: str = ""

    def at(self, key: str) -> Place:
        """A key of this section; of a key that is a table itself, a key of that."""
        section = (*self.section, self.key) if self.key else self.section
        return Place(self.source, section, key)

    @property
    def label(self) -> str:
        """Without the source: ``[kafka] partitions``."""
        return " ".join((f"[{'.'.join(self.section)}]" if self.section else "", self.key)).strip()

    def __str__(self) -> str:
        return f"{self.source}: {self.label}"


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads values with one environment (for secrets)."""

    env: Mapping[str, str]

    def table(self, cls: type[T], table: Mapping[str, Any], place: Place, given: Mapping[str, Any] | None = None) -> T:
        """``table`` as a ``cls``; ``given`` are fields that are known already and are no keys of the table."""
        given = given or {}
        hints = typing.get_type_hints(cls)
        known = {file_name(item): item for item in fields_of(cls) if item.name not in given}
        for name in table:
            if name not in known:
                where = _origin(table[name], place.at(name))
                raise SettingsError(f"{where} is not a known key{suggestion(name, known)}")
        values = dict(given)
        for name, item in known.items():
            if name in table:
                values[item.name] = self.value(hints[item.name], table[name], place.at(name), item)
            elif item.default is MISSING and item.default_factory is MISSING:
                raise SettingsError(f"{place.at(name)} is missing{_hint(item)}")
        try:
            return cls(**values)
        except (ValueError, TypeError) as exc:
            raise SettingsError(f"{place}: {' '.join(str(exc).split())}") from exc

    def value(self, kind: Any, value: Any, place: Place, item: Field[Any] | None = None) -> Any:
        """``value`` as the type ``kind``, within the bounds of its field."""
        secret = item is not None and is_secret(item)
        read = self._by_kind(kind, value, place, secret=secret)
        if isinstance(read, float) and not math.isfinite(read):
            raise _wrong(value, place, "must be a number")
        if item is not None and isinstance(read, int | float) and not isinstance(read, bool):
            least, most = item.metadata.get("least"), item.metadata.get("most")
            if (least is not None and read < least) or (most is not None and read > most):
                raise _wrong(value, place, f"must be {bounds(least, most)}, not {number(read)}")
        return read

    def _by_kind(self, kind: Any, value: Any, place: Place, *, secret: bool) -> Any:
        origin = typing.get_origin(kind)
        if origin in (typing.Union, types.UnionType):
            return self._union(kind, value, place, secret=secret)
        if origin is typing.Literal:
            return _one_of(typing.get_args(kind), value, place)
        if kind is Secret or (secret and kind is str):
            resolved = self._secret(value, place)
            return resolved if kind is Secret else resolved.reveal()
        if origin is tuple or kind is tuple:
            item_kind = (typing.get_args(kind) or (str,))[0]
            return tuple(
                self._by_kind(item_kind, one, place, secret=secret) for one in _sequence(value, place, item_kind)
            )
        if origin is not None and issubclass(origin, Mapping):
            item_kind = typing.get_args(kind)[1]
            pairs = _mapping(value, place).items()
            return MappingProxyType({k: self._by_kind(item_kind, v, place.at(k), secret=secret) for k, v in pairs})
        if is_dataclass(kind) and isinstance(kind, type):
            return self.table(kind, _mapping(value, place), place)
        if isinstance(kind, type) and issubclass(kind, Enum):
            return kind(_one_of([member.value for member in kind], value, place))
        return value if kind is Any else _scalar(kind, value, place)

    def _union(self, kind: Any, value: Any, place: Place, *, secret: bool) -> Any:
        inner = [one for one in typing.get_args(kind) if one is not type(None)]
        for one in inner[:-1]:
            try:
                return self._by_kind(one, value, place, secret=secret)
            except SettingsError:
                continue
        return self._by_kind(inner[-1], value, place, secret=secret)

    def _secret(self, value: Any, place: Place) -> Secret:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise _wrong(value, place, "must be a reference to a secret (env:NAME, file:PATH or aws-secretsmanager:ID)")
        try:
            return resolve(value, self.env)
        except SettingsError as exc:
            raise SettingsError(f"{_origin(value, place)}: {exc}") from exc


def is_secret(item: Field[Any]) -> bool:
    """Whether a field holds a secret that is not of type ``Secret``."""
    return not item.repr or bool(item.metadata.get("secret"))


def file_name(item: Field[Any]) -> str:
    """The name of a field in the file."""
    return item.metadata.get("named") or item.name


def fields_of(cls: type) -> Iterator[Field[Any]]:
    """The fields of a dataclass that its constructor takes."""
    return (item for item in fields(cls) if item.init)


def suggestion(name: str, known: Mapping[str, object]) -> str:
    """``; did you mean …`` or the list of what there is."""
    close = get_close_matches(name, known, 1, 0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def bounds(least: float | None, most: float | None) -> str:
    """The bounds of a number in words."""
    if least is not None and most is not None:
        return f"between {number(least)} and {number(most)}"
    return f"at least {number(least)}" if least is not None else f"at most {number(most or 0)}"


def number(value: float) -> str:
    """A number without the zeros and exponents of floats."""
    return str(int(value)) if float(value).is_integer() else repr(value)


def _scalar(kind: Any, value: Any, place: Place) -> Any:
    if isinstance(value, EnvText):
        return _from_text(kind, value, place)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is kind:
        return value
    raise _wrong(value, place, f"must be {_WORDS.get(kind, kind)}, not {_described(value)}")


def _from_text(kind: Any, text: EnvText, place: Place) -> Any:
    if kind is str:
        return str(text)
    try:
        if kind is bool:
            lowered = text.strip().lower()
            if lowered in _TRUE or lowered in _FALSE:
                return lowered in _TRUE
        elif kind in (int, float):
            return kind(text)
    except ValueError:
        pass
    raise _wrong(text, place, f"must be {_WORDS.get(kind, kind)}, not {str(text)!r}")


def _sequence(value: Any, place: Place, item_kind: Any) -> list[Any]:
    if isinstance(value, EnvText):
        if value.lstrip().startswith("["):
            return [_env_item(one, value.variable) for one in _json(value, place, list)]
        if not is_dataclass(item_kind):
            return [EnvText(part.strip(), value.variable) for part in value.split(",") if part.strip()]
    elif isinstance(value, list | tuple):
        return list(value)
    elif isinstance(value, str) and item_kind in (str, Secret):
        return [value]
    raise _wrong(value, place, f"must be a list, not {_described(value)}")


def _mapping(value: Any, place: Place) -> Mapping[str, Any]:
    if isinstance(value, EnvText):
        return {name: _env_item(one, value.variable) for name, one in _json(value, place, dict).items()}
    if isinstance(value, Mapping):
        return value
    raise _wrong(value, place, f"must be a table, not {_described(value)}")


def _json(text: EnvText, place: Place, kind: type) -> Any:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, kind):
        raise _wrong(text, place, f"must be a JSON {'list' if kind is list else 'object'}")
    return parsed


def _env_item(value: Any, variable: str) -> Any:
    return EnvText(value, variable) if isinstance(value, str) else value


def _one_of(choices: Any, value: Any, place: Place) -> Any:
    plain = str(value) if isinstance(value, EnvText) else value
    if plain in choices:
        return plain
    names = {str(choice): None for choice in choices}
    raise _wrong(value, place, f"must be one of {', '.join(names)}, not {_described(value)}")


def _wrong(value: Any, place: Place, what: str) -> SettingsError:
    return SettingsError(f"{_origin(value, place)} {what}")


def _origin(value: Any, place: Place) -> str:
    return f"{value.variable} ({place.label})" if isinstance(value, EnvText) else str(place)


def _described(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {str(value)[:40]!r}"
    if isinstance(value, int | float):
        return f"the number {number(value)}"
    if isinstance(value, list):
        return "a list"
    return "a table" if isinstance(value, Mapping) else type(value).__name__


def _hint(item: Field[Any]) -> str:
    example = item.metadata.get("example")
    return f"; for example: {file_name(item)} = {quoted(example)}" if example else ""


def quoted(example: str) -> str:
    """An example as it stands in the file."""
    return example if example[:1] in '["{' or example in ("true", "false") or _is_number(example) else f'"{example}"'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
