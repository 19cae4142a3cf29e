"""One IMAP connection of the sandbox; see :mod:`streams.sandbox.imap` for what is spoken."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from streams.sandbox.imap_fetch import fetched
from streams.sandbox.imap_folders import DELETED, LETTERS, SEEN, Folder, Folders, Mail, UnknownFolder
from streams.sandbox.imap_wire import Malformed, Word, chosen, is_set, quoted, read_command

CAPABILITIES: Final = "IMAP4rev1 IDLE MOVE UIDPLUS LITERAL+"
_NEWS_EVERY_S: Final = 0.1
_FLAGS: Final = {flag.lower(): flag for flag in LETTERS.values()}
_STATE: Final[Mapping[str, tuple[str, bool]]] = {
    f"{no}{flag[1:]}".upper(): (flag, not no) for flag in LETTERS.values() for no in ("", "un")
}


class _Refused(Exception):
    """An answer NO."""


class ImapSession:
    """From greeting to LOGOUT."""

    def __init__(
        self,
        folders: Folders,
        users: Mapping[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._folders = folders
        self._users = users
        self._reader, self._writer = reader, writer
        self._known = False
        self._folder: Folder | None = None
        self._view: list[int] = []  # UIDs by message number, as this client has been told

    async def run(self) -> None:
        """Until the client leaves."""
        self._say(f"* OK [CAPABILITY {CAPABILITIES}] sandbox ready")
        while True:
            await self._writer.drain()
            try:
                words = await read_command(self._reader, self._writer)
            except Malformed as exc:
                self._say(f"* BAD {exc}")
                continue
            if words is None:
                return
            if len(words) < 2 or not isinstance(words[0], str) or not isinstance(words[1], str):
                self._say("* BAD no command")
                continue
            tag, name, arguments = words[0], words[1].upper(), words[2:]
            try:
                said = await self._do(name, arguments)
            except _Refused as exc:
                self._say(f"{tag} NO {exc}")
            except UnknownFolder:
                self._say(f"{tag} NO [NONEXISTENT] there is no such folder")
            except (Malformed, IndexError, TypeError, ValueError) as exc:
                self._say(f"{tag} BAD {' '.join(str(exc).split()) or 'wrong arguments'}")
            else:
                self._say(f"{tag} OK {said or f'{name} done'}")
            if name == "LOGOUT":
                await self._writer.drain()
                return

    def _say(self, line: str | bytes) -> None:
        self._writer.write((line.encode() if isinstance(line, str) else line) + b"\r\n")

    async def _do(self, name: str, arguments: list[Word]) -> str:
        match name:
            case "CAPABILITY":
                self._say(f"* CAPABILITY {CAPABILITIES}")
            case "NOOP" | "CHECK":
                self._news()
            case "LOGOUT":
                self._say("* BYE")
            case "LOGIN":
                self._login(*_texts(arguments, 2))
            case _ if not self._known:
                raise _Refused("log in first")
            case "LIST" | "LSUB":
                self._list(name, *_texts(arguments, 2))
            case "CREATE":
                self._folders.create(*_texts(arguments, 1))
            case "STATUS":
                self._status(arguments)
            case "SELECT" | "EXAMINE":
                return self._select(_texts(arguments, 1)[0])
            case _:
                return await self._do_selected(name, arguments)
        return ""

    def _login(self, user: str, password: str) -> None:
        known = self._users.get(user)
        if known is None or not secrets.compare_digest(known.encode(), password.encode()):
            raise _Refused("[AUTHENTICATIONFAILED] user or password is wrong")
        self._known = True

    def _list(self, name: str, reference: str, pattern: str) -> None:
        for folder in self._folders.names:
            if pattern in ("*", "%") or pattern.upper() == folder.upper() or pattern == folder:
                self._say(f'* {name} () "." {quoted(folder)}')

    def _status(self, arguments: list[Word]) -> None:
        name, items = arguments[0], arguments[1]
        if not isinstance(name, str) or not isinstance(items, list):
            raise Malformed("STATUS takes a folder and a list")
        folder = self._folders.get(name)
        counts = {
            "MESSAGES": len(folder.mails), "RECENT": 0, "UIDNEXT": folder.next_uid, "UIDVALIDITY": folder.validity,
            "UNSEEN": sum(SEEN not in mail.flags for mail in folder.mails.values()),
        }  # fmt: skip
        wanted = [item.upper() for item in items if isinstance(item, str)]
        if unknown := [item for item in wanted if item not in counts]:
            raise Malformed(f"no such item: {unknown[0]}")
        self._say(f"* STATUS {quoted(name)} ({' '.join(f'{item} {counts[item]}' for item in wanted)})")

    def _select(self, name: str) -> str:
        self._folder = folder = self._folders.get(name)
        self._view = sorted(folder.mails)
        flags = " ".join(LETTERS.values())
        for line in (
            f"FLAGS ({flags})", f"{len(self._view)} EXISTS", "0 RECENT", f"OK [PERMANENTFLAGS ({flags})]",
            f"OK [UIDVALIDITY {folder.validity}]", f"OK [UIDNEXT {folder.next_uid}]",
        ):  # fmt: skip
            self._say(f"* {line}")
        return "[READ-WRITE] selected"

    # -- with a folder

    async def _do_selected(self, name: str, arguments: list[Word]) -> str:
        folder = self._folder
        if folder is None:
            raise _Refused("select a folder first")
        by_uid = name == "UID"
        if by_uid:
            name, arguments = _texts(arguments[:1], 1)[0].upper(), arguments[1:]
        said = ""
        match name:
            case "IDLE":
                await self._idle()
            case "CLOSE" | "UNSELECT":
                if name == "CLOSE":
                    folder.remove(_flagged(folder, DELETED))
                self._folder, self._view = None, []
                return ""
            case "EXPUNGE":
                among = self._mails(_texts(arguments, 1)[0], True) if by_uid else list(folder.mails.values())
                folder.remove([mail.uid for mail in among if DELETED in mail.flags])
            case "SEARCH":
                self._search(arguments, by_uid)
            case "FETCH":
                self._fetch(arguments, by_uid)
            case "STORE":
                self._store(arguments, by_uid)
            case "COPY" | "MOVE":
                numbers, target = _texts(arguments, 2)
                said = self._copy(numbers, target, by_uid, move=name == "MOVE")
            case _:
                raise Malformed(f"{name} is not spoken here")
        if by_uid or name not in ("SEARCH", "FETCH", "STORE"):  # numbers must not shift under these (RFC 3501, 7.4.1)
            self._news()
        return said

    def _news(self) -> bool:
        """Tell what has gone and what has come."""
        folder = self._folder
        if folder is None:
            return False
        folder.look()
        gone = [number for number, uid in enumerate(self._view, 1) if uid not in folder.mails]
        for number in reversed(gone):
            self._say(f"* {number} EXPUNGE")
        now = sorted(folder.mails)
        more = len(now) > len(self._view) - len(gone)
        if more:
            self._say(f"* {len(now)} EXISTS")
        self._view = now
        return more or bool(gone)

    async def _idle(self) -> None:
        self._say("+ idling")
        await self._writer.drain()
        done = asyncio.ensure_future(self._reader.readline())
        try:
            while not done.done():
                if self._news():
                    await self._writer.drain()
                await asyncio.wait([done], timeout=_NEWS_EVERY_S)
        finally:
            if not done.done():
                done.cancel()
        if done.result().strip().upper() != b"DONE":
            raise Malformed("DONE was due")

    def _mails(self, numbers: str, by_uid: bool) -> list[Mail]:
        assert self._folder is not None
        if by_uid:
            uids = chosen(numbers, self._view)
        else:
            uids = [self._view[number - 1] for number in chosen(numbers, range(1, len(self._view) + 1))]
        return [mail for uid in uids if (mail := self._folder.mails.get(uid)) is not None]

    def _number(self, mail: Mail) -> int:
        return self._view.index(mail.uid) + 1

    def _search(self, arguments: list[Word], by_uid: bool) -> None:
        keys = _texts(arguments, len(arguments))
        if keys[:1] and keys[0].upper() == "CHARSET":
            keys = keys[2:]
        found = self._mails("1:*", True)
        while keys:
            key, keys = keys[0].upper(), keys[1:]
            if key == "UID":
                wanted, keys = self._mails(keys[0], True), keys[1:]
                found = [mail for mail in found if mail in wanted]
            elif is_set(key):
                uids = {mail.uid for mail in self._mails(key, False)}
                found = [mail for mail in found if mail.uid in uids]
            elif key in _STATE:
                flag, there = _STATE[key]
                found = [mail for mail in found if (flag in mail.flags) == there]
            elif key != "ALL":
                raise Malformed(f"cannot search for {key}")
        numbers = [mail.uid if by_uid else self._number(mail) for mail in found]
        self._say(" ".join(["* SEARCH", *map(str, numbers)]))

    def _fetch(self, arguments: list[Word], by_uid: bool) -> None:
        assert self._folder is not None
        numbers, wanted = arguments[0], arguments[1]
        if not isinstance(numbers, str):
            raise Malformed("FETCH takes a set")
        items = [str(item).upper() for item in (wanted if isinstance(wanted, list) else [wanted])]
        if by_uid and "UID" not in items:
            items = ["UID", *items]
        for mail in self._mails(numbers, by_uid):
            with suppress(FileNotFoundError):  # somebody else took the file away
                values = [fetched(self._folder, mail, item) for item in items]
                self._say(f"* {self._number(mail)} FETCH (".encode() + b" ".join(values) + b")")

    def _store(self, arguments: list[Word], by_uid: bool) -> None:
        assert self._folder is not None
        (numbers, action), given = _texts(arguments[:2], 2), arguments[2:]
        listed = given[0] if given and isinstance(given[0], list) else given
        flags = {_FLAGS.get(str(flag).lower(), str(flag)) for flag in listed}
        verb, _, silent = action.upper().partition(".")
        for mail in self._mails(numbers, by_uid):
            new = {"FLAGS": flags, "+FLAGS": mail.flags | flags, "-FLAGS": mail.flags - flags}.get(verb)
            if new is None or silent not in ("", "SILENT"):
                raise Malformed(f"cannot store {action}")
            self._folder.flag(mail, new)
            if not silent:
                uid = f"UID {mail.uid} " if by_uid else ""
                self._say(f"* {self._number(mail)} FETCH ({uid}FLAGS ({' '.join(sorted(mail.flags))}))")

    def _copy(self, numbers: str, name: str, by_uid: bool, *, move: bool) -> str:
        assert self._folder is not None
        target = self._folders.get(name)
        mails = self._mails(numbers, by_uid)
        copies = [target.take(mail, self._folder.read(mail)) for mail in mails]
        if not mails:
            return ""
        told = f"[COPYUID {target.validity} {_listed(mail.uid for mail in mails)} {_listed(copies)}]"
        if not move:
            return f"{told} copied"
        self._say(f"* OK {told}")
        self._folder.remove([mail.uid for mail in mails])
        return ""


def _texts(arguments: list[Word], count: int) -> list[str]:
    texts = [word for word in arguments if isinstance(word, str)]
    if len(texts) != count or len(arguments) != count:
        raise Malformed("wrong arguments")
    return texts


def _flagged(folder: Folder, flag: str) -> list[int]:
    return [mail.uid for mail in folder.mails.values() if flag in mail.flags]


def _listed(uids: Iterable[int]) -> str:
    return ",".join(map(str, uids))
