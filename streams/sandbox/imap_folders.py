"""A Maildir's folders as IMAP counts them: UIDs in the order in which mails were found, flags in the files' names.

UIDs are given anew by each start of the sandbox, and so is UIDVALIDITY (RFC 3501, 2.3.1.1). Folders beside INBOX are
subdirectories `.NAME` (Maildir++).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

INBOX: Final = "INBOX"
LETTERS: Final = {"D": "\\Draft", "F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}
SEEN: Final = "\\Seen"
DELETED: Final = "\\Deleted"


class UnknownFolder(LookupError):
    """There is no folder of that name."""


@dataclass(slots=True)
class Mail:
    """One file."""

    uid: int
    path: Path
    size: int
    arrived_s: float
    flags: set[str] = field(default_factory=set)


class Folder:
    """One folder; `look` takes in what was delivered since."""

    def __init__(self, path: Path, validity: int) -> None:
        self.validity = validity
        self.mails: dict[int, Mail] = {}
        self.next_uid = 1
        self._path = path
        for name in ("cur", "new", "tmp"):
            (path / name).mkdir(parents=True, exist_ok=True)
        for file in sorted((path / "cur").iterdir()):
            self._add(file)

    def look(self) -> None:
        """Take what lies in `new/`."""
        for file in sorted((self._path / "new").iterdir()):
            self._add(file.rename(self._path / "cur" / f"{file.name}:2,"))

    def flag(self, mail: Mail, flags: set[str]) -> None:
        """Give a mail these flags; those that a Maildir does not know are dropped."""
        mail.flags = {flag for flag in flags if flag in LETTERS.values()}
        letters = "".join(letter for letter, flag in LETTERS.items() if flag in mail.flags)
        there = mail.path.with_name(f"{mail.path.name.partition(':')[0]}:2,{letters}")
        mail.path.rename(there)
        mail.path = there

    def read(self, mail: Mail) -> bytes:
        """What the file holds."""
        return mail.path.read_bytes()

    def remove(self, uids: Iterable[int]) -> None:
        """For good."""
        for uid in uids:
            if (mail := self.mails.pop(uid, None)) is not None:
                mail.path.unlink(missing_ok=True)

    def take(self, mail: Mail, content: bytes) -> int:
        """Keep a copy of another folder's mail, and answer its UID here."""
        name = f"{mail.path.name.partition(':')[0]}U{self.next_uid}"
        letters = mail.path.name.partition(":2,")[2]
        waiting, there = self._path / "tmp" / name, self._path / "cur" / f"{name}:2,{letters}"
        waiting.write_bytes(content)
        os.utime(waiting, (mail.arrived_s, mail.arrived_s))
        waiting.rename(there)
        return self._add(there)

    def _add(self, path: Path) -> int:
        uid = self.next_uid
        with suppress(FileNotFoundError):
            seen = path.stat()
            flags = {LETTERS[letter] for letter in path.name.partition(":2,")[2] if letter in LETTERS}
            self.mails[uid] = Mail(uid, path, seen.st_size, seen.st_mtime, flags)
            self.next_uid += 1
        return uid


class Folders:
    """All folders below a Maildir."""

    def __init__(self, path: Path, validity: int) -> None:
        self._path = path
        self._validity = validity
        self._open: dict[str, Folder] = {}
        for name in (INBOX, *(found.name[1:] for found in path.glob(".?*") if found.is_dir())):
            self.create(name)

    @property
    def names(self) -> list[str]:
        """Every folder."""
        return list(self._open)

    def create(self, name: str) -> None:
        """Make a folder, unless it is there."""
        key = _key(name)
        if key not in self._open:
            self._open[key] = Folder(self._path if key == INBOX else self._path / f".{key}", self._validity)

    def get(self, name: str) -> Folder:
        """A folder with everything delivered so far. Raises UnknownFolder."""
        folder = self._open.get(_key(name))
        if folder is None:
            raise UnknownFolder(name)
        folder.look()
        return folder


def _key(name: str) -> str:
    if name.upper() == INBOX:
        return INBOX
    if not name or "/" in name or name.startswith(".") or "\0" in name:
        raise UnknownFolder(name)
    return name
