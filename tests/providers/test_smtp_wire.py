"""The SMTP client against a server that is a script: what leaves, in which order, and what is in doubt when it breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.event import ReasonKind
from streams.core.message import Mailbox
from streams.core.outcome import Accepted, Deferred, Outcome, Rejected, Scope, Uncertain
from streams.providers._smtp.envelope import Envelope, commands, is_path, long_line, refusal, stuffed
from streams.providers._smtp.server import Pipelining
from streams.providers._smtp.wire import Reply, Wire
from streams.providers.base import Batch, Entry
from streams.providers.smtp import Config, Smtp, create
from streams.providers.smtp.config import Encryption

NOW = 1_700_000_000_000


def message_id(number: int) -> str:
    return f"{'a' * 20}-{'b' * 19}{'abcdefghijklmnop'[number]}"


def batch(*addresses: str, **parts: Any) -> Batch:
    entries = tuple(Entry(message_id(n), 1, Mailbox(address)) for n, address in enumerate(addresses))
    return Batch(Mailbox("s@example.com", "Shop"), entries, **{"subject": ("Hi",), "text": ("Hello",), **parts})


Act = Callable[["Session"], Awaitable[None]]


@dataclass
class Session:
    """One connection. ``heard`` holds command lines, and messages as one line ``<content>``."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: list[str]
    contents: list[bytes] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)

    async def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def hear(self) -> str:
        line = (await self.reader.readuntil(b"\r\n")).decode().rstrip("\r\n")
        self.heard.append(line)
        return line

    async def content(self) -> bytes:
        data = await self.reader.readuntil(b"\r\n.\r\n")
        self.contents.append(data)
        self.heard.append("<content>")
        return data

    def cut(self) -> None:
        self.writer.transport.abort()


@dataclass
class Scripted:
    """Greets, offers ``offers``, then answers by ``answers`` (first word of the command, or address) or the usual."""

    offers: tuple[str, ...] = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
    answers: dict[str, str | Act] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    port: int = 0
    nobody: bool = False
    usual: dict[str, str] = field(
        default_factory=lambda: {
            "MAIL": "250 ok",
            "RCPT": "250 ok",
            "DATA": "354 go",
            "RSET": "250 ok",
            "END": "250 ok",
        }
    )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(reader, writer, self.heard)
        self.sessions.append(session)
        try:
            await session.say("220 script")
            await session.hear()
            await session.say("250-script", *(f"250-{offer}" for offer in self.offers), "250 HELP")
            while True:
                line = await session.hear()
                word = line.split()[0].upper()
                if word == "QUIT":
                    break
                if await self._answer(session, self._found(word, line)) and word == "DATA":
                    await session.content()
                    await self._answer(session, self._found("END", ""))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _found(self, word: str, line: str) -> str | Act:
        if word == "DATA" and self.nobody and self.answers.get("DATA") is None:
            return "554 5.5.1 no valid recipients"
        for key in (*(key for key in self.answers if key in line and "@" in key), word):
            if key in self.answers:
                return self.answers[key]
        return self.usual[word]

    async def _answer(self, session: Session, answer: str | Act) -> bool:
        if isinstance(answer, str):
            self.nobody = answer.startswith("550") or (self.nobody and not answer.startswith("250"))
            await session.say(answer)
            return answer.startswith("354")
        await answer(session)
        return False


@asynccontextmanager
async def scripted(script: Scripted, **config: Any) -> AsyncIterator[Smtp]:
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    provider = create("relay", Config(host="127.0.0.1", port=script.port, tls=Encryption.NONE, **config))
    try:
        yield provider
    finally:
        await provider.aclose()
        server.close()
        for session in script.sessions:
            session.cut()
        await server.wait_closed()


async def sent(provider: Smtp, *addresses: str, deadline_s: float = 5.0, **parts: Any) -> tuple[Outcome, ...]:
    outcomes = await provider.send(batch(*addresses, **parts), deadline_s, NOW)
    assert isinstance(outcomes, tuple)
    return outcomes


def words(script: Scripted) -> list[str]:
    return [line.split()[0] for line in script.heard]


async def cut(session: Session) -> None:
    session.cut()


async def silence(session: Session) -> None:
    await asyncio.sleep(30)


EACH_WAY = pytest.mark.parametrize(
    ("offers", "ahead"),
    [(("PIPELINING",), Pipelining.OVERLAP), (("PIPELINING",), Pipelining.ENVELOPE), ((), Pipelining.OVERLAP)],
    ids=["overlapping", "by envelope", "stepwise"],
)


