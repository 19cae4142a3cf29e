"""A provider is found by the name of its type alone."""

from __future__ import annotations

import dataclasses

import pytest

from streams.providers.registry import load, types


def test_every_type_exports_a_frozen_configuration_and_a_factory() -> None:
    assert {"mailgun", "ses"} <= set(types())
    for name in types():
        module = load(name)
        assert callable(module.create)
        assert dataclasses.is_dataclass(module.Config)
        assert module.Config.__dataclass_params__.frozen
        assert all(field.metadata.get("doc") for field in dataclasses.fields(module.Config))


@pytest.mark.parametrize("name", ["", "base", "registry", "_http", "_sns", "nosuch", "../x", "os", "mailgun.config"])
def test_nothing_else_is_loaded(name: str) -> None:
    with pytest.raises(ValueError, match="known are") as raised:
        load(name)
    assert "\n" not in str(raised.value)
