"""Mailgun's events API: a range of events in time order, filtered, in pages. Reads the ledger, keeps nothing.

Events are not stored: each is worked out again from its accepted record, so the API and the webhooks cannot
disagree. Page URLs carry the whole question and the last event seen, so a page can be asked for again at any time;
`next` is always there, and an empty page is the end (or the place to come back to, when the range is open).
"""

from __future__ import annotations

import heapq
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from streams.sandbox.ledger import Accepted, Ledger
from streams.sandbox.mailgun_events import event_data
from streams.sandbox.mailgun_text import moment_ms
from streams.sandbox.outcomes import due_ms, horizon_ms, short_event_id

_MAX_LIMIT: Final = 300
_FILTERS: Final = frozenset(
    {"event", "list", "attachment", "from", "message-id", "subject", "to", "size", "recipient", "recipients", "tags",
     "severity"}
)  # fmt: skip
_Key = tuple[int, str]  # time in milliseconds and event id: the order of events
_TERM: Final = re.compile(r'(?:"[^"]*"|\S)+')


class BadQuery(ValueError):
    """The query is answered with 400 and this text."""


class Query(msgspec.Struct, frozen=True):
    """One question: the range, its direction, the filters, and where the page starts (exclusive)."""

    begin_ms: int
    end_ms: int | None
    ascending: bool
    limit: int
    filters: dict[str, str]
    after: tuple[int, str] | None = None
    backwards: bool = False  # the page before `after` instead of the one behind it
    from_end: bool = False  # the last page

    def token(self, **changes: Any) -> str:
        """The question of another page, for its URL."""
        return urlsafe_b64encode(msgspec.json.encode(msgspec.structs.replace(self, **changes))).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str) -> Query:
        """Raises BadQuery."""
        try:
            return msgspec.json.decode(urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=cls)
        except (ValueError, msgspec.DecodeError) as error:
            raise BadQuery("the page address is not valid") from error


def parse_query(arguments: Mapping[str, str], now_ms: int) -> Query:
    """The question in a query string. Raises BadQuery."""
    begin, end = _time(arguments.get("begin")), _time(arguments.get("end"))
    order = arguments.get("ascending")
    if order not in (None, "yes", "no"):
        raise BadQuery("ascending is 'yes' or 'no'")
    if begin is not None and end is None and order is None:
        raise BadQuery("ascending is required when end is not given")
    try:
        limit = min(_MAX_LIMIT, max(1, int(arguments.get("limit", "100"))))
    except ValueError as error:
        raise BadQuery("limit is a number") from error
    unknown = set(arguments) - _FILTERS - {"begin", "end", "ascending", "limit", "pretty"}
    if unknown:
        raise BadQuery(f"unknown parameter {min(unknown)!r}")
    ascending = order == "yes" if order else begin is not None and end is not None and begin <= end
    low, high = (begin, end) if ascending else (end, begin)
    if low is not None and high is not None and low > high:
        raise BadQuery("begin, end and ascending contradict each other")
    filters = {name: arguments[name] for name in arguments if name in _FILTERS}
    return Query(low or 0, high if ascending or high is not None else now_ms, ascending, limit, filters)


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return moment_ms(text)
    except ValueError as error:
        raise BadQuery(f"{text!r} is neither epoch seconds nor an RFC 2822 date") from error


