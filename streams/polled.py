"""What `streams poll` fetches from, made again when its secrets change.

Rules: those of :mod:`streams.renewal`, which looks at the providers' secrets; the passwords of mailboxes are here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from streams.accounts import signature
from streams.agents.dispatch.account_source import Signature
from streams.pollers.build import build_sources
from streams.pollers.source import Source
from streams.renewal import Renewal, Tell
from streams.settings import MailboxSettings, Settings, SettingsError, resolve

log = logging.getLogger(__name__)


class Polled:
    """``sources`` by name, as they were at the start; :meth:`look` blocks and is called in a thread."""

    def __init__(self, settings: Settings, env: Mapping[str, str] | None = None) -> None:
        self._env: Mapping[str, str] = os.environ if env is None else env
        self._settings = settings
        self._passwords = {name: _state(box) for name, box in settings.mailboxes.items()}
        self._moving: dict[str, Signature] = {}
        self._renewal = Renewal(settings, self._env)
        self.sources = build_sources(settings, self._renewal.adapters, self._env)

    def look(self, tell: Tell, *, at_all: bool = False) -> dict[str, Source]:
        """Sources by name that take the place of those whose secrets are others now; ``at_all`` looks at every one."""
        self._renewal.tell = tell
        changed = self._renewal.look(at_all=at_all)
        boxes = self._boxes(tell, at_all=at_all)
        if not changed and not boxes:
            return {}
        self._settings = replace(self._settings, mailboxes=MappingProxyType({**self._settings.mailboxes, **boxes}))
        made = build_sources(self._settings, self._renewal.adapters, self._env)
        return {name: source for name, source in made.items() if name in changed or name in boxes}

    def _boxes(self, tell: Tell, *, at_all: bool) -> dict[str, MailboxSettings]:
        """Mailboxes with another password."""
        states = {name: _state(box) for name, box in self._settings.mailboxes.items()}
        moving = {name: state for name, state in states.items() if state != self._passwords[name]}
        due = [name for name in states if at_all or (name in moving and moving[name] == self._moving.get(name))]
        self._moving = moving
        found: dict[str, MailboxSettings] = {}
        for name in due:
            self._passwords[name] = states[name]
            box = self._settings.mailboxes[name]
            try:
                password = resolve(box.password.reference, self._env)
            except SettingsError as exc:
                log.error("mailbox %s keeps its password: %s", name, exc)
                tell(name, "failed")
                continue
            if password != box.password:
                log.info("the password of mailbox %s was read anew", name)
                tell(name, "read")
                found[name] = replace(box, password=password)
        return found


def _state(box: MailboxSettings) -> Signature:
    scheme, _, path = box.password.reference.partition(":")
    return signature(path) if scheme == "file" else (0, 0, 0)
