"""The IMAP server of the sandbox: imaplib and IMAPClient work against it unchanged, and what it cannot do it says."""

from __future__ import annotations

import asyncio
import imaplib
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imapclient import IMAPClient
from imapclient.exceptions import LoginError

from streams.sandbox import Sandbox, SmtpConfig
from streams.sandbox.imap_wire import Malformed, chosen, read_command
from streams.sandbox.smtp_maildir import Maildir
from tests.sandbox.conftest import START

T = TypeVar("T")
MAIL = b"Subject: Number %d\r\nFrom: a@example.com\r\n\r\nLine one\r\n.Line two \xe4\r\n"


async def serving(start: START, mails: int = 0) -> tuple[Sandbox, Maildir]:
    sandbox = await start(smtp=SmtpConfig(imap_port=0))
    assert sandbox.smtp is not None
    maildir = Maildir(sandbox.smtp.maildir)
    for number in range(mails):
        maildir.deliver(MAIL % number, int(time.time() * 1000) + number)
    return sandbox, maildir


def context_of(sandbox: Sandbox) -> ssl.SSLContext:
    assert sandbox.smtp is not None
    return ssl.create_default_context(cafile=str(sandbox.smtp.certificate))


def port_of(sandbox: Sandbox) -> int:
    assert sandbox.smtp is not None and sandbox.smtp.imap is not None
    return sandbox.smtp.imap.port


async def with_client(sandbox: Sandbox, work: Callable[[IMAPClient], T]) -> T:
    """Do it with IMAPClient, logged in, in a thread."""

    def talk() -> T:
        with IMAPClient("localhost", port_of(sandbox), ssl_context=context_of(sandbox), timeout=10) as client:
            client.login("sandbox", "password-sandbox")
            return work(client)

    return await asyncio.to_thread(talk)


async def test_imapclient_finds_reads_flags_moves_and_removes(start: START) -> None:
    sandbox, _ = await serving(start, mails=5)

    def work(client: IMAPClient) -> None:
        selected = client.select_folder("INBOX")
        assert selected[b"EXISTS"] == 5 and selected[b"UIDVALIDITY"] > 0
        uids = client.search(["UNSEEN", "UNDELETED"])
        assert len(uids) == 5
        fetched = client.fetch(uids, ["BODY.PEEK[]", "RFC822.SIZE", "INTERNALDATE", "FLAGS"])
        assert [fetched[uid][b"BODY[]"] for uid in uids] == [MAIL % number for number in range(5)]
        assert all(fetched[uid][b"RFC822.SIZE"] == len(MAIL % 0) and not fetched[uid][b"FLAGS"] for uid in uids)
        assert abs(fetched[uids[0]][b"INTERNALDATE"].timestamp() - time.time()) < 60
        assert client.fetch(uids[:1], ["BODY.PEEK[]<3.7>"])[uids[0]][b"BODY[]<3>"] == (MAIL % 0)[3:10]
        assert client.search(["UNSEEN"]) == uids  # to look changes nothing
        assert client.fetch(uids[:1], ["BODY[HEADER]"])[uids[0]][b"BODY[HEADER]"].endswith(b"\r\n\r\n")
        assert client.search(["SEEN"]) == uids[:1]

        assert not client.folder_exists("Stored")
        client.create_folder("Stored")
        assert client.folder_exists("Stored")
        client.move(uids[:2], "Stored")
        client.copy(uids[2:3], "Stored")
        client.add_flags(uids[2:4], ["\\Deleted"])
        assert client.get_flags(uids[2:3])[uids[2]] == (b"\\Deleted",)
        client.uid_expunge(uids[2:3])
        assert client.search() == uids[3:]
        client.remove_flags(uids[3:4], ["\\Deleted"])
        client.set_flags(uids[4:5], ["\\Flagged"])
        client.expunge()
        assert client.search(["UNFLAGGED"]) == uids[3:4]
        assert client.folder_status("Stored", ["MESSAGES", "UNSEEN"]) == {b"MESSAGES": 3, b"UNSEEN": 2}
        client.select_folder("Stored")
        stored = client.fetch(client.search(), ["BODY.PEEK[]"])
        assert {part[b"BODY[]"] for part in stored.values()} == {MAIL % number for number in range(3)}

    await with_client(sandbox, work)


