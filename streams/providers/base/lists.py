"""A provider's own lists of addresses, read and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from streams.providers.base.outbound import HttpRequest, HttpResponse, NoResponse


class ListName(StrEnum):
    """A list that a provider keeps by itself, in our words."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    ALLOW = "allow"
    """Not a suppression: addresses and domains whose bounces never bring them onto the bounce list."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a provider's list.

    ``address`` is an address, or a whole domain written ``@example.com`` (allow-list only). ``since_ms`` is 0 where
    nobody knows. ``tags`` are the provider's names of what was unsubscribed from; empty is everything. ``by_hand``
    marks an entry that a person or our own push made (where the provider lets us write that down): it is no bounce.
    """

    name: ListName
    address: str
    since_ms: int = 0
    detail: str = ""
    tags: tuple[str, ...] = ()
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class ListPage:
    """Entries of one page, and the request for the next one; None is the end. Exchange ``next`` soon: it is signed."""

    entries: tuple[Listed, ...]
    next: HttpRequest | None = None


@dataclass(frozen=True, slots=True)
class ListFailed:
    """The provider did not list or change. ``wait_s`` is how long it asks us to wait; None if asking again is useless
    before a person acts (``detail`` says what).
    """

    detail: str
    wait_s: float | None = None


@runtime_checkable
class SyncsSuppressions(Protocol):
    """A provider whose own suppression lists can be read and changed. Pure: builds requests, reads answers."""

    @property
    def reads_lists(self) -> tuple[ListName, ...]:
        """Which lists it can tell."""

    @property
    def writes_lists(self) -> tuple[ListName, ...]:
        """Which lists our own entries may be pushed to (a list that would stop more than we mean is left out)."""

    def list_request(self, name: ListName, since_ms: int, now_ms: int) -> HttpRequest:
        """Ask for the first page of a list; entries from before ``since_ms`` need not be told (0: all)."""

    def read_list(
        self, name: ListName, since_ms: int, answer: HttpResponse | NoResponse, now_ms: int
    ) -> ListPage | ListFailed:
        """One page; entries from before ``since_ms`` (where the provider tells times) are left out."""

    def add_requests(self, entries: Sequence[Listed], now_ms: int) -> tuple[HttpRequest, ...]:
        """The calls that put these entries onto their lists, as few as the provider allows; repeating is harmless."""

    def remove_requests(self, entries: Sequence[Listed], now_ms: int) -> tuple[HttpRequest, ...]:
        """The calls that take these entries off their lists; one that is not there is no error."""

    def read_change(self, answer: HttpResponse | NoResponse, now_ms: int) -> ListFailed | None:
        """None if the change was carried out (or there was nothing to remove)."""
