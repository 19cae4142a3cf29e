"""The container's health check."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from streams.health import any_healthy


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/good" else 503)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    http = HTTPServer(("127.0.0.1", 0), _Answers)
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def test_one_healthy_address_is_enough(server: str, unused_port: int) -> None:
    assert any_healthy([f"http://127.0.0.1:{unused_port}/good", f"{server}/good"])


def test_an_error_answer_and_a_closed_port_are_not_health(server: str, unused_port: int) -> None:
    assert not any_healthy([f"{server}/bad", f"http://127.0.0.1:{unused_port}/good"])


def test_another_scheme_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="http:// addresses only"):
        any_healthy(["file:///etc/hostname"])


@pytest.mark.parametrize(("path", "code"), [("good", 0), ("bad", 1)])
def test_the_exit_code_tells(server: str, path: str, code: int) -> None:
    check = subprocess.run([sys.executable, "-m", "streams.health", f"{server}/{path}"], check=False, timeout=30)
    assert check.returncode == code
