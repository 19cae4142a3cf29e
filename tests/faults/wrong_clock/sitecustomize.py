"""Gives a process a wall clock that is wrong by as many seconds as a file says, and that jumps when the file changes.

A directory of its own, put first on `PYTHONPATH`: Python imports the module `sitecustomize` before everything else.
Only the wall clock of Python is wrong. (libfaketime would lie to C libraries too, but not to the kernel that their
timed waits sleep in: librdkafka would then sleep for minutes, or not at all, which no wrong clock does.)
"""

import mmap
import os
import struct
import time

with open(os.environ["WRONG_CLOCK"], "rb") as _file:  # noqa: PTH123 - imported before anything else
    _offset = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)
_true, _true_ns, _read = time.time, time.time_ns, struct.Struct("=q").unpack_from

time.time = lambda: _true() + _read(_offset)[0]  # type: ignore[assignment]
time.time_ns = lambda: _true_ns() + _read(_offset)[0] * 1_000_000_000  # type: ignore[assignment]
