"""Run a Kafka by hand, or a command beside one; see the package."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

from tests.brokers import KafkaNotAvailable, KafkaServer, start_kafka


def main(command: Sequence[str] = ()) -> int:
    """Run a server until the command ends, or SIGINT or SIGTERM comes. Returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    server: KafkaServer | None = None
    try:
        server = start_kafka()
        if command:
            argv = [argument.replace("{bootstrap}", server.bootstrap) for argument in command]
            return subprocess.run(argv, check=False).returncode
        print(server.bootstrap, flush=True)
        while True:
            signal.pause()
    except KafkaNotAvailable as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        if server is not None:
            server.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
