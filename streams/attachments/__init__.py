"""Attachments that a request names by URL: fetched once, when the request is taken in.

    guard   which URLs and network addresses may be asked (pure)
    https   one file over HTTPS
    s3      one file of an allowed bucket
    fetch   all files of a request, within one deadline

Whoever may write to ``send-requests`` chooses these URLs, so they must not become a way into the network or the cloud
account that the worker lives in.
"""

from __future__ import annotations

from streams.attachments.fetch import Fetcher, FetcherConfig

__all__ = ["Fetcher", "FetcherConfig"]
