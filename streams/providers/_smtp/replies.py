"""What a reply at hand-off means: an outcome. Sources: RFC 5321 §4.2, RFC 3463, RFC 4954 §6; hosts' own tables.

Rules:

1. A reply that was read is certain: 4xx and 5xx are refusals wherever they come, also after the final dot.
2. The stage and the reply code say what becomes of this attempt; the kind (:mod:`streams.core.classification`) says
   why, and whether trying again can help although the code is 5xx (a full mailbox, a rate) or cannot.
3. What every message would meet is nobody's own fault: credentials hold the account, rates pause the lane, a server
   that is busy or broken is the provider's. Only what may be the message's or the recipient's own costs it a try, and
   whatever may be so does: nothing is tried for ever at the provider's expense.
4. A 5xx that says that there is no such address is told with that kind, and nothing else is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from streams.core.classification import Classification, classify, parse_enhanced_code
from streams.core.event import Reason, ReasonKind
from streams.core.outcome import AttemptResult, Deferred, Outcome, Rejected, Scope, Uncertain
from streams.providers._payload import detail
from streams.providers._smtp.stages import Stage
from streams.providers._smtp.wire import Reply

QUOTA_WAIT_S = 900.0
"""How soon to ask again after a daily quota: most are rolling windows, so room comes back bit by bit."""
MAX_WAIT_S = 86_400.0

_K = ReasonKind

LOGIN_CODES = frozenset({530, 534, 535, 538})
"""At any stage: without another login nothing will be taken (RFC 4954)."""

SOFT = frozenset({_K.MAILBOX_FULL, _K.RATE_LIMITED, _K.GREYLISTED})
"""Worth another try even behind a 5xx."""

INFRASTRUCTURE = frozenset({_K.NETWORK, _K.UNKNOWN})
"""Kinds that, in a reply that concerns nobody's message, say that the server itself is in trouble."""

ADDRESS = frozenset({_K.BAD_MAILBOX, _K.BAD_DOMAIN, _K.MAILBOX_DISABLED})
"""Kinds that concern the recipient, wherever they are said. Behind a 5xx they are as good as a bounce, and may suppress
the address (:mod:`streams.core.refusal`)."""

VENDOR_CODES: Mapping[int, tuple[Scope, ReasonKind]] = {
    436: (Scope.ACCOUNT, _K.CONFIGURATION),  # DirectMail: MAIL FROM is not the account
    556: (Scope.RECIPIENT, _K.BAD_DOMAIN),  # RFC 7504; DirectMail: too many recipients
    557: (Scope.MESSAGE, _K.MESSAGE_TOO_LARGE),  # DirectMail
    559: (Scope.RECIPIENT, _K.SUPPRESSED_BOUNCE),  # DirectMail: on the list of invalid addresses
    563: (Scope.RECIPIENT, _K.SUPPRESSED_BOUNCE),  # DirectMail: on your own list of them
}

_DAILY = re.compile(r"daily|per day|24.?h|relay limit|sending limit|message quota", re.IGNORECASE)
_PACE = re.compile(
    r"throttl|too many (connections|concurrent|sessions|messages)|sending rate|rate.?limit|try again (after|in)|"
    r"requests-per-\w+ limit|concurren\w+ (connection|limit)|connection (rate|limit)|slow down",
    re.IGNORECASE,
)
_RELAY = re.compile(r"relay(ing)? (access )?(is )?(denied|not|prohibited)|authentication (is )?required", re.IGNORECASE)
_UNVERIFIED = re.compile(
    r"not verified|unverified|not allowed to send|sending paused|account .{0,20}(suspend|paus|disab)", re.IGNORECASE
)
_TOO_LONG = re.compile(r"too (long|large|big)", re.IGNORECASE)
_RECIPIENTS = re.compile(r"too many recipients", re.IGNORECASE)
_SECONDS = re.compile(r"(?:try again|retry) (?:after|in) (\d{1,7}) ?(s|m|h)?", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "h": 3600}


def outcome_of(stage: Stage, reply: Reply, *, own_sender: bool = False, sender: str = "") -> Outcome:
    """What a reply that is no acceptance means for the message (or, before MAIL, for every message).

    ``own_sender``: the envelope sender is configured, not the message's own. ``sender`` is the address in ``From``.
    """
    if reply.code < 400:  # RFC 5321 knows none such here: a server that has lost the thread
        reason = Reason(_K.PROVIDER_ERROR, str(reply.code), "", detail(reply.text))
        if stage is Stage.END:
            return Uncertain(reason)
        return Deferred(reason, Scope.PROVIDER)
    if stage in (Stage.CONNECT, Stage.HELLO, Stage.TLS, Stage.LOGIN):
        return _before_mail(stage, reply)
    return _shared(stage, reply, own_sender=own_sender) or _own(stage, reply, sender)


def wait_s(text: str) -> float | None:
    """The pause a server asks for in words (``try again after 120 seconds``), in seconds; None if it names none."""
    found = _SECONDS.search(text)
    if found is None:
        return None
    return min(float(found[1]) * _UNITS[(found[2] or "s").lower()], MAX_WAIT_S)


def _reason(kind: ReasonKind, reply: Reply) -> Reason:
    return Reason(kind, str(reply.code), parse_enhanced_code(reply.text), detail(reply.text))


