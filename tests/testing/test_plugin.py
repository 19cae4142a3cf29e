"""The pytest plugin as its users have it: found by its entry point, in a project of their own."""

from __future__ import annotations

import os
import shutil
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "shop"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This package with its entry points, even where it only lies on the path."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if not entry_points(group="pytest11", name="streams"):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        info = tmp_path / "site" / "streams_mail-0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: streams-mail\nVersion: 0\n")
        found = project["entry-points"]["pytest11"]
        (info / "entry_points.txt").write_text("[pytest11]\n" + "".join(f"{k} = {v}\n" for k, v in found.items()))
        paths.append(str(info.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    for name in [name for name in os.environ if name.startswith(("STREAMS_", "PYTEST_"))]:
        monkeypatch.delenv(name)


@pytest.mark.timeout(150)
def test_the_example_project_passes(pytester: pytest.Pytester, installed: None) -> None:
    for file in EXAMPLE.glob("*.py"):
        shutil.copy(file, pytester.path)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:xdist", timeout=140)
    result.assert_outcomes(passed=5)


def test_the_plugin_costs_nothing_where_nobody_asks(pytester: pytest.Pytester, installed: None) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_was_imported():
            assert "streams.pytest_plugin" in sys.modules
            heavy = {"streams.testing", "streams.client", "httpx", "confluent_kafka", "faust", "aiokafka"}
            assert not heavy & set(sys.modules)
        """
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", timeout=50)
    result.assert_outcomes(passed=1)


def test_the_fixtures_say_what_they_are(pytester: pytest.Pytester, installed: None) -> None:
    result = pytester.runpytest_subprocess("--fixtures", "-q", timeout=50)
    for name in ("streams_deployment", "streams_client", "streams_sandbox", "streams_config", "streams_bootstrap"):
        result.stdout.fnmatch_lines([f"{name}*"])