# ------------------------------------------------------------------ order


@EACH_WAY
async def test_a_batch_is_one_transaction_per_recipient_over_one_connection(
    offers: tuple[str, ...], ahead: Pipelining
) -> None:
    script = Scripted(offers=offers)
    async with scripted(script, pipelining=ahead) as provider:
        outcomes = await sent(provider, "a@x.example", "b@x.example", "c@x.example")
        assert [type(outcome) for outcome in outcomes] == [Accepted] * 3
        assert words(script) == ["EHLO", *(["MAIL", "RCPT", "DATA", "<content>"] * 3)]
        assert len(script.sessions) == 1


async def test_with_overlap_a_message_and_the_next_envelope_leave_together() -> None:
    """The server sees the next MAIL before it has answered the message."""
    script = Scripted()
    seen: list[bytes] = []

    async def look(session: Session) -> None:
        seen.append(await asyncio.wait_for(session.reader.readuntil(b"DATA\r\n"), 5))
        script.answers = {}
        await session.say("250 ok", "250 ok", "250 ok", "354 go")
        await session.content()
        await session.say("250 second")

    script.answers["END"] = look
    async with scripted(script, pipelining=Pipelining.OVERLAP) as provider:
        outcomes = await sent(provider, "a@x.example", "b@x.example")
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 2
    assert b"RCPT TO:<b@x.example>" in seen[0]


async def test_a_refused_recipient_is_reset_and_its_neighbours_go_out() -> None:
    script = Scripted(answers={"b@x.example": "550 5.1.1 unknown"})
    async with scripted(script) as provider:
        outcomes = await sent(provider, "a@x.example", "b@x.example", "c@x.example")
    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Accepted]
    assert "RSET" in words(script)


async def test_a_server_that_takes_data_for_nobody_gets_an_empty_message() -> None:
    script = Scripted(answers={"RCPT": "550 5.1.1 unknown"})

    async def go(session: Session) -> None:
        await session.say("354 go")
        assert await session.reader.readuntil(b"\r\n") == b".\r\n"
        await session.say("554 no valid recipients")

    script.answers["DATA"] = go
    async with scripted(script) as provider:
        [outcome] = await sent(provider, "a@x.example")
    assert isinstance(outcome, Rejected)
    assert outcome.scope is Scope.RECIPIENT


@EACH_WAY
async def test_a_connection_serves_many_calls_and_not_more_than_it_may(
    offers: tuple[str, ...], ahead: Pipelining
) -> None:
    script = Scripted(offers=offers)
    async with scripted(script, pipelining=ahead, max_messages=3) as provider:
        for _ in range(7):
            assert isinstance((await sent(provider, "a@x.example"))[0], Accepted)
        assert len(script.sessions) == provider.pool.opened == 3


async def test_a_large_batch_takes_a_second_connection_when_the_first_is_used_up() -> None:
    script = Scripted()
    async with scripted(script, max_messages=2) as provider:
        outcomes = await sent(provider, *(f"a{n}@x.example" for n in range(5)))
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 5
    assert len(script.sessions) == 3


async def test_an_idle_connection_is_closed_and_none_is_left() -> None:
    script = Scripted()
    async with scripted(script, idle_s=0.1) as provider:
        await sent(provider, "a@x.example")
        async with asyncio.timeout(5):
            while "QUIT" not in script.heard:
                await asyncio.sleep(0.01)


async def test_a_kept_connection_that_died_meanwhile_is_replaced_without_a_word() -> None:
    script = Scripted()
    async with scripted(script) as provider:
        await sent(provider, "a@x.example")
        script.sessions[0].cut()
        [outcome] = await sent(provider, "b@x.example")
        assert isinstance(outcome, Accepted)
        assert provider.pool.opened == 2


async def test_a_session_that_the_server_ended_meanwhile_is_replaced_too() -> None:
    script = Scripted()
    async with scripted(script) as provider:
        await sent(provider, "a@x.example")
        script.answers["MAIL"] = "421 4.4.2 idle for too long"

        async def once(session: Session) -> None:
            script.answers = {}
            await session.say("421 4.4.2 idle for too long")
            session.writer.close()

        script.answers["MAIL"] = once
        [outcome] = await sent(provider, "b@x.example")
        assert isinstance(outcome, Accepted)


async def test_new_credentials_are_used_from_the_next_call_on() -> None:
    script = Scripted()
    async with scripted(script) as provider:
        await sent(provider, "a@x.example")
        provider.change(Config(host="127.0.0.1", port=script.port, tls=Encryption.NONE, helo="changed.example"))
        await sent(provider, "a@x.example")
        assert "EHLO changed.example" in script.heard
        assert len(script.sessions) == 2


