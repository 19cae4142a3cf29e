"""A lock holds pinned releases with hashes, and nothing that could bring in anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.supply.locks import disagreements, read_lock, unlocked_installs

ROOT = Path(__file__).parent.parent.parent
ONE, TWO = "a" * 64, "b" * 64


def lock(folder: Path, text: str, name: str = "some.lock") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_release_is_read_with_its_marker_and_all_its_hashes(tmp_path: Path) -> None:
    text = (
        f"# made\nCola.rama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:{ONE} \\\n    --hash=sha256:{TWO}\n"
    )
    read = read_lock(lock(tmp_path, text))
    (pin,) = read.pins
    assert (pin.name, pin.version, pin.hashes, pin.applies_here) == ("cola-rama", "0.4.6", (ONE, TWO), False)
    assert read.findings == ()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("idna==3.7", "no sha256 hash"),
        (f"idna==3.7 --hash=md5:{ONE[:32]}", "not a pinned release with sha256 hashes"),
        (f"idna==3.7 --hash=sha256:{ONE[:-1]}", "not a pinned release with sha256 hashes"),
        (f"idna>=3.7 --hash=sha256:{ONE}", "not pinned to one version"),
        (f"idna==3.* --hash=sha256:{ONE}", "not pinned to one version"),
        (f"idna==3.7,!=3.8 --hash=sha256:{ONE}", "not pinned to one version"),
        (f"idna --hash=sha256:{ONE}", "not pinned to one version"),
        (f"idna @ git+https://example.com/idna@main --hash=sha256:{ONE}", "from an address of its own"),
        (f"idna @ https://example.com/idna-3.7.tar.gz --hash=sha256:{ONE}", "from an address of its own"),
        ("git+https://example.com/idna", "not a pinned release"),
        ("-e ./idna", "not a pinned release"),
        ("-r other.txt", "not a pinned release"),
        ("--extra-index-url https://example.com/simple", "not a pinned release"),
        ("./idna-3.7.whl", "not a pinned release"),
    ],
)
def test_any_other_line_is_a_finding(tmp_path: Path, line: str, complaint: str) -> None:
    read = read_lock(lock(tmp_path, f"h11==0.16.0 --hash=sha256:{TWO}\n{line}\n"))
    assert [pin.name for pin in read.pins] == ["h11"]
    (finding,) = read.findings
    assert finding.startswith(f"some.lock: {complaint}")


def test_an_empty_lock_is_a_finding(tmp_path: Path) -> None:
    assert read_lock(lock(tmp_path, "# nothing\n")).findings == ("some.lock: no release in it",)


@pytest.mark.parametrize("theirs", [f"h11==0.16.1 --hash=sha256:{ONE}", f"h11==0.16.0 --hash=sha256:{TWO}", ""])
def test_what_is_shipped_is_what_was_tested_to_the_byte(tmp_path: Path, theirs: str) -> None:
    shipped = read_lock(lock(tmp_path, f"h11==0.16.0 --hash=sha256:{ONE}\n", "shipped.lock"))
    tested = read_lock(lock(tmp_path, theirs, "tested.lock"))
    assert disagreements(shipped, shipped) == []
    assert disagreements(shipped, tested) == ["h11 0.16.0 of shipped.lock is not the one of tested.lock"]


def test_the_locks_and_the_image_of_this_project_hold_to_that() -> None:
    shipped, tested = read_lock(ROOT / "requirements.lock"), read_lock(ROOT / "requirements-dev.lock")
    assert [*shipped.findings, *tested.findings, *disagreements(shipped, tested)] == []
    assert unlocked_installs((ROOT / "Dockerfile").read_text()) == []


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("pip install --require-hashes -r /tmp/requirements.lock", ["--only-binary :all:"]),
        ("pip install --only-binary :all: \\\n  -r requirements.lock", ["--require-hashes"]),
        ("pip3 install httpx", ["--require-hashes", "--only-binary :all:", "requirements.lock"]),
    ],
)
def test_an_image_installs_nothing_past_the_lock(command: str, missing: list[str]) -> None:
    good = "RUN pip install --require-hashes --only-binary :all: -r requirements.lock"
    findings = unlocked_installs(f"{good}\nRUN true && {command} && true\n")
    told = command.replace("\\\n", " ")
    assert findings == [f"Dockerfile: without {part}: {told}" for part in missing]


def test_an_image_that_installs_nothing_was_not_understood() -> None:
    assert unlocked_installs("RUN make install\n") == ["Dockerfile: no `pip install`"]