async def test_a_waiting_client_hears_of_new_mail_and_of_what_others_remove(start: START) -> None:
    sandbox, maildir = await serving(start, mails=1)
    heard: list[object] = []

    def work(client: IMAPClient) -> None:
        client.select_folder("INBOX")
        client.idle()
        maildir.deliver(MAIL % 7, int(time.time() * 1000))
        heard.extend(client.idle_check(timeout=5))
        client.idle_done()
        uids = client.search()
        assert len(uids) == 2
        with IMAPClient("localhost", port_of(sandbox), ssl_context=context_of(sandbox), timeout=10) as other:
            other.login("sandbox", "password-sandbox")
            other.select_folder("INBOX")
            other.delete_messages(uids[:1])
            other.expunge()
        client.idle()
        heard.extend(client.idle_check(timeout=5))
        client.idle_done()
        assert client.search() == uids[1:]

    await with_client(sandbox, work)
    assert heard == [(2, b"EXISTS"), (1, b"EXPUNGE")]


async def test_imaplib_works_too_and_what_is_not_spoken_is_refused(start: START) -> None:
    sandbox, _ = await serving(start, mails=2)

    def talk() -> None:
        client = imaplib.IMAP4_SSL("localhost", port_of(sandbox), ssl_context=context_of(sandbox), timeout=10)
        assert client.xatom("XQUOTA", "everything") == ("NO", [b"log in first"])
        client.login("sandbox", "password-sandbox")
        assert client.select("INBOX") == ("OK", [b"2"])
        assert client.search(None, "ALL") == ("OK", [b"1 2"])
        typ, parts = client.fetch("2", "(BODY.PEEK[TEXT])")
        assert typ == "OK" and isinstance(parts[0], tuple) and parts[0][1].startswith(b"Line one")
        assert client.store("1", "+FLAGS", "(\\Seen)") == ("OK", [b"1 (FLAGS (\\Seen))"])
        for refused in (lambda: client.search(None, "BODY", "x"), lambda: client.fetch("1", "(ENVELOPE)")):
            with pytest.raises(imaplib.IMAP4.error, match="cannot"):
                refused()
        assert client.select("Nowhere")[0] == "NO"
        assert client.noop()[0] == "OK"
        assert client.logout()[0] == "BYE"

    await asyncio.to_thread(talk)


async def test_a_wrong_password_is_refused_and_flags_outlive_a_restart(start: START, tmp_path: Path) -> None:
    sandbox, _ = await serving(start, mails=2)

    def wrong() -> None:
        with IMAPClient("localhost", port_of(sandbox), ssl_context=context_of(sandbox), timeout=10) as client:
            client.login("sandbox", "password")

    with pytest.raises(LoginError):
        await asyncio.to_thread(wrong)

    def mark(client: IMAPClient) -> None:
        client.select_folder("INBOX")
        client.add_flags(client.search()[:1], ["\\Seen"])

    await with_client(sandbox, mark)
    await sandbox.stop()
    await sandbox.start()

    def look(client: IMAPClient) -> tuple[int, int]:
        client.select_folder("INBOX")
        return len(client.search(["SEEN"])), len(client.search(["UNSEEN"]))

    assert await with_client(sandbox, look) == (1, 1)


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.binary(max_size=80), st.text(alphabet='a1 "()[]{}+\\*:,', max_size=60).map(str.encode)))
def test_any_bytes_are_a_command_or_malformed(content: bytes) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(content + b"\r\n")
        reader.feed_eof()
        with suppress(Malformed):
            await read_command(reader, _Nobody())  # type: ignore[arg-type]

    asyncio.run(read())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1", [1]),
        ("2:4", [2, 4]),
        ("*", [9]),
        ("4:*", [4, 9]),
        ("*:4", [4, 9]),
        ("12:*", [9]),
        ("1,9", [1, 9]),
        ("3", []),
    ],
)
def test_sets_name_what_is_there(text: str, found: list[int]) -> None:
    assert chosen(text, [1, 2, 4, 9]) == found


class _Nobody:
    def write(self, data: bytes) -> None:
        pass

    async def drain(self) -> None:
        pass
