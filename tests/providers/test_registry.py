"""A provider is found by the name of its type alone."""

from __future__ import annotations

import dataclasses
import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

from streams.adapters import build_adapters
from streams.configured import topic_specs
from streams.pollers.build import build_sources
from streams.providers import registry
from streams.providers.registry import load, short, types
from streams.settings import SettingsError, load_settings
from streams.topics import WEBHOOK_TYPES


@dataclasses.dataclass(frozen=True)
class Config:
    """No keys."""


class Adapter:
    """As much of one as the registry looks at."""

    def __init__(self, name: str, type_: str) -> None:
        self.name = name
        self.type = type_


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module outside the package, ``acme_mail.postie``."""
    package, module = ModuleType("acme_mail"), ModuleType("acme_mail.postie")
    module.Config = Config  # type: ignore[attr-defined]
    module.create = lambda name, config: Adapter(name, "postie")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def _settings(tmp_path: Any, *types_: str) -> Any:
    file = tmp_path / "streams.toml"
    sections = (f'[providers.p{number}]\ntype = "{type_}"\n' for number, type_ in enumerate(types_))
    file.write_text('[kafka]\nbootstrap = "localhost:1"\n' + "".join(sections))
    return load_settings(file, {})


def test_every_type_exports_a_frozen_configuration_and_a_factory() -> None:
    assert {"mailgun", "ses"} <= set(types())
    for name in types():
        module = load(name)
        assert callable(module.create)
        assert dataclasses.is_dataclass(module.Config)
        assert module.Config.__dataclass_params__.frozen
        assert all(field.metadata.get("doc") for field in dataclasses.fields(module.Config))


@pytest.mark.parametrize("name", ["", "base", "registry", "_http", "_sns", "nosuch", "../x", "os", "no.such", "../x.y"])
def test_nothing_else_is_loaded(name: str) -> None:
    with pytest.raises(ValueError, match="known are") as raised:
        load(name)
    assert "\n" not in str(raised.value)


def test_a_module_elsewhere_is_a_type_named_after_its_last_part(elsewhere: ModuleType, tmp_path: Any) -> None:
    assert load("acme_mail.postie") is elsewhere
    assert short("acme_mail.postie") == "postie"
    settings = _settings(tmp_path, "acme_mail.postie")
    assert build_adapters(settings, {})["p0"].type == "postie"
    topics = {spec.name for spec in topic_specs(settings)}
    assert "webhooks.postie" in topics
    assert {f"webhooks.{kind}" for kind in WEBHOOK_TYPES} <= topics


def test_an_entry_point_is_a_type_by_its_name(
    elsewhere: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    entry = EntryPoint("postie", "acme_mail.postie", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **asked: [entry] if asked["name"] == "postie" else [])
    assert load("postie") is elsewhere
    assert build_adapters(_settings(tmp_path, "postie"), {})["p0"].name == "p0"


def test_two_packages_with_one_type_are_told_apart_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("postie", f"{package}.postie", registry.GROUP) for package in ("one", "other")]
    monkeypatch.setattr(registry, "entry_points", lambda **_: entries)
    with pytest.raises(ValueError, match=r"two packages bring .*one\.postie, other\.postie"):
        load("postie")


def test_an_entry_point_that_cannot_be_loaded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("postie", "nowhere_at_all.postie", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [entry])
    with pytest.raises(ValueError, match=r"entry point postie .* cannot be loaded: ModuleNotFoundError"):
        load("postie")


def test_a_module_that_cannot_be_imported_is_one_line_that_names_the_key(tmp_path: Any) -> None:
    with pytest.raises(SettingsError, match=r"\[providers\.p0\] type: acme\.nosuch cannot be imported: .*'acme'"):
        build_adapters(_settings(tmp_path, "acme.nosuch"), {})


@pytest.mark.parametrize(
    ("missing", "said"),
    [("Config", "exports no Config, a frozen dataclass"), ("create", r"exports no create\(name, config\)")],
)
def test_a_module_must_export_both(elsewhere: ModuleType, missing: str, said: str) -> None:
    delattr(elsewhere, missing)
    with pytest.raises(ValueError, match=said):
        load("acme_mail.postie")


def test_a_configuration_that_can_change_is_refused(elsewhere: ModuleType) -> None:
    elsewhere.Config = dataclasses.make_dataclass("Config", [])  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="a frozen dataclass"):
        load("acme_mail.postie")


@pytest.mark.parametrize("name", ["mailgun", "ses", "bounces", "tracking", "base"])
def test_what_comes_along_cannot_be_replaced(elsewhere: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, f"acme_mail.{name}", elsewhere)
    with pytest.raises(ValueError, match="is taken; give the module another name"):
        load(f"acme_mail.{name}")


def test_an_adapter_says_the_type_that_its_module_has(elsewhere: ModuleType, tmp_path: Any) -> None:
    elsewhere.create = lambda name, config: Adapter(name, "other")  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match=r"\[providers\.p0\] acme_mail\.postie made .*'other'.* must be .*'postie'"):
        build_adapters(_settings(tmp_path, "acme_mail.postie"), {})


def test_two_modules_with_one_last_part_would_share_a_topic(tmp_path: Any) -> None:
    with pytest.raises(SettingsError, match=r"would share its topic with .*: rename one"):
        _settings(tmp_path, "acme_mail.postie", "other.postie")


def test_a_module_elsewhere_may_bring_queues_to_poll(elsewhere: ModuleType, tmp_path: Any) -> None:
    settings = _settings(tmp_path, "acme_mail.postie")
    adapters = build_adapters(settings, {})
    assert build_sources(settings, adapters, {}) == {}

    @dataclasses.dataclass(frozen=True)
    class Queue:
        name: str

    elsewhere.sources = lambda settings, adapters, env: [Queue(name) for name in adapters]  # type: ignore[attr-defined]
    assert build_sources(settings, adapters, {}) == {"p0": Queue("p0")}