def _before_mail(stage: Stage, reply: Reply) -> Outcome:
    """Nothing of any message has been said yet."""
    code, text = reply.code, reply.text
    if code < 500 and _PACE.search(text):
        return _paced(reply)
    if stage is Stage.LOGIN and (code >= 500 or code == 432):  # 432: the password must be renewed first
        return Deferred(_reason(_K.CREDENTIALS, reply), Scope.ACCOUNT, AttemptResult.AUTH)
    if code in LOGIN_CODES:
        return Deferred(_reason(_K.CREDENTIALS, reply), Scope.ACCOUNT, AttemptResult.AUTH)
    if stage is Stage.TLS and code >= 500:
        return Deferred(_reason(_K.CONFIGURATION, reply), Scope.ACCOUNT, AttemptResult.AUTH)
    known = classify(code, "", text)
    kind = _K.PROVIDER_ERROR if known.kind in (_K.UNKNOWN, _K.MAILBOX_FULL, _K.BAD_DOMAIN) else known.kind
    return Deferred(_reason(kind, reply), Scope.PROVIDER, AttemptResult.TRANSIENT, wait_s(text))


def _shared(stage: Stage, reply: Reply, *, own_sender: bool) -> Outcome | None:
    """What any other message would have met too; None if it is (or may be) this one's own."""
    code, text = reply.code, reply.text
    known = classify(code, "", text)
    enhanced = parse_enhanced_code(text)
    if code in LOGIN_CODES or (code == 503 and _RELAY.search(text)):
        return Deferred(_reason(_K.CREDENTIALS, reply), Scope.ACCOUNT, AttemptResult.AUTH)
    if VENDOR_CODES.get(code, (None,))[0] is Scope.ACCOUNT:
        return Deferred(_reason(VENDOR_CODES[code][1], reply), Scope.ACCOUNT, AttemptResult.AUTH)
    if code >= 500 and stage is not Stage.END and _RELAY.search(text):
        return Deferred(_reason(_K.CONFIGURATION, reply), Scope.ACCOUNT, AttemptResult.AUTH)
    if _DAILY.search(text) and (known.kind in (_K.RATE_LIMITED, _K.UNKNOWN) or code == 454):
        wait = wait_s(text) or QUOTA_WAIT_S
        return Deferred(_reason(_K.THROTTLED, reply), Scope.LANE, AttemptResult.THROTTLED, wait)
    if enhanced.endswith(".7.28") or (code in (421, 450, 451, 452, 454) and _PACE.search(text)):
        return _paced(reply)
    if stage is Stage.MAIL:
        return _at_mail(reply, known, enhanced, own_sender=own_sender)
    busy = code == 421 or enhanced in ("4.3.1", "4.3.2")
    if busy and code < 500 and known.kind in INFRASTRUCTURE | {_K.MAILBOX_FULL}:
        return Deferred(_reason(_K.PROVIDER_ERROR, reply), Scope.PROVIDER)
    return None


def _at_mail(reply: Reply, known: Classification, enhanced: str, *, own_sender: bool) -> Outcome | None:
    """Only the sender and the size are known to the server."""
    code = reply.code
    if known.kind is _K.MESSAGE_TOO_LARGE or code == 552:
        return Rejected(_reason(_K.MESSAGE_TOO_LARGE, reply))
    about_sender = enhanced[1:4] == ".1." or enhanced[1:4] == ".7."
    if code < 500 and not about_sender and known.kind in INFRASTRUCTURE | {_K.MAILBOX_FULL}:
        return Deferred(_reason(_K.PROVIDER_ERROR, reply), Scope.PROVIDER, retry_after_s=wait_s(reply.text))
    kind = known.kind if known.kind is _K.INVALID_REQUEST or (code < 500 and not about_sender) else _K.CONFIGURATION
    if own_sender:
        return Deferred(_reason(kind, reply), Scope.ACCOUNT, AttemptResult.AUTH)
    if code < 500:
        return Deferred(_reason(kind, reply), Scope.MESSAGE, retry_after_s=wait_s(reply.text))
    return Rejected(_reason(kind, reply))


def _own(stage: Stage, reply: Reply, sender: str) -> Outcome:
    """The recipient's or the message's own."""
    code, text = reply.code, reply.text
    known = classify(code, "", text)
    scope = Scope.RECIPIENT if stage is Stage.RCPT else Scope.MESSAGE
    kind = known.kind
    if code in VENDOR_CODES and (known.kind is _K.UNKNOWN or VENDOR_CODES[code][1] is not _K.BAD_DOMAIN):
        scope, kind = VENDOR_CODES[code]
    if stage is Stage.RCPT and _RECIPIENTS.search(text):
        kind = _K.RATE_LIMITED
    if code == 552 and _TOO_LONG.search(text):  # SES; a bare 552 is a full mailbox
        return Rejected(_reason(_K.MESSAGE_TOO_LARGE, reply))
    if stage is Stage.END and _UNVERIFIED.search(text):
        return _unverified(reply, sender)
    later = code < 500 or kind in SOFT or (stage is Stage.RCPT and code == 552)  # RFC 5321 §4.5.3.1.10
    if later:
        return Deferred(_reason(kind, reply), scope, AttemptResult.TRANSIENT, wait_s(text))
    return Rejected(_reason(kind, reply), Scope.RECIPIENT if kind in ADDRESS else scope)


def _unverified(reply: Reply, sender: str) -> Outcome:
    """A service that does not let this account, or this sender, send: a matter of its console, not of the message.

    SES's sandbox says the same of a recipient, and names the address.
    """
    said = reply.text.lower()
    if "not verified" in said and "@" in said and sender and sender.lower() not in said:
        return Rejected(_reason(_K.ACCOUNT, reply), Scope.RECIPIENT)
    return Deferred(_reason(_K.ACCOUNT, reply), Scope.ACCOUNT, AttemptResult.AUTH)


def _paced(reply: Reply) -> Outcome:
    wait = wait_s(reply.text) or (QUOTA_WAIT_S if _DAILY.search(reply.text) else None)
    return Deferred(_reason(_K.THROTTLED, reply), Scope.LANE, AttemptResult.THROTTLED, wait)
