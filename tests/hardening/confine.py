"""Become what a unit with `ProtectSystem=strict` is, then run a command. For root, in a mount namespace of its own:

    unshare --mount --propagation private -- python confine.py '{…}' COMMAND…

Rules:

1. Every file system is read-only but for the directories named in `writable`; nothing else, not even `/tmp`, can be written.
2. Python, the packages and the program are seen below `/srv`, whoever may read their real places.
3. The user is a number that nobody has, without any capability, now or later.
4. Memory cannot be both written and executed; system calls and socket families that are not listed fail with EPERM.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SHOWN = Path("/srv")
USER = 61999  # in the range of DynamicUser=, and nobody's
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP, _PR_SET_MDWE = 38, 24, 65
_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
_SCMP_ALLOW, _SCMP_EPERM, _SCMP_EQ = 0x7FFF0000, 0x00050001, 4
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}


class _Comparison(ctypes.Structure):
    """libseccomp's `scmp_arg_cmp`."""

    _fields_ = (("argument", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def main(wanted: dict[str, Any], command: list[str]) -> None:
    _mount(wanted["shown"], wanted["writable"])
    _drop_privileges()
    _filter(wanted["calls"], wanted["families"])
    os.execv(command[0], command)


def _mount(shown: dict[str, str], writable: list[str]) -> None:
    for place in writable:
        _run_mount("--bind", place, place)
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in dict.fromkeys(points):
        if point not in writable and not point.startswith(("/proc", "/sys", "/dev", f"{SHOWN}/")):
            _run_mount("-o", "remount,bind,ro", point)
    _run_mount("-t", "tmpfs", "-o", "mode=755", "none", str(SHOWN))
    for place, source in shown.items():
        Path(place).mkdir(parents=True)
        _run_mount("--bind", "-o", "ro", source, place)
    _run_mount("-o", "remount,ro", str(SHOWN))


def _run_mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _drop_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def prctl(option: int, argument: int) -> None:
        if libc.prctl(option, argument, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option}")

    for capability in range(int(_LAST_CAPABILITY.read_text()) + 1):
        prctl(_PR_CAPBSET_DROP, capability)
    os.umask(0o077)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)  # takes the capabilities along
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    prctl(_PR_SET_MDWE, 1)


def _filter(calls: list[str], families: list[str]) -> None:
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(_SCMP_EPERM))
    for name in calls:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0 and name != "socket":  # below 0: not a call of this architecture
            assert seccomp.seccomp_rule_add_array(context, _SCMP_ALLOW, number, 0, None) == 0, name
    socket = seccomp.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        is_it = _Comparison(0, _SCMP_EQ, _FAMILIES[family], 0)
        assert seccomp.seccomp_rule_add_array(context, _SCMP_ALLOW, socket, 1, ctypes.byref(is_it)) == 0, family
    assert seccomp.seccomp_load(context) == 0
    seccomp.seccomp_release(context)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
