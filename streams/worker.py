"""``streams worker``: one worker in this process, from the checks before the start to the exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Mapping

from streams import failpoints
from streams.app import create_app
from streams.engine import run
from streams.settings import Settings

_SWITCH_S = 0.0005
"""The thread that fetches has little to do, but others wait for it: it should not stand behind a busy event loop."""


def run_worker(settings: Settings, env: Mapping[str, str] | None = None) -> int:
    """Run until SIGTERM (0) or a failure (1).

    What can be known before the start raises at once, with a sentence: SettingsError, PortTaken, EngineFailure.
    """
    failpoints.arm((os.environ if env is None else env).get("STREAMS_FAILPOINT", ""))
    app = create_app(settings, env)
    app.status.bind()
    asyncio.run(app.create_topics())
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()  # what the program consists of need not be walked again and again
    gc.set_threshold(2_000, 500, 100)  # short pauses: a look at 20,000 young objects holds up everybody for 20 ms
    return run(app)
