"""What may be known of one attempt, as bits of a number: the tables behind `attempts`.

``PRECEDENCE`` is the table of facts that give an attempt its status. The bits follow its order, so the highest bit of
an attempt's marks is its strongest fact. Facts are only ever added.
"""

from __future__ import annotations

from streams.core.event import Status
from streams.core.receipt import ReceiptKind

K, S = ReceiptKind, Status

PRECEDENCE: tuple[tuple[ReceiptKind, Status], ...] = (
    (K.ACCEPTED, S.ACCEPTED),
    (K.SCHEDULED, S.SCHEDULED),
    (K.UNCERTAIN, S.UNCERTAIN),
    (K.UNCERTAIN_FINAL, S.UNCERTAIN),
    (K.PROVIDER_SENT, S.SENT),
    (K.SENT, S.SENT),
    (K.DEFERRED, S.DEFERRED),
    (K.PROVIDER_SUPPRESSED, S.SUPPRESSED),
    (K.PROVIDER_REJECTED, S.REJECTED),
    (K.BOUNCED, S.BOUNCED),
    (K.RETRY, S.DEFERRED),
    (K.EXPIRED, S.EXPIRED),
    (K.CANCELLED, S.CANCELLED),
    (K.SUPPRESSED, S.SUPPRESSED),
    (K.REJECTED, S.REJECTED),
    (K.FAILED, S.FAILED),
    (K.DELIVERED, S.DELIVERED),
    (K.COMPLAINED, S.COMPLAINED),
)
"""Facts that give an attempt its status, weakest first."""

TERMINAL = frozenset({
    K.UNCERTAIN_FINAL, K.PROVIDER_SUPPRESSED, K.PROVIDER_REJECTED, K.BOUNCED, K.EXPIRED, K.CANCELLED, K.SUPPRESSED,
    K.REJECTED, K.FAILED, K.DELIVERED, K.COMPLAINED,
})  # fmt: skip
"""After these, as the strongest fact, nothing more is expected of us (a bounce that is to be retried excepted)."""

REPORTS = frozenset({
    K.PROVIDER_SENT, K.DEFERRED, K.DELIVERED, K.BOUNCED, K.COMPLAINED, K.OPENED, K.CLICKED, K.UNSUBSCRIBED,
    K.PROVIDER_SUPPRESSED, K.PROVIDER_REJECTED,
})  # fmt: skip
"""What a provider says; each proves that it took the attempt."""

# Three that give no status, then one per line of PRECEDENCE.
PROBED, SOFT, HARD = 1, 2, 4
_MARK = {kind: 8 << line for line, (kind, _) in enumerate(PRECEDENCE)}
STATUS = (S.ACCEPTED,) * 4 + tuple(status for _, status in PRECEDENCE)  # by bit_length
ENDS = (False,) * 4 + tuple(kind in TERMINAL for kind, _ in PRECEDENCE)

SENT, REPORTED, BOUNCED, DELIVERED = (_MARK[k] for k in (K.SENT, K.PROVIDER_SENT, K.BOUNCED, K.DELIVERED))
PROOF = SENT | REPORTED
OURS = PROBED | sum(_MARK[k] for k in _MARK if k not in REPORTS)
"""What dispatch says."""
DOUBT = PROBED | _MARK[K.UNCERTAIN] | _MARK[K.UNCERTAIN_FINAL]
ANSWERED = HARD | sum(
    _MARK[k] for k in (K.DELIVERED, K.COMPLAINED, K.RETRY, K.EXPIRED, K.CANCELLED, K.SUPPRESSED, K.REJECTED, K.FAILED)
)
FINAL_FAILURES = frozenset({K.BOUNCED, K.PROVIDER_SUPPRESSED, K.PROVIDER_REJECTED})
MARKS_OF = dict(_MARK) | {K.PROBE: PROBED} | {k: _MARK.get(k, 0) | REPORTED for k in REPORTS}
del K, S
