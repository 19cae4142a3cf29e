"""Adapters take over secrets that have changed in their files, whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.polled import Polled
from streams.pollers.mailbox import MailboxSource
from streams.renewal import Renewal
from streams.settings import (
    KafkaSettings,
    MailboxSettings,
    ProviderSettings,
    Secret,
    Settings,
    resolve,
)
from streams.settings.read import EnvText

NOW_MS = 1_800_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


class Case:
    """Two accounts at Mailgun and one at SES, their secrets in files; what was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("mailgun", "shop", "id", "secret"):
            self.write(name, f"old-{name}")
        mailgun = {"domain": "mg.example.com", "api_key": f"file:{folder}/mailgun"}
        ses = {
            "region": "eu-west-1",
            "access_key_id": f"file:{folder}/id",
            "secret_access_key": f"file:{folder}/secret",
        }
        shop = {"shop": {"domain": "shop.example", "api_key": f"file:{folder}/shop"}}
        providers = {
            "mailgun": ProviderSettings("mailgun", "mailgun", options=mailgun, accounts=shop),
            "ses": ProviderSettings("ses", "ses", options=ses),
            "fixed": ProviderSettings("fixed", "mailgun", options={"domain": "f.example", "api_key": "env:KEY"}),
        }
        self.clock = Clock()
        self.told: list[tuple[str, str]] = []
        self.settings = Settings(KafkaSettings("localhost:9"), providers=providers)
        self.renewal = Renewal(self.settings, {"KEY": "k"}, lambda *what: self.told.append(what), self.clock)

    def write(self, name: str, text: str) -> None:
        """As secrets are mounted: all at once."""
        (self.folder / "next").write_text(text)
        (self.folder / "next").rename(self.folder / name)

    def adapter(self, name: str) -> Any:
        return self.renewal.adapters[name]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_file_that_has_rested_for_a_look_is_read_and_only_its_adapter_is_another_one(case: Case) -> None:
    before = dict(case.renewal.adapters)
    assert case.renewal.look() == {}
    case.write("mailgun", "new-mailgun")
    assert case.renewal.look() == {}, "it may still be changing"
    assert case.renewal.look().keys() == {"mailgun"}
    assert case.adapter("mailgun").config.api_key == "new-mailgun"
    assert {name for name, adapter in case.renewal.adapters.items() if adapter is not before[name]} == {"mailgun"}
    assert case.renewal.look() == {}
    assert case.told == [("mailgun", "read")]


def test_an_account_is_renewed_like_the_provider_itself(case: Case) -> None:
    case.write("shop", "new-shop")
    case.renewal.look()
    assert case.renewal.look().keys() == {"mailgun/shop"}
    assert case.adapter("mailgun/shop").config.api_key == "new-shop"
    assert case.told == [("mailgun", "read")]


def test_a_key_and_its_secret_that_change_one_after_the_other_are_taken_over_together(case: Case) -> None:
    case.write("id", "new-id")
    case.renewal.look()
    case.write("secret", "new-secret")
    assert case.renewal.look() == {}
    assert case.renewal.look().keys() == {"ses"}
    assert (case.adapter("ses").config.access_key_id, case.adapter("ses").config.secret_access_key) == (
        "new-id",
        "new-secret",
    )


@pytest.mark.parametrize("spoil", [lambda path: path.write_text(""), lambda path: path.unlink()], ids=["empty", "gone"])
def test_what_cannot_be_read_leaves_the_old_secret_in_use_says_so_and_is_tried_again(
    case: Case, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(case.folder / "mailgun")
    with caplog.at_level(logging.INFO, "streams.renewal"):
        for _ in range(5):
            assert case.renewal.look() == {}
    assert case.adapter("mailgun").config.api_key == "old-mailgun"
    assert case.told == [("mailgun", "failed")]
    (line,) = caplog.messages
    assert line.startswith("mailgun keeps its credentials: [providers.mailgun]") and f"{case.folder}/mailgun" in line
    case.clock.now_ms += 60_000
    assert case.renewal.look() == {}
    assert case.told == [("mailgun", "failed")] * 2
    case.write("mailgun", "new-mailgun")
    case.renewal.look()
    assert case.renewal.look().keys() == {"mailgun"}
    assert "old-mailgun" not in caplog.text and "new-mailgun" not in caplog.text


def test_secrets_in_a_list_that_a_variable_gives_are_looked_at_too(case: Case) -> None:
    both = EnvText(f"file:{case.folder}/mailgun,file:{case.folder}/shop", "STREAMS_PROVIDERS__MAILGUN__SIGNING_KEYS")
    options = {**case.settings.providers["mailgun"].options, "signing_keys": both}
    provider = replace(case.settings.providers["mailgun"], options=options, accounts={})
    renewal = Renewal(replace(case.settings, providers={"mailgun": provider}), {})
    case.write("shop", "new-shop")
    renewal.look()
    adapter: Any = renewal.look()["mailgun"]
    assert adapter.config.signing_keys == ("old-mailgun", "new-shop")


def test_who_asks_for_it_gets_every_secret_read_at_once(case: Case) -> None:
    case.write("mailgun", "new-mailgun")
    assert case.renewal.look(at_all=True).keys() == {"mailgun"}
    assert case.renewal.look(at_all=True) == {}, "nothing else is another one"


def test_a_change_between_the_start_and_the_first_look_is_seen(case: Case) -> None:
    renewal = Renewal(case.settings, {"KEY": "k"})
    case.write("id", "new-id")
    renewal.look()
    assert renewal.look().keys() == {"ses"}


def test_a_mailbox_with_a_new_password_is_another_source(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("old")
    password: Secret = resolve(f"file:{path}", {})
    box = MailboxSettings("bounces", "imap.example.com", "bounces@example.com", password)
    told: list[tuple[str, str]] = []
    polled = Polled(Settings(KafkaSettings("localhost:9"), mailboxes={"bounces": box}), {})

    def look(*, at_all: bool = False) -> dict[str, Any]:
        return polled.look(lambda *what: told.append(what), at_all=at_all)

    assert look() == look() == {}
    path.write_text("")
    assert look() == look() == {}
    assert told == [("bounces", "failed")]
    path.write_text("new")
    look()
    source = look()["bounces"]
    assert isinstance(source, MailboxSource)
    assert source._box.password.reveal() == "new"
    path.write_text("newer")
    assert look(at_all=True)["bounces"]._box.password.reveal() == "newer"
    assert told == [("bounces", "failed"), ("bounces", "read"), ("bounces", "read")]
