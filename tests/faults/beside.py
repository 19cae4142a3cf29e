"""What runs beside a test: in a thread, for as long as a block lasts; what fails in it fails the test."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Beside(ABC):
    """Use it as a context manager: `run` begins in a thread of its own, and has returned when the block is left.

    What `run` raises is raised where the block ends, unless the test failed by itself; and so is it if `run` has not
    returned ``patience_s`` after it was told to end.
    """

    patience_s = 30.0

    def __init__(self) -> None:
        self.error: BaseException | None = None
        """Of `run`; for a test that does not want to wait any longer for what will not come."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._kept, daemon=True)

    @abstractmethod
    def run(self) -> None:
        """The work. Looks at `ending`, or sleeps by `pause`, often enough to return within ``patience_s``."""

    @property
    def ending(self) -> bool:
        """Whether the block has been left."""
        return self._end.is_set()

    def pause(self, seconds: float) -> bool:
        """Sleep so long, or until the block is left; answers `ending`."""
        return self._end.wait(seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(self.patience_s)
        if kind is not None:
            return
        if self.error is not None:
            raise self.error
        if self._thread.is_alive():
            raise TimeoutError(f"{type(self).__name__} did not end within {self.patience_s:.0f} s")

    def _kept(self) -> None:
        try:
            self.run()
        except BaseException as exc:  # noqa: BLE001 - raised in the test's own thread
            self.error = exc
