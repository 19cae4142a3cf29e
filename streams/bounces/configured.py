"""The readers of a deployment's bounce mailboxes, from its settings."""

from __future__ import annotations

from streams.bounces.reader import Mailbox, Refusal, load_hook
from streams.settings import Settings, SettingsError


def readers_of(settings: Settings) -> dict[str, Mailbox]:
    """By mailbox; a hook that cannot be loaded raises SettingsError."""
    readers = {}
    for name, box in settings.mailboxes.items():
        try:
            hook = load_hook(box.hook)
        except Refusal as exc:
            raise SettingsError(f"[mailboxes.{name}] hook: {exc}") from exc
        keys = tuple(secret.reveal().encode() for secret in box.verp_secrets)
        readers[name] = Mailbox(name, box.provider, keys, hook)
    return readers