class EventsReader:
    """Answers questions about one domain from the ledger. `unit_ms` is the time between events, `delay_ms` how late
    the API sees an event."""

    def __init__(self, ledger: Ledger, unit_ms: float, delay_ms: int) -> None:
        self._ledger = ledger
        self._unit_ms = unit_ms
        self._delay_ms = delay_ms

    def page(self, domain: str, query: Query, now_ms: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """(items, page tokens by name)."""
        forwards = query.ascending != (query.backwards or query.from_end)
        visible_ms = now_ms - self._delay_ms
        high = visible_ms if query.end_ms is None else min(query.end_ms, visible_ms)
        matches = _matcher(query.filters)
        found: list[tuple[tuple[int, str], dict[str, Any]]] = []
        for key, item in self._events(domain, query.filters, (query.begin_ms, high), forwards):
            passed = query.after is not None and (key <= query.after if forwards else key >= query.after)
            if not passed and matches(item):
                found.append((key, item))
                if len(found) == query.limit:
                    break
        if query.backwards or query.from_end:
            found.reverse()
        first, last = (found[0][0], found[-1][0]) if found else (query.after, query.after)
        return [item for _, item in found], {
            "next": query.token(after=last, backwards=False, from_end=False),
            "previous": query.token(after=first, backwards=True, from_end=False),
            "first": query.token(after=None, backwards=False, from_end=False),
            "last": query.token(after=None, backwards=False, from_end=True),
        }

    def _events(
        self, domain: str, filters: Mapping[str, str], span: tuple[int, int], forwards: bool
    ) -> Iterator[tuple[_Key, dict[str, Any]]]:
        """The events of a time span in order, merged while the records are read: little more than a page is held."""
        reach = horizon_ms(self._unit_ms) + self._ledger.scheduled_ahead_ms("mailgun")
        waiting: list[tuple[tuple[int, ...], _Key, Accepted, int]] = []
        for record in self._records(filters, span[0] - reach, span[1], forwards):
            if record.domain != domain:
                continue
            for index in range(len(record.plan.events)):
                at_ms = due_ms(record, index, self._unit_ms)
                if span[0] <= at_ms <= span[1]:
                    key = (at_ms, short_event_id(record, index))
                    heapq.heappush(waiting, (_rank(key, forwards), key, record, index))
            settled = record.accepted_ms if forwards else record.accepted_ms + reach
            while waiting and _settled(waiting[0][1][0], settled, forwards):
                _, key, ready, index = heapq.heappop(waiting)
                yield key, event_data(ready, index, key[0])
        while waiting:
            _, key, ready, index = heapq.heappop(waiting)
            yield key, event_data(ready, index, key[0])

    def _records(self, filters: Mapping[str, str], low_ms: int, high_ms: int, forwards: bool) -> Iterator[Accepted]:
        recipient, message_id = _plain(filters.get("recipient")), _plain(filters.get("message-id"))
        if recipient is None and message_id is None:
            if forwards:
                for record in self._ledger.accepted_from("mailgun", low_ms):
                    if record.accepted_ms > high_ms:
                        return
                    yield record
                return
            for record in self._ledger.accepted_until("mailgun", high_ms):
                if record.accepted_ms < low_ms:
                    return
                yield record
            return
        found = list(self._ledger.find("mailgun", recipient=recipient, message_id=message_id))
        yield from found if forwards else reversed(found)


def _rank(key: _Key, forwards: bool) -> tuple[int, ...]:
    """A sort key that runs backwards when asked."""
    if forwards:
        return (key[0], *map(ord, key[1]))
    return (-key[0], *(-ord(character) for character in key[1]))


def _settled(at_ms: int, limit_ms: int, forwards: bool) -> bool:
    """Whether no record still to be read can hold an earlier (later, when going backwards) event."""
    return at_ms < limit_ms if forwards else at_ms > limit_ms


def _plain(expression: str | None) -> str | None:
    """The one value that an expression asks for, if it is that simple."""
    if expression is None or re.search(r'["\s<>]|^NOT ', expression):
        return None
    return expression


def _matcher(filters: Mapping[str, str]) -> Callable[[dict[str, Any]], bool]:
    tests = [(name, _expression(text)) for name, text in filters.items()]
    return lambda item: all(test(_values(item, name)) for name, test in tests)


def _values(item: dict[str, Any], name: str) -> list[str]:
    headers = item["message"]["headers"]
    match name:
        case "event" | "severity":
            return [str(item.get(name, ""))]
        case "recipient" | "recipients":
            return [str(item.get("recipient", "")).lower()]
        case "tags":
            return [tag.lower() for tag in item["tags"]]
        case "size":
            return [str(item["message"].get("size", 0))]
        case "message-id":
            return [headers["message-id"]]
        case "from" | "to" | "subject":
            return [str(headers.get(name, "")).lower(), *re.findall(r"[^\s,<>]+", str(headers.get(name, "")).lower())]
        case _:
            return []


def _expression(text: str) -> Callable[[list[str]], bool]:
    """OR of ANDs of terms; a term may be quoted, negated with NOT, or a comparison of numbers."""
    groups: list[list[tuple[bool, str]]] = [[]]
    negated = False
    for term in _TERM.findall(text):
        if term == "OR":
            groups.append([])
        elif term == "NOT":
            negated = True
        elif term != "AND":
            groups[-1].append((negated, term.strip('"')))
            negated = False
    return lambda values: any(all(_holds(term, values) is not no for no, term in group) for group in groups)


def _holds(term: str, values: list[str]) -> bool:
    if term[:1] in (">", "<") and term[1:].isdigit():
        numbers = [int(value) for value in values if value.isdigit()]
        return any(number > int(term[1:]) if term[0] == ">" else number < int(term[1:]) for number in numbers)
    return any(term == value or term.lower() == value for value in values)