# ------------------------------------------------------------------ what is in doubt


@EACH_WAY
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
async def test_a_connection_lost_before_the_message_leaves_no_doubt(
    stage: str, offers: tuple[str, ...], ahead: Pipelining
) -> None:
    script = Scripted(offers=offers, answers={stage: cut})
    async with scripted(script, pipelining=ahead) as provider:
        outcomes = await sent(provider, "a@x.example", "b@x.example")
    for outcome in outcomes:
        assert isinstance(outcome, Deferred)
        assert (outcome.scope, outcome.reason.kind) == (Scope.PROVIDER, ReasonKind.NETWORK)


@EACH_WAY
async def test_a_connection_lost_after_the_final_dot_is_doubt_about_that_message_alone(
    offers: tuple[str, ...], ahead: Pipelining
) -> None:
    script = Scripted(offers=offers, answers={"END": cut})
    async with scripted(script, pipelining=ahead) as provider:
        first, second = await sent(provider, "a@x.example", "b@x.example")
    assert isinstance(first, Uncertain)
    assert isinstance(second, Deferred)
    assert second.scope is Scope.PROVIDER


@pytest.mark.parametrize(("stage", "kind"), [("DATA", Deferred), ("END", Uncertain)])
async def test_silence_is_doubt_only_after_the_final_dot(stage: str, kind: type) -> None:
    script = Scripted(answers={stage: silence})
    async with scripted(script) as provider:
        [outcome] = await sent(provider, "a@x.example", deadline_s=0.3)
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Accepted)
    assert outcome.reason.kind is ReasonKind.TIMEOUT


@pytest.mark.parametrize("text", ["short", "x" * 100_000])
async def test_a_process_that_stood_still_beyond_the_deadline_ends_no_message_when_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """By then others may have taken the message over; the timer that would end the call has not run yet."""
    reply = Wire.reply

    async def standing_still(wire: Wire) -> Reply:
        said = await reply(wire)
        if said.code == 354:
            time.sleep(0.4)
        return said

    monkeypatch.setattr(Wire, "reply", standing_still)
    script = Scripted()
    async with scripted(script) as provider:
        [outcome] = await sent(provider, "a@x.example", deadline_s=0.3, text=(text,))
        await asyncio.sleep(0.1)
    assert "DATA" in script.heard
    assert "<content>" not in script.heard
    assert isinstance(outcome, Deferred)


async def test_a_large_message_that_breaks_on_its_way_leaves_no_doubt() -> None:
    async def part(session: Session) -> None:
        await session.say("354 go")
        await session.reader.readexactly(1000)
        session.cut()

    script = Scripted(answers={"DATA": part}, offers=("PIPELINING",))
    async with scripted(script) as provider:
        [outcome] = await sent(provider, "a@x.example", text=("x" * 9_000_000,))
    assert isinstance(outcome, Deferred)


async def test_a_421_ends_the_call_and_says_why_for_the_rest() -> None:
    script = Scripted(answers={"END": "421 too many connections, slow down"})
    async with scripted(script) as provider:
        outcomes = await sent(provider, "a@x.example", "b@x.example")
    for outcome in outcomes:
        assert isinstance(outcome, Deferred)
        assert outcome.scope is Scope.LANE


@pytest.mark.parametrize("answer", ["garbage", "999 what", "25", "250\x00ok"])
async def test_an_answer_that_is_no_reply_ends_the_connection(answer: str) -> None:
    script = Scripted(answers={"END": answer})
    async with scripted(script) as provider:
        [outcome] = await sent(provider, "a@x.example", deadline_s=1.0)
    assert isinstance(outcome, Uncertain)


async def test_an_answer_without_end_is_bounded() -> None:
    async def endless(session: Session) -> None:
        for _ in range(3000):
            await session.say("250-" + "x" * 100)

    script = Scripted(answers={"MAIL": endless})
    async with scripted(script) as provider:
        [outcome] = await sent(provider, "a@x.example")
    assert isinstance(outcome, Deferred)


async def test_nobody_listening_is_the_providers_failure() -> None:
    script = Scripted()
    async with scripted(script) as provider:
        pass
    [outcome] = await sent(provider, "a@x.example")
    assert isinstance(outcome, Deferred)
    assert (outcome.scope, outcome.result.value) == (Scope.PROVIDER, "connect_error")


