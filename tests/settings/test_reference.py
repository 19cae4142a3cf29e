"""The reference page says what the code says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from streams.settings.load import PLAIN_SECTIONS
from streams.settings.model import ProviderSettings, RetrySettings, RoutingRule, TenantSettings
from streams.settings.read import file_name
from streams.settings.reference import page

ROOT = Path(__file__).parent.parent.parent


def test_the_page_in_docs_is_fresh() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m streams.settings.reference > docs/configuration.md"


def test_every_key_is_on_the_page_and_has_a_meaning() -> None:
    text = page()
    for cls in (*PLAIN_SECTIONS.values(), ProviderSettings, RoutingRule, TenantSettings, RetrySettings):
        for item in fields(cls):
            if not item.metadata.get("hidden"):
                assert item.metadata["doc"], item.name
                assert f"| `{file_name(item)}` |" in text
