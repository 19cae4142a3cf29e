"""A fleet for tests: sandbox, ingress and any number of workers as real processes on a broker that is given.

    with Fleet(folder, bootstrap, prefix="t1.") as fleet:
        fleet.start_worker("w1")
        ids = fleet.produce([single(1), campaign(2, size=900)])
        fleet.until("all ended", lambda: fleet.seen.ended >= ids, 60)
        assert not fleet.account(ids).lost

* fleet.py: the processes, and how they are started, killed and asked
* config.py: their configuration
* requests.py: what is sent
* seen.py: the events as they come
* account.py: the oracle, ledger against events
"""

from __future__ import annotations

from tests.fleet.account import TERMINAL, Account
from tests.fleet.config import ROOT, SECRETS
from tests.fleet.fleet import Fleet
from tests.fleet.requests import campaign, ids_of, single

__all__ = ["ROOT", "SECRETS", "TERMINAL", "Account", "Fleet", "campaign", "ids_of", "single"]
