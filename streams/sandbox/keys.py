"""Credentials that change while the sandbox runs: new ones are added, old ones revoked, as at the real providers."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec


class _Mailgun(msgspec.Struct):
    """``api_keys`` are all that are good from now on; ``signing_key`` signs from now on (empty: as before)."""

    api_keys: list[str] = []
    signing_key: str = ""


class MailgunKeys(Protocol):
    """The Mailgun stand-in."""

    def set_keys(self, api_keys: list[str], signing_key: str) -> None:
        """An empty value leaves things as they are."""


class Keys:
    """Answers ``PUT /sandbox/mailgun/keys`` and ``/sandbox/ses/keys``."""

    def __init__(self, mailgun: MailgunKeys, ses: dict[str, str]) -> None:
        self._mailgun = mailgun
        self._ses = ses

    def put(self, provider: str, body: bytes) -> dict[str, Any]:
        """Take over what is good from now on: for SES ids and their secrets, whose signatures are then checked.

        Raises ValueError for contents that cannot be used.
        """
        if provider == "mailgun":
            told = _decode(body, _Mailgun)
            self._mailgun.set_keys(told.api_keys, told.signing_key)
            return {"api_keys": len(told.api_keys)}
        keys = _decode(body, dict[str, str])
        self._ses.clear()
        self._ses.update(keys)
        return {"keys": len(keys)}


def _decode(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as exc:
        raise ValueError(str(exc)) from exc
