"""Secrets: named in the configuration, never written there, never shown.

A reference is one of

* ``env:NAME``: an environment variable,
* ``file:PATH``: the content of a file (one trailing line end is dropped), as Docker and Kubernetes mount them,
* ``aws-secretsmanager:ID`` or ``aws-secretsmanager:ID#KEY``: a secret string, or one key of a JSON secret.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from hmac import compare_digest
from pathlib import Path
from typing import Any

SCHEMES = ("env:", "file:", "aws-secretsmanager:")
_INDISCREET = ("aiokafka.conn", "botocore")
"""Loggers that tell secrets at DEBUG: the request to log in, with the password; headers with session tokens, and what
Secrets Manager answers. However the log is set up, they begin at INFO."""

for _name in _INDISCREET:
    logging.getLogger(_name).setLevel(logging.INFO)


class SettingsError(ValueError):
    """Configuration that cannot be used. The message is one line that names the key and says what to do.

    It may repeat what somebody wrote: line ends become spaces, and what a terminal would obey becomes ``?``.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else "?" for c in " ".join(message.split())))


class Secret:
    """A value that shows only where it came from; :meth:`reveal` gives it to the one place that needs it."""

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str = "given") -> None:
        self._value = value
        self.reference = reference

    def reveal(self) -> str:
        """The secret itself. Never log or store it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.reference})"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be pickled; pass its reference and resolve it again")


def is_reference(text: str) -> bool:
    """Whether ``text`` has the form of a reference."""
    return text.startswith(SCHEMES)


def resolve(reference: str, env: Mapping[str, str]) -> Secret:
    """Fetch the secret that ``reference`` names; raises SettingsError without ever repeating a literal secret."""
    scheme, _, name = reference.partition(":")
    if not is_reference(reference) or not name:
        raise SettingsError(
            "secrets are given by reference only (env:NAME, file:PATH or aws-secretsmanager:ID); "
            "found a literal value, which is not repeated here"
        )
    match scheme:
        case "env":
            value = _from_environment(name, env)
        case "file":
            value = _from_file(name)
        case _:
            value = _from_secrets_manager(name)
    if not value:
        raise SettingsError(f"the secret {reference} is empty")
    return Secret(value, reference)


def _from_environment(name: str, env: Mapping[str, str]) -> str:
    if name not in env:
        raise SettingsError(f"the environment variable {name} is not set")
    return env[name]


def _from_file(path: str) -> str:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise SettingsError(f"the secret file {path} is not UTF-8 text") from exc
    except OSError as exc:
        raise SettingsError(f"the secret file {path} cannot be read: {exc.strerror or exc}") from exc
    except (ValueError, RuntimeError) as exc:  # no path at all, or nobody's home
        raise SettingsError(f"the secret file {path} cannot be read: {exc}") from exc
    return text.removesuffix("\n").removesuffix("\r")


def _from_secrets_manager(name: str) -> str:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    secret_id, _, key = name.partition("#")
    try:
        text = str(boto3.client("secretsmanager").get_secret_value(SecretId=secret_id)["SecretString"])
    except (BotoCoreError, ClientError) as exc:
        raise SettingsError(f"AWS Secrets Manager did not give {secret_id}: {_one_line(exc)}") from exc
    except KeyError as exc:
        raise SettingsError(f"the secret {secret_id} of AWS Secrets Manager is binary; a string is needed") from exc
    if not key:
        return text
    try:
        return str(json.loads(text)[key])
    except (ValueError, TypeError, KeyError) as exc:
        raise SettingsError(f"AWS Secrets Manager: {secret_id} is no JSON object with a key {key}") from exc


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())
