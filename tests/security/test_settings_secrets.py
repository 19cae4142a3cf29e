"""A secret that stands where it should not is not repeated by whoever complains about it."""

from __future__ import annotations

import json
import logging
import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from streams.adapters import build_adapters
from streams.providers import mailgun, ses
from streams.providers.base import HttpRequest
from streams.settings import Secret, Settings, SettingsError, load_settings
from streams.settings.read import fields_of, is_secret

CANARY = "canary-key-0123456789"
OTHERS = {
    "mailgun": {"domain": "mg.example.com", "api_key": "env:GOOD"},
    "ses": {"region": "us-east-1", "access_key_id": "env:GOOD", "secret_access_key": "env:GOOD"},
}
SECRETS = [
    pytest.param(kind, item.name, id=f"{kind}.{item.name}")
    for kind, config in (("mailgun", mailgun.Config), ("ses", ses.Config))
    for item in fields_of(config)
    if is_secret(item)
]


@dataclass(frozen=True)
class Toml:
    """A value as it stands in the file."""

    raw: str


def load(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "streams.toml"
    path.write_text(text)
    return load_settings(path, env or {})


def complaint(tmp_path: Path, text: str, **env: str) -> str:
    with pytest.raises(SettingsError) as caught:
        build_adapters(load(tmp_path, text, env), {"GOOD": "good", **env})
    chain: BaseException | None = caught.value
    said = ""
    while chain is not None:
        said += f"{chain} {chain!r}"
        chain = chain.__cause__ or chain.__context__
    return said


def provider(kind: str, **more: Any) -> str:
    keys = OTHERS[kind] | more
    return f'[kafka]\nbootstrap = "b:9092"\n[providers.p]\ntype = "{kind}"\n' + "".join(
        f"{name} = {value.raw if isinstance(value, Toml) else json.dumps(value)}\n" for name, value in keys.items()
    )


@pytest.mark.parametrize(("kind", "name"), SECRETS)
def test_a_literal_secret_is_refused_and_not_repeated(tmp_path: Path, kind: str, name: str) -> None:
    for value in (CANARY, [CANARY], [[CANARY]], Toml(f'{{ a = "{CANARY}" }}'), f"env{CANARY}", f"vault:{CANARY}"):
        said = complaint(tmp_path, provider(kind, **{name: value}))
        assert name in said
        assert "canary" not in said
        assert "0123456789" not in said
    said = complaint(tmp_path, provider(kind), **{f"STREAMS_PROVIDERS__P__{name.upper()}": CANARY})
    assert "canary" not in said


def test_a_secret_under_a_misspelt_key_or_in_a_broken_file_is_not_repeated(tmp_path: Path) -> None:
    assert CANARY not in complaint(tmp_path, provider("mailgun", api_keyy=CANARY))
    for broken in (f'api_key = "{CANARY}', f"api_key = {CANARY}", f'api_key = "{CANARY}" "x"', f'"{CANARY}'):
        assert CANARY not in complaint(tmp_path, provider("mailgun") + broken)


def test_a_secret_that_was_read_shows_nowhere_but_where_it_is_needed(tmp_path: Path) -> None:
    env = {"KEY": CANARY, "GOOD": CANARY}
    text = provider("mailgun", api_key="env:KEY", signing_keys=["env:KEY"], events_key="env:KEY")
    settings = load(tmp_path, text.replace("[kafka]\n", '[kafka]\naddress_secret = "env:KEY"\n'), env)
    adapters = build_adapters(settings, env)
    shown = repr(settings) + str(settings) + repr(adapters) + repr([a.config for a in adapters.values()])  # type: ignore[attr-defined]
    assert CANARY not in shown
    assert CANARY in adapters["p"].config.api_key  # type: ignore[attr-defined]


def test_a_secret_cannot_slip_out_of_its_wrapping(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(CANARY, "env:KEY")
    logging.getLogger("streams").error("%s %r %s", secret, [secret], {"a": secret})
    assert CANARY not in caplog.text
    assert CANARY not in f"{secret}{secret!r}"
    assert CANARY not in json.dumps({"a": secret}, default=str)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert not hasattr(secret, "__dict__")


def test_a_request_to_a_provider_does_not_show_what_it_is_signed_with() -> None:
    """It stands in tracebacks and in whatever a debugger prints."""
    request = HttpRequest("POST", "https://api.example/x", (("authorization", f"Basic {CANARY}"),), CANARY.encode())
    assert CANARY not in repr(request)
    assert "https://api.example/x" in repr(request)


@pytest.mark.parametrize("url", [f"https://user:{CANARY}@registry:8081", f"https://{CANARY}@registry:8081"])
def test_a_password_within_a_url_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    said = complaint(tmp_path, f'[kafka]\nbootstrap = "b:9092"\nschema_registry = "{url}"\n')
    assert "schema_registry" in said
    assert CANARY not in said


def test_every_secret_field_is_hidden_from_repr() -> None:
    for config in (mailgun.Config, ses.Config):
        for item in fields(config):
            if any(word in item.name for word in ("key", "secret", "token", "password")):
                assert not item.repr, f"{config.__module__}.{item.name}"
