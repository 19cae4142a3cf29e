"""Provider options are read by the fields of the provider's own Config, with the same errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.settings import ProviderSettings, Secret, SettingsError, provider_options
from streams.settings.read import EnvText, Place, Reader


@dataclass(frozen=True, slots=True)
class Pool:
    size: int = 1


@dataclass(frozen=True, slots=True)
class Config:
    name: str
    domain: str
    api_key: str = field(repr=False)
    keys: tuple[str, ...] = field(default=(), repr=False)
    region: Literal["us", "eu"] = "us"
    password: Secret | None = None
    timeout_s: float = 10.0
    topics: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    track: bool | None = None
    pool: Pool = field(default_factory=Pool)

    def __post_init__(self) -> None:
        if "." not in self.domain:
            raise ValueError("domain must have a dot")


ENV = {"KEY": "k", "OLD": "o"}
GOOD = {"domain": "mg.example.com", "api_key": "env:KEY"}


def read(options: Mapping[str, object], account: str = "", accounts: Mapping[str, Mapping[str, object]] = {}) -> Config:
    provider = ProviderSettings("mailgun", "mailgun", options=options, accounts=accounts)
    return provider_options(Config, provider, account, ENV)


def test_options_become_the_types_of_the_fields() -> None:
    config = read(
        {
            **GOOD,
            "keys": ["env:KEY", "env:OLD"],
            "password": "env:KEY",
            "timeout_s": 3,
            "topics": "one",
            "headers": {"X-A": "b"},
            "track": True,
            "pool": {"size": 4},
            "region": "eu",
        }
    )
    assert config.name == "mailgun"
    assert (config.api_key, config.keys) == ("k", ("k", "o"))
    assert config.password == Secret("k")
    assert (config.timeout_s, config.topics, config.headers, config.track) == (3.0, ("one",), {"X-A": "b"}, True)
    assert (config.pool, config.region) == (Pool(4), "eu")


def test_options_from_the_environment_are_read_by_type() -> None:
    text = {"timeout_s": "2.5", "track": "yes", "topics": "a, b", "headers": '{"X": "y"}', "keys": "env:KEY,env:OLD"}
    config = read({**GOOD, **{name: EnvText(value, f"STREAMS_X__{name.upper()}") for name, value in text.items()}})
    assert (config.timeout_s, config.track, config.topics) == (2.5, True, ("a", "b"))
    assert (config.headers, config.keys) == ({"X": "y"}, ("k", "o"))


def test_an_account_overrides_only_what_it_names() -> None:
    config = read(GOOD, "shop", {"shop": {"domain": "shop.example.com", "api_key": "env:OLD"}})
    assert (config.domain, config.api_key) == ("shop.example.com", "o")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "a.b"}, "[providers.mailgun] api_key is missing"),
        ({**GOOD, "domian": "x"}, "[providers.mailgun] domian is not a known key; did you mean domain?"),
        ({**GOOD, "api_key": "key-123"}, "[providers.mailgun] api_key: secrets are given by reference only"),
        ({**GOOD, "api_key": 5}, "[providers.mailgun] api_key must be a reference to a secret"),
        ({**GOOD, "timeout_s": "soon"}, "[providers.mailgun] timeout_s must be a number"),
        ({**GOOD, "region": "mars"}, "[providers.mailgun] region must be one of us, eu"),
        ({**GOOD, "domain": "nodot"}, "[providers.mailgun]: domain must have a dot"),
        ({**GOOD, "pool": {"sise": 1}}, "[providers.mailgun.pool] sise is not a known key; did you mean size?"),
        ({**GOOD, "topics": 5}, "[providers.mailgun] topics must be a list, not the number 5"),
        ({**GOOD, "headers": []}, "[providers.mailgun] headers must be a table, not a list"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(options: Mapping[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(options)
    assert message in str(caught.value)
    assert "key-123" not in str(caught.value)


def test_an_unknown_account_is_named() -> None:
    with pytest.raises(SettingsError, match="there is no account shp; did you mean shop"):
        read(GOOD, "shp", {"shop": {}})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
)
def test_any_value_is_read_or_refused_in_one_line(value: object) -> None:
    reader = Reader(ENV)
    for name in ("domain", "api_key", "keys", "region", "password", "timeout_s", "topics", "headers", "track", "pool"):
        assert "\n" not in complaint(reader, {**GOOD, name: value})


def complaint(reader: Reader, table: Mapping[str, object]) -> str:
    try:
        reader.table(Config, table, Place("test", ("providers", "p")), {"name": "p"})
    except SettingsError as exc:
        return str(exc)
    return ""
