"""Apache Kafka's jars, brought by Maven once, and the Java that runs them."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.brokers.server import KafkaNotAvailable

_HERE = Path(__file__).parent
_CACHE = _HERE.parent.parent / ".cache" / "kafka-libs"
_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseParallelGC", "-Xshare:auto")
"""Ready soon, rather than fast in an hour; short pauses."""


def kafka_jars() -> Path:
    """The directory of the broker's jars, fetched once per content of the pom; raises KafkaNotAvailable."""
    pom = _HERE / "pom.xml"
    jars = _CACHE / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    done = jars / ".complete"
    if done.exists():
        return jars
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / ".lock").open("w") as lock:  # several test processes may want them at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _fetch_jars(pom, jars)
            done.touch()
    return jars


def _fetch_jars(pom: Path, jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaNotAvailable("Maven is not installed: apt-get install maven openjdk-17-jre-headless")
    argv = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
    argv += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    if result.returncode != 0:
        said = (result.stdout + result.stderr)[-2000:]
        raise KafkaNotAvailable(f"Maven could not fetch Apache Kafka: {said}")


def java(jars: Path, *options: str) -> list[str]:
    """The beginning of a command line: the JVM with its options and class path."""
    binary = shutil.which("java")
    if binary is None:
        raise KafkaNotAvailable("Java is not installed: apt-get install openjdk-17-jre-headless")
    logging = f"-Dlog4j2.configurationFile={_HERE / 'log4j2.xml'}"
    return [binary, *_JVM, *options, logging, "-cp", f"{jars}/*"]


def run_java(jars: Path, cwd: Path, *arguments: str) -> None:
    """Run one of Kafka's own tools to its end; raises KafkaNotAvailable with what it said."""
    argv = [*java(jars, "-Xmx128m"), *arguments]
    result = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0:
        raise KafkaNotAvailable(f"{arguments[0]} failed: {(result.stdout + result.stderr)[-2000:]}")
