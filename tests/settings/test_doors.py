"""Doors in the configuration: which topics they may be, and whom they may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.configured import intake_config, topic_specs
from streams.settings import MAX_DOORS, Settings, SettingsError, load_settings
from streams.topics import events_topic_fault

KAFKA = '[kafka]\nbootstrap = "localhost:9092"\nprefix = "p."\n'


def settings_of(folder: Path, text: str) -> Settings:
    path = folder / "streams.toml"
    path.write_text(KAFKA + text)
    return load_settings(path, {})


def test_a_door_is_a_topic_of_requests_that_speaks_for_its_tenants(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        """
        [doors.shop]
        topic = "send-requests.shop"
        tenants = ["shop", "shop-news"]
        bulk = true
        [doors.others]
        topic = "send-requests"
        tenants = ["default"]
        """,
    )
    doors = intake_config(settings).doors
    assert doors.keys() == {"p.send-requests.shop", "p.send-requests"}
    assert doors["p.send-requests.shop"].tenants == {"shop", "shop-news"} and doors["p.send-requests.shop"].bulk
    specs = {spec.name: spec for spec in topic_specs(settings)}
    own, usual = specs["p.send-requests.shop"], specs["p.send-requests"]
    assert (own.partitions, own.config) == (usual.partitions, usual.config)
    assert len([name for name in specs if name == "p.send-requests"]) == 1


def test_a_door_can_be_changed_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "streams.toml"
    path.write_text(KAFKA + '[doors.shop]\ntopic = "send-requests.shop"\ntenants = ["shop"]\n')
    settings = load_settings(path, {"STREAMS_DOORS__SHOP__TENANTS": "shop,news"})
    assert settings.doors["shop"].tenants == ("shop", "news")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param('topic = "outbound"\ntenants = ["a"]', "[doors.a] topic must be send-requests,", id="inner topic"),
        pytest.param('topic = "send-requests."\ntenants = ["a"]', "[doors.a] topic must be", id="no name"),
        pytest.param('topic = "send-requests.a/b"\ntenants = ["a"]', "[doors.a] topic must be", id="bad name"),
        pytest.param(
            'topic = "send-requests.a"\ntenants = []', "[doors.a] tenants must name at least one", id="nobody"
        ),
        pytest.param('topic = "send-requests.a"\ntenants = ["a b"]', "holds 'a b', which no tenant", id="no tenant"),
        pytest.param('topic = "send-requests.a"', "tenants is missing", id="no tenants"),
        pytest.param(
            'topic = "send-requests"\ntenants = ["a"]\nbulk = true', "bulk is for topics of your own", id="bulk"
        ),
        pytest.param(
            'topic = "send-requests.x"\ntenants = ["a"]\n[doors.b]\ntopic = "send-requests.x"\ntenants = ["b"]',
            "[doors.b] topic is that of [doors.a]",
            id="two of one topic",
        ),
        pytest.param(
            'topic = "send-requests"\ntenants = ["a"]\n[alerts]\nfrom = "a@example.com"',
            "must hold streams-alerts",
            id="alerts are shut out",
        ),
    ],
)
def test_a_wrong_door_is_one_line_that_names_it(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(tmp_path, f"[doors.a]\n{text}\n")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_doors_are_bounded(tmp_path: Path) -> None:
    text = "".join(f'[doors.d{n}]\ntopic = "send-requests.d{n}"\ntenants = ["t"]\n' for n in range(MAX_DOORS + 1))
    with pytest.raises(SettingsError, match="at most 64"):
        settings_of(tmp_path, text)


def test_nobodys_events_are_copied_to_a_door() -> None:
    assert events_topic_fault("send-requests.shop")
    assert not events_topic_fault("events.shop")
