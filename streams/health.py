"""The health check of the container image: does one of the given addresses answer with success?

`python -m streams.health URL…` exits 0 at the first 2xx answer and 1 when there is none. It needs the standard library
only, so that a check every few seconds costs next to nothing.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Iterable

_TIMEOUT_S = 2.0


def any_healthy(urls: Iterable[str], timeout_s: float = _TIMEOUT_S) -> bool:
    """True when one of the `http://` addresses answers 2xx within `timeout_s`."""
    return any(_answers(url, timeout_s) for url in urls)


def _answers(url: str, timeout_s: float) -> bool:
    if not url.startswith("http://"):
        raise ValueError(f"{url}: a health check asks http:// addresses only")
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:  # noqa: S310 - the scheme is checked above
            return 200 <= int(answer.status) < 300
    except (OSError, urllib.error.URLError):
        return False


if __name__ == "__main__":
    sys.exit(0 if any_healthy(sys.argv[1:]) else 1)
