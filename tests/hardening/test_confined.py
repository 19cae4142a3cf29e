"""Worker and ingress do their work as confined as the example units ask for: no writable file but the worker's data, a
user without rights, the unit's filter of system calls. The broker is the embedded one.
"""

from __future__ import annotations

import ctypes.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from streams.processes import BoundProcess
from tests.fleet import Fleet, single
from tests.fleet.config import ROOT, SECRETS
from tests.hardening.confine import SHOWN, USER
from tests.hardening.units import allowed_calls, directives, environment, seconds, size

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux can confine a process"),
    pytest.mark.skipif(
        not (shutil.which("systemd-analyze") and shutil.which("unshare") and ctypes.util.find_library("seccomp")),
        reason="needs systemd-analyze (Debian: systemd), unshare (util-linux) and libseccomp",
    ),
]

WORKER, INGRESS = directives("streams-worker@.service"), directives("streams-ingress.service")
SECRET_FILES = {
    "mailgun-api-key": SECRETS["FLEET_MAILGUN_KEY"],
    "mailgun-signing-key": SECRETS["FLEET_SIGNING_KEY"],
    "ses-access-key-id": SECRETS["FLEET_SES_ACCESS"],
    "ses-secret-access-key": SECRETS["FLEET_SES_SECRET"],
}


def confined(command: Sequence[str], writable: Sequence[Path] = ()) -> list[str]:
    """The command, in a read-only world that shows of this project what the container image holds."""
    wanted = {
        "writable": [str(path) for path in writable],
        "shown": {
            **{str(SHOWN / "app" / name): str(ROOT / name) for name in ("streams", "schemas")},
            str(SHOWN / "packages"): sysconfig.get_path("platlib"),
            str(SHOWN / "python"): sys.base_prefix,
        },
        "calls": sorted(allowed_calls(WORKER)),
        "families": WORKER["RestrictAddressFamilies"][0].split(),
    }
    confine = str(ROOT / "tests" / "hardening" / "confine.py")
    # -S -I: only the standard library, whatever is installed
    return [
        *("unshare", "--mount", "--propagation", "private", "--", sys.executable, "-SI", confine, json.dumps(wanted)),
        *(str(SHOWN / "python" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"), *command),
    ]


def clean_environment() -> dict[str, str]:
    packages = f"{SHOWN / 'app'}:{SHOWN / 'packages'}"
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": packages,
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_LIBRARY_PATH": f"{SHOWN / 'python' / 'lib'}",  # where the interpreter is a shared library
    }


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where another user can reach it, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="streams-hardening-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


class ConfinedFleet(Fleet):
    """Worker and ingress are confined, with the secrets of the example units as files of that user."""

    def _spawn(
        self, name: str, arguments: Sequence[str], extra: dict[str, str] | None = None, *module: str
    ) -> BoundProcess:
        if arguments[0] not in ("worker", "ingress"):
            return super()._spawn(name, arguments, extra, *module)
        unit = WORKER if arguments[0] == "worker" else INGRESS
        secrets = environment(unit, {"%d": str(self.folder / "credentials")})
        ours = {key: value for key, value in secrets.items() if "_PROVIDERS__" in key}
        own = [self.data_dir] if arguments[0] == "worker" else []
        process = BoundProcess(
            confined(["-m", *(module or ["streams"]), *arguments], own),
            env={**clean_environment(), **ours, "STREAMS_CONFIG": str(self.config), **(extra or {})},
            cwd=Path("/"),
            log=self.folder / f"{name}.log",
        )
        self._processes[name] = process
        return process

    @property
    def data_dir(self) -> Path:
        return self.folder / "state-w1"

    def prepare(self) -> None:
        """What systemd prepares: the state directory, and secrets that no other user can read."""
        credentials = self.folder / "credentials"
        for path in (credentials, self.data_dir):
            path.mkdir(mode=0o700)
            os.chown(path, USER, USER)
        for name, secret in SECRET_FILES.items():
            path = credentials / name
            path.write_text(secret + "\n")
            path.chmod(0o400)
            os.chown(path, USER, USER)
        config = self.config.read_text()
        for name in SECRETS:
            assert f"env:{name}" in config  # the files take their place: the variables are not there
        assert not any(name in clean_environment() for name in SECRETS)


def test_the_confinement_confines(folder: Path) -> None:
    probe = """
import ctypes, mmap, os, socket, sys
tried = {
    "write beside the program": lambda: open("/srv/app/streams/x", "w"),
    "write to /tmp": lambda: open("/tmp/x", "w"),
    "write to /etc": lambda: open("/etc/x", "w"),
    "become root": lambda: os.setuid(0),
    "watch the network": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "talk to the kernel": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "mount": lambda: ctypes.CDLL(None).mount(b"none", b"/srv", b"tmpfs", 0, None) == 0 or 1 / 0,
    "make code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
}
for what, act in tried.items():
    try:
        act()
    except (OSError, ZeroDivisionError):
        continue
    sys.exit(what)
assert os.getresuid() == os.getresgid() == (61999,) * 3 and os.getgroups() == []
assert "CapBnd:\\t0000000000000000" in open("/proc/self/status").read()
open(sys.argv[1] + "/x", "w").close()
"""
    data = folder / "data"
    data.mkdir()
    os.chown(data, USER, USER)
    done = subprocess.run(
        confined(["-c", probe, str(data)], [data]), env=clean_environment(), capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (data / "x").exists()


@pytest.mark.parametrize("command", ["worker", "ingress", "poll"])
def test_a_command_explains_itself_where_nothing_can_be_written(command: str) -> None:
    done = subprocess.run(
        confined(["-m", "streams", command, "--help"]),
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert "SIGTERM" in done.stdout


def test_mail_goes_out_and_reports_come_in_with_nothing_writable_but_the_tables(
    embedded_kafka: str, folder: Path, topic_prefix: str
) -> None:
    fleet = ConfinedFleet(folder, embedded_kafka, prefix=topic_prefix, profile="embedded", sandbox=["--all-delivered"])
    fleet.prepare()
    with fleet:
        worker = fleet.start_worker("w1", STREAMS_WORKER__STORE="rocksdb")
        fleet.until("the worker is ready", lambda: fleet.is_ready("w1"), 45)
        identities = fleet.produce(single(number) for number in range(200))
        fleet.until("everything is reported as delivered", lambda: fleet.seen.ended >= identities, 60)
        told = fleet.account(identities)
        assert (told.lost, told.twice) == (set(), {})
        assert any(path.is_file() and path.stat().st_uid == USER for path in fleet.data_dir.rglob("*"))
        for name, unit in (("w1", WORKER), ("ingress", INGRESS)):
            _within_the_limits(fleet.process(name).pid, unit)
        begin = time.monotonic()
        assert worker.stop(seconds(WORKER["TimeoutStopSec"][0])) == 0
        assert fleet.process("ingress").stop(seconds(INGRESS["TimeoutStopSec"][0])) == 0
        print(f"both stopped in {time.monotonic() - begin:.1f} s")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{fleet.ingress_url}/health/live", trust_env=False)


def _within_the_limits(pid: int, unit: dict[str, list[str]]) -> None:
    """Its memory and threads are within half of what the unit allows; it is that user, without rights."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert set(status["Uid"]) == {str(USER)}
    assert status["CapEff"] == ["0000000000000000"]
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
    resident, threads = int(status["VmHWM"][0]) * 1024, int(status["Threads"][0])
    print(f"{resident / 1e6:.0f} MB at most, {threads} threads")
    assert resident < size(unit["MemoryMax"][0]) / 2
    assert threads < int(unit["TasksMax"][0]) / 2
