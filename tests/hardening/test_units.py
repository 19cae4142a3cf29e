"""The example units are what systemd understands, confine as they say, and fit the product."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from streams.adapters import build_adapters
from streams.cli.group import streams as streams_command
from streams.settings import load_settings
from streams.settings.processes import IngressSettings, PollSettings, WorkerSettings
from tests.hardening.units import DROP_INS, FOLDER, ROOT, UNITS, directives, environment, seconds

systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)")
PYTHON = "/opt/streams/bin/python"
MOST_EXPOSED = 15  # of 100, as `systemd-analyze security` counts


def installed(folder: Path, *, drop_ins: bool = True) -> list[Path]:
    """The units as on a machine, the worker's with an instance; a Python that is there takes the place of theirs."""
    units = []
    for name in UNITS:
        unit = folder / name.replace("@.", "@8090.")
        unit.write_text((FOLDER / name).read_text().replace(PYTHON, sys.executable))
        units.append(unit)
    if drop_ins:
        (folder / "streams-.service.d").mkdir()
        for path in DROP_INS:
            shutil.copy(path, folder / "streams-.service.d")
    return units


def analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = {"SYSTEMD_UNIT_PATH": f"{folder}:"}  # the colon: and where units usually are
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        env={**os.environ, **path}, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip


@systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for unit in installed(tmp_path):
        done = analyze(tmp_path, "verify", "--man=no", str(unit))
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


@systemd
def test_a_line_that_systemd_does_not_understand_would_be_noticed(tmp_path: Path) -> None:
    unit = installed(tmp_path)[0]
    (tmp_path / "streams-.service.d" / "more.conf").write_text("[Service]\nProtectSytem=strict\n")
    assert "ProtectSytem" in analyze(tmp_path, "verify", "--man=no", str(unit)).stderr


@systemd
def test_the_units_expose_little_and_would_expose_everything_without_the_drop_in(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    confined, bare = installed(tmp_path), installed(tmp_path / "bare", drop_ins=False)
    for unit, same in zip(confined, bare, strict=True):
        limit = ("security", "--offline=yes", f"--threshold={MOST_EXPOSED}")
        done = analyze(tmp_path, *limit, str(unit))
        assert done.returncode == 0, done.stdout[-200:]
        assert analyze(tmp_path / "bare", *limit, str(same)).returncode != 0


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_runs_a_command_that_exists_and_is_asked_at_its_own_port(unit: str) -> None:
    found = directives(unit)
    commands = streams_command.list_commands(click.Context(streams_command))
    (command,) = re.findall(rf"^{PYTHON} -m streams (\w+)$", found["ExecStart"][0])
    assert command in commands
    given = environment(found, {"%i": "8090", "%S": "/var/lib", "%d": "/run/credentials"})
    (asked,) = re.findall(r"http://127\.0\.0\.1:(\d+|%i)/health/(?:live|ready)", found["ExecStartPost"][0])
    assert asked.replace("%i", "8090") == given[f"STREAMS_{command.upper()}__PORT"]


def test_systemd_waits_longer_than_a_process_takes_to_end() -> None:
    worker, ingress, poll = (seconds(directives(unit)["TimeoutStopSec"][0]) for unit in UNITS)
    assert worker >= WorkerSettings().shutdown_timeout_s + 5 + 5
    assert ingress >= 2 * IngressSettings().drain_timeout_s + 5
    assert poll >= 30 + PollSettings().drain_timeout_s + 5


def test_a_worker_writes_where_its_unit_lets_it() -> None:
    worker = directives("streams-worker@.service")
    (state,) = worker["StateDirectory"]
    given = environment(worker, {"%S": "/var/lib"})
    assert given["STREAMS_WORKER__DATA_DIR"] == f"/var/lib/{state}"
    assert worker["WorkingDirectory"] == [f"%S/{state}"]


def test_open_files_suffice_for_the_connections_of_the_ingress() -> None:
    assert int(directives("streams-ingress.service")["LimitNOFILE"][0]) > 2 * IngressSettings().max_connections


def test_the_secrets_of_the_units_reach_the_configuration_as_files(tmp_path: Path) -> None:
    """The example configuration names its secrets as variables that are not there; the units' files take their place."""
    found = directives(UNITS[0])
    names = [credential.partition(":")[0] for credential in found["LoadCredential"]]
    for name in names:
        (tmp_path / name).write_text(f"the {name}\n")
    given = environment(found, {"%d": str(tmp_path), "%i": "8090", "%S": "/var/lib"})
    assert sorted(value for value in given.values() if value.startswith("file:")) == sorted(
        f"file:{tmp_path}/{name}" for name in names
    )
    settings = load_settings(ROOT / "streams.example.toml", env=given)
    adapters = build_adapters(settings, given)  # raises where a secret is still to come from a variable
    assert set(adapters) == {"mailgun", "ses"}
    for name in names:
        assert f"the {name}" not in repr(settings) + repr(adapters)
