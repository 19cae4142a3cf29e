"""The proxy of the fault bench does what it says, and nothing else: the rows of the bench rest on it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.faults.proxy import CALM, ChaosProxy, Trouble, Way

SHORT_S = 0.15
"""How long nothing may come before it counts as silence."""


class Echo:
    """A server that keeps what it hears and says it back; `ends` is how each connection ended."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.accepted = 0
        self.ends: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                while data := connection.recv(65_536):
                    self.heard += data
                    connection.sendall(data)
            self.ends.append("closed")
        except ConnectionError:
            self.ends.append("reset")


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[ChaosProxy]:
    with ChaosProxy(echo.address) as running:
        yield running


@pytest.fixture
def client(proxy: ChaosProxy) -> Iterator[socket.socket]:
    with connected(proxy) as connection:
        yield connection


def connected(proxy: ChaosProxy) -> socket.socket:
    connection = socket.create_connection(proxy.address)
    connection.settimeout(5)
    return connection


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def is_silent(connection: socket.socket) -> bool:
    """Nothing comes, and the connection is not reset either."""
    connection.settimeout(SHORT_S)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)
    return False


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_a_calm_proxy_passes_everything_both_ways_and_counts_it(
    proxy: ChaosProxy, client: socket.socket, echo: Echo
) -> None:
    data = bytes(range(256)) * 1_000
    threading.Thread(target=client.sendall, args=(data,), daemon=True).start()
    assert read(client, len(data)) == data
    assert bytes(echo.heard) == data
    assert (proxy.passed.connections, proxy.passed.requests, proxy.passed.answers) == (1, len(data), len(data))
    assert (proxy.passed.resets, proxy.connections) == (0, 1)


def test_the_end_of_one_direction_is_passed_on_and_the_other_goes_on(client: socket.socket, echo: Echo) -> None:
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert read(client, 100) == b"last words"
    until(lambda: echo.ends == ["closed"], "the server saw the end")