@EACH_WAY
async def test_a_slow_server_gets_the_rest_of_a_batch_later(offers: tuple[str, ...], ahead: Pipelining) -> None:
    async def late(session: Session) -> None:
        await asyncio.sleep(0.4)
        await session.say("250 ok")

    script = Scripted(answers={"END": late}, offers=offers)
    async with scripted(script, pipelining=ahead) as provider:
        first, second = await sent(provider, "a@x.example", "b@x.example", deadline_s=0.75)
    assert isinstance(first, Accepted)
    assert isinstance(second, Deferred)
    assert second.scope is Scope.LANE


# ------------------------------------------------------------------ what a server offers


async def test_what_needs_an_extension_that_is_missing_is_refused_before_anything_is_said() -> None:
    script = Scripted(offers=("SIZE 2000",))
    async with scripted(script) as provider:
        [name] = await sent(provider, "jörg@x.example")
        [size] = await sent(provider, "a@x.example", text=("x" * 5000,))
        [eight] = await sent(provider, "a@x.example", mime="Subject: é\r\n\r\nhi\r\n".encode())
    assert isinstance(name, Rejected) and name.reason.kind is ReasonKind.INVALID_ADDRESS
    assert isinstance(size, Rejected) and size.reason.kind is ReasonKind.MESSAGE_TOO_LARGE
    assert isinstance(eight, Rejected) and eight.reason.kind is ReasonKind.INVALID_REQUEST
    assert "MAIL" not in words(script)


async def test_extensions_are_named_in_the_envelope() -> None:
    script = Scripted(offers=("SIZE", "8BITMIME", "SMTPUTF8", "DSN"))
    async with scripted(script, return_path="bounces.example.com") as provider:
        await sent(provider, "jörg@bücher.example", subject=("Ü",))
        await sent(provider, "a@x.example", mime="Subject: é\r\n\r\nhi\r\n".encode())
    first, second = [line for line in script.heard if line.startswith("MAIL")]
    assert first.startswith(f"MAIL FROM:<b+{message_id(0)}.1@bounces.example.com> SIZE=")
    assert first.endswith(f" SMTPUTF8 RET=HDRS ENVID={message_id(0)}.1")
    assert "BODY=8BITMIME" in second
    assert "RCPT TO:<jörg@xn--bcher-kva.example>" in script.heard
    assert "To: jörg@xn--bcher-kva.example\r\n".encode() in script.sessions[0].contents[0]


async def test_dots_are_doubled_and_lines_end_in_crlf() -> None:
    script = Scripted()
    async with scripted(script) as provider:
        await sent(provider, "a@x.example", mime=b"Subject: x\n\n.\n..\nend\rlast")
    assert script.sessions[0].contents == [b"Subject: x\r\n\r\n..\r\n...\r\nend\r\nlast\r\n.\r\n"]


async def test_a_line_too_long_for_smtp_is_refused() -> None:
    script = Scripted()
    async with scripted(script) as provider:
        [fits] = await sent(provider, "a@x.example", mime=b"Subject: x\r\n\r\n" + b"y" * 998 + b"\r\n")
        [long] = await sent(provider, "a@x.example", mime=b"Subject: x\r\n\r\n" + b"y" * 999 + b"\r\n")
    assert isinstance(fits, Accepted)
    assert isinstance(long, Rejected)
    assert long.reason.kind is ReasonKind.INVALID_REQUEST


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_address_can_start_a_command_of_its_own(sender: str, recipient: str) -> None:
    envelope = Envelope(sender, recipient, b"x")
    offers = {"smtputf8": "", "8bitmime": "", "size": ""}
    if refusal(envelope, offers) is None:
        for line in commands(envelope, offers, 1):
            assert line.endswith(b"\r\n")
            assert not any(byte < 32 or byte == 127 for byte in line[:-2])
            assert line.count(b">") == line.count(b"<") <= 1


@given(st.binary(max_size=300))
def test_no_content_can_end_a_message_early(content: bytes) -> None:
    out = stuffed(content)
    assert out.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + out
    bare = out.replace(b"\r\n", b"")
    assert b"\r" not in bare and b"\n" not in bare


def test_a_path_is_an_address_and_nothing_else() -> None:
    assert is_path("a@example.com")
    assert is_path('"a b"@example.com')
    assert not is_path("a b@example.com")
    assert not is_path("a@example.com> SIZE=1")
    assert not is_path('"a\r\n"@example.com')
    assert not is_path("@example.com")


def test_a_long_line_is_counted_without_its_end() -> None:
    assert not long_line(b"x" * 998 + b"\r\n" + b"y" * 998)
    assert long_line(b"x" * 999)
