"""The frame around the code: locks, versions, Makefile, containers, and what no file may contain."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

import streams
from streams.settings import load_settings

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME_EXTRAS = ("embedded", "rocksdb", "sandbox")
NOT_OURS = {".git", ".venv", ".cache", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__",
            ".import_linter_cache", "build", "dist", "results", "var", "node_modules"}  # fmt: skip

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def _lock(name: str) -> dict[str, tuple[str, list[str]]]:
    """Package → (version, hashes)."""
    entries: dict[str, tuple[str, list[str]]] = {}
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            package, version = re.match(r"([a-z0-9._-]+)==([^\s;]+)", line).groups()  # type: ignore[union-attr]
            previous = entries.get(package, (version, []))[1]  # one package may be pinned per Python version
            entries[package] = (version, previous + re.findall(r"--hash=sha256:[0-9a-f]{64}", line))
            assert "--hash=" in line, f"{name}: {package} has no hash"
    return entries


def _files() -> Iterator[Path]:
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and not NOT_OURS.intersection(parts) and not any(p.endswith(".egg-info") for p in parts):
            yield path


# ------------------------------------------------------------------------------------------------ versions, locks


def test_the_version_is_the_same_in_the_package_the_project_file_and_the_changelog() -> None:
    top = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert top is not None
    assert PYPROJECT["version"] == streams.__version__ == top.group(1)


@pytest.mark.parametrize(
    ("name", "extras"),
    [("requirements.lock", RUNTIME_EXTRAS), ("requirements-dev.lock", tuple(PYPROJECT["optional-dependencies"]))],
)
def test_a_lock_pins_every_direct_dependency_within_its_bounds(name: str, extras: tuple[str, ...]) -> None:
    lock = _lock(name)
    wanted = [*PYPROJECT["dependencies"]]
    for extra in extras:
        wanted += PYPROJECT["optional-dependencies"][extra]
    for requirement in map(Requirement, wanted):
        package = requirement.name.lower().replace("_", "-")
        assert package in lock, f"{name} does not pin {package}: run `make lock`"
        assert requirement.specifier.contains(lock[package][0]), f"{name}: {package} is outside {requirement.specifier}"


def test_what_runs_in_production_is_what_was_tested() -> None:
    tested = _lock("requirements-dev.lock")
    assert {name: tested[name] for name in _lock("requirements.lock")} == _lock("requirements.lock")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_no_place_to_install_from(name: str) -> None:
    assert not re.search(r"://|--index-url|--extra-index-url|--find-links|--trusted-host", (ROOT / name).read_text())


# ------------------------------------------------------------------------------------------------ hygiene


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    places = r"(?<![\w.-])/(hom[e]/\w|User[s]/\w|roo[t]/|wor[k]/|tm[p]/w/)"  # the brackets keep this line from itself
    pattern = re.compile(f"{re.escape(str(ROOT))}|{places}")
    found = {}
    for path in _files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a binary fixture
        if hit := pattern.search(text):
            found[str(path.relative_to(ROOT))] = hit.group()
    assert found == {}


def test_the_license_is_the_apache_license() -> None:
    assert PYPROJECT["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()


# ------------------------------------------------------------------------------------------------ Makefile


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    declared = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert declared is not None
    explained = dict(re.findall(r"^([a-z][a-z-]*):.*?## (.+)$", makefile, re.MULTILINE))
    assert set(declared.group(1).split()) == set(explained)


# ------------------------------------------------------------------------------------------------ containers


def test_the_compose_file_follows_the_compose_specification() -> None:
    package = importlib.util.find_spec("check_jsonschema")  # it brings the official schema
    assert package is not None
    assert package.submodule_search_locations is not None
    schema = Path(package.submodule_search_locations[0]) / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(COMPOSE, json.loads(schema.read_text()))


def test_every_service_of_the_compose_file_says_how_healthy_it_is() -> None:
    assert set(SERVICES) == {"kafka", "topics", "worker", "ingress", "poll", "sandbox", "prometheus", "grafana"}
    for name, service in SERVICES.items():
        check = service["healthcheck"]
        assert ("test" in check) or (name == "topics" and check == {"disable": True}), name


def test_services_wait_only_for_services_that_exist_and_can_reach_the_state() -> None:
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            check = SERVICES[other]["healthcheck"]
            wants_health = wait["condition"] == "service_healthy"
            assert wants_health == ("test" in check)


def test_ports_are_published_on_the_loopback_interface_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_images_are_pinned_to_a_version() -> None:
    for service in SERVICES.values():
        image = service["image"]
        assert image == "streams-mail:latest" or re.search(r":v?\d+\.\d+\.\d+$", image)


def test_files_that_the_containers_need_exist() -> None:
    for config in COMPOSE["configs"].values():
        assert (ROOT / re.sub(r"\$\{\w+:-(.*)\}", r"\1", config["file"])).is_file()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith("/") or (ROOT / source).is_dir()
    copied = re.findall(r"^COPY (?!--from)(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for source in copied:
        assert (ROOT / source).exists()
        assert source in allowed


def test_the_kafka_of_the_containers_is_the_kafka_of_the_tests() -> None:
    pom = (ROOT / "tests/brokers/pom.xml").read_text()
    version = re.search(r"<kafka.version>(.+)</kafka.version>", pom)
    assert version is not None
    image = f"apache/kafka:{version.group(1)}"
    assert SERVICES["kafka"]["image"] == image
    assert image in (ROOT / "tests/brokers/container.py").read_text()


def test_the_configuration_of_the_containers_is_valid_and_its_secrets_are_given() -> None:
    environment = SERVICES["worker"]["environment"]
    given = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in environment.items()}
    settings = load_settings(ROOT / "compose/sandbox.toml", env=given)
    assert settings.kafka.bootstrap == "kafka:19092"
    assert settings.worker.host == "0.0.0.0"
    assert set(settings.providers) == {"mailgun", "ses"}


def test_whoever_judges_webhooks_sees_the_certificate_of_the_sandbox() -> None:
    (home,) = [volume.split(":")[1] for volume in SERVICES["sandbox"]["volumes"]]
    assert SERVICES["sandbox"]["command"][-2:] == ["--data", home]
    ses = load_settings(ROOT / "compose/sandbox.toml", env={}).providers["ses"]
    assert ses.options["pinned_certificates"] == f"{home}/certificates"
    for name in ("worker", "ingress"):
        assert f"sandbox-data:{home}:ro" in SERVICES[name]["volumes"]
        assert SERVICES[name]["depends_on"]["sandbox"] == {"condition": "service_healthy", "required": False}


def test_prometheus_scrapes_the_ports_that_the_services_open() -> None:
    scraped = yaml.safe_load((ROOT / "grafana/prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["dns_sd_configs"][0] for job in scraped}
    assert {name: target["names"] for name, target in targets.items()} == {
        name: [name] for name in ("worker", "ingress", "poll")
    }
    for name in ("worker", "poll"):
        assert SERVICES[name]["expose"] == [str(targets[name]["port"])]
    assert SERVICES["ingress"]["ports"][0].endswith(f":{targets['ingress']['port']}")


def test_grafana_finds_prometheus_at_the_address_of_its_service() -> None:
    provisioned = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in SERVICES