def test_a_delay_holds_each_piece_up(proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.trouble = Trouble(on=Way.ANSWERS, delay_s=0.3)
    began_s = time.monotonic()
    client.sendall(b"x")
    assert read(client, 1) == b"x"
    assert 0.3 <= time.monotonic() - began_s < 2


def test_bytes_trickle_and_the_rest_comes_at_once_when_it_is_mended(proxy: ChaosProxy, client: socket.socket) -> None:
    proxy.trouble = Trouble(on=Way.ANSWERS, bytes_per_s=20)
    began_s = time.monotonic()
    client.sendall(b"0123456789" * 10)
    assert read(client, 5) == b"01234"
    assert 0.2 <= time.monotonic() - began_s < 2
    proxy.trouble = CALM
    assert read(client, 95) == b"56789" + b"0123456789" * 9
    assert time.monotonic() - began_s < 3  # at 20 bytes a second it would have been five


@pytest.mark.parametrize("way", [Way.BOTH, Way.REQUESTS])
def test_a_silent_proxy_lets_nothing_through_and_everything_when_it_is_mended(
    way: Way, proxy: ChaosProxy, client: socket.socket, echo: Echo
) -> None:
    client.sendall(b"before")
    assert read(client, 6) == b"before"
    proxy.trouble = Trouble(on=way, silent=True)
    client.sendall(b" and after")
    assert is_silent(client)
    assert bytes(echo.heard) == b"before"
    proxy.trouble = CALM
    assert read(client, 10) == b" and after"


def test_a_new_connection_to_a_silent_proxy_is_taken_and_leads_nowhere_until_it_is_mended(
    proxy: ChaosProxy, echo: Echo
) -> None:
    proxy.trouble = Trouble(silent=True)
    with connected(proxy) as client:
        client.sendall(b"hello")
        assert is_silent(client)
        assert (echo.accepted, proxy.passed.connections, proxy.connections) == (0, 1, 0)
        proxy.trouble = CALM
        assert read(client, 5) == b"hello"


def test_answers_alone_can_be_silent_so_that_the_server_hears_what_it_is_not_heard_about(
    proxy: ChaosProxy, client: socket.socket, echo: Echo
) -> None:
    proxy.trouble = Trouble(on=Way.ANSWERS, silent=True)
    client.sendall(b"an order")
    assert is_silent(client)
    assert bytes(echo.heard) == b"an order"


def test_what_is_dropped_never_comes(proxy: ChaosProxy, client: socket.socket, echo: Echo) -> None:
    proxy.trouble = Trouble(on=Way.REQUESTS, drop=True)
    client.sendall(b"lost")
    assert is_silent(client)
    proxy.trouble = CALM
    client.sendall(b"found")
    assert read(client, 5) == b"found"
    assert bytes(echo.heard) == b"found"


def test_a_reset_after_some_bytes_of_the_request_lets_exactly_those_through(
    proxy: ChaosProxy, client: socket.socket, echo: Echo
) -> None:
    proxy.trouble = Trouble(on=Way.REQUESTS, reset_after_bytes=500)
    client.sendall(b"x" * 300)
    assert read(client, 300) == b"x" * 300
    client.sendall(b"y" * 300)
    with pytest.raises(ConnectionResetError):
        read(client, 300)
    until(lambda: echo.ends == ["reset"], "the server was reset too")
    assert bytes(echo.heard) == b"x" * 300 + b"y" * 200
    assert proxy.passed.resets == 1


def test_a_reset_before_the_first_byte_of_the_answer_lets_the_whole_request_through(
    proxy: ChaosProxy, client: socket.socket, echo: Echo
) -> None:
    proxy.trouble = Trouble(on=Way.ANSWERS, reset_after_bytes=0)
    client.sendall(b"z" * 10_000)
    with pytest.raises(ConnectionResetError):
        read(client, 1)
    assert bytes(echo.heard).startswith(b"z")
    proxy.trouble = CALM
    with connected(proxy) as another:
        another.sendall(b"again")
        assert read(another, 5) == b"again"


@pytest.mark.parametrize("every", [1, 3, 10])
def test_corruption_turns_one_bit_round_in_each_so_many_bytes(
    every: int, proxy: ChaosProxy, client: socket.socket
) -> None:
    proxy.trouble = Trouble(on=Way.ANSWERS, corrupt_every=every)
    client.sendall(bytes(100))
    changed = read(client, 100)
    bits = [byte.bit_count() for byte in changed]
    assert bits == [1 if (position + 1) % every == 0 else 0 for position in range(100)]


def test_a_refusing_proxy_resets_new_connections_and_leaves_open_ones(
    proxy: ChaosProxy, client: socket.socket, echo: Echo
) -> None:
    client.sendall(b"a")
    assert read(client, 1) == b"a"
    proxy.trouble = Trouble(refuse=True)
    with pytest.raises(ConnectionResetError), connected(proxy) as another:
        read(another, 1)
    client.sendall(b"b")
    assert read(client, 1) == b"b"
    assert (echo.accepted, proxy.passed.resets) == (1, 1)


def test_cutting_resets_both_ends_of_what_is_open(proxy: ChaosProxy, client: socket.socket, echo: Echo) -> None:
    client.sendall(b"a")
    assert read(client, 1) == b"a"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        read(client, 1)
    until(lambda: echo.ends == ["reset"], "the server was reset too")
    assert proxy.connections == 0


def test_a_proxy_that_has_ended_takes_no_connection_and_its_port_can_be_taken_again(echo: Echo) -> None:
    with ChaosProxy(echo.address) as proxy:
        port = proxy.address[1]
        with connected(proxy) as client:
            client.sendall(b"a")
            assert read(client, 1) == b"a"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with ChaosProxy(echo.address, port) as proxy, connected(proxy) as client:
        client.sendall(b"b")
        assert read(client, 1) == b"b"
