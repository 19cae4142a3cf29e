"""Compares what was planned, what the sandbox's ledger says, and what the delivery events say, as sets. Pure.

The sandbox's ledger is the truth about what a provider took and what it reported, in whatever way and however often;
what readers did with links of ours is told by the reader that the demo plays. Rules:

1. Every acceptance in the ledger is exactly one ``message.sent``; every event that the sandbox reported is exactly one
   event of ours with the same meaning; nothing else claims to come from a provider.
2. Every planned message has its planned end, and there is no event of a message that nobody planned.
3. ``lost`` counts the messages of which something is missing in the events or in the ledger, ``duplicated`` those of
   which something is there more often than it may be (accepted twice by providers included), and repeated event ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.core.event import EventType
from streams.demo.plan import Plan

E = EventType
MEANING: Mapping[str, EventType | None] = {
    # Mailgun
    "accepted": None,  # said already by the answer to the send
    "delivered": E.DELIVERED,
    "temporary_fail": E.DEFERRED,
    "permanent_fail": E.BOUNCED,
    "opened": E.OPENED,
    "clicked": E.CLICKED,
    "unsubscribed": E.UNSUBSCRIBED,
    "complained": E.COMPLAINED,
    "rejected": E.REJECTED,
    # SES
    "Send": None,
    "Delivery": E.DELIVERED,
    "DeliveryDelay": E.DEFERRED,
    "Bounce": E.BOUNCED,
    "Open": E.OPENED,
    "Click": E.CLICKED,
    "Subscription": E.UNSUBSCRIBED,
    "Complaint": E.COMPLAINED,
    "Reject": E.REJECTED,
    "Rendering Failure": E.REJECTED,
    # a mail server, by mail
    "failed": E.BOUNCED,
    "delayed": E.DEFERRED,
    "complaint": E.COMPLAINED,
    "auto_reply": None,
    # DirectMail
    "Deliver:SendSuccessfully": E.DELIVERED,
    "Deliver:SendFailed": E.BOUNCED,
    "Deliver:Open": E.OPENED,
    "Deliver:Click": E.CLICKED,
    "Feedback:FblReport": E.COMPLAINED,
    "Feedback:UnSubscribe": E.UNSUBSCRIBED,
    # readers, by links of our own
    "pixel": E.OPENED,
    "link": E.CLICKED,
    "one-click": E.UNSUBSCRIBED,
}
"""What a word of the ledgers is in the vocabulary of the events; None where no event is due."""
del E


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line of the ledger: a provider took a message."""

    provider: str
    message_id: str
    subject: str = ""
    accepted_ms: int = 0


@dataclass(frozen=True, slots=True)
class Reported:
    """A provider (or reader) reported an event of a message; ``delivered`` if it arrived with us."""

    provider: str
    message_id: str
    event: str
    event_id: str
    delivered: bool


@dataclass(frozen=True, slots=True)
class Event:
    """What matters here of a record of ``delivery-events``."""

    event_id: str
    message_id: str
    type: str
    provider: str
    status: str
    retry_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The comparison. Equal if ``lost`` and ``duplicated`` are 0."""

    lost: int
    duplicated: int
    events: Mapping[str, int]
    by_provider: Mapping[str, int]
    differences: Sequence[str] = field(default_factory=tuple)
    """One line per difference, naming the message."""

    @property
    def equal(self) -> bool:
        """Whether every count is as it must be."""
        return not self.lost and not self.duplicated


Count = Counter[tuple[str, str]]
"""How often, by (message id, event type)."""


def judge(plan: Plan, accepted: Iterable[Accepted], reported: Iterable[Reported], events: Sequence[Event]) -> Verdict:
    """Compare everything."""
    acceptances = list(accepted)
    actual = _of_providers(events)
    wanted = _of_ledger(acceptances, reported)
    taken = Counter(line.message_id for line in acceptances)
    problems = _compared(wanted, actual, "the ledger has it {}, the events {} times")
    problems += _compared(_of_plan(plan), _of_messages(events), "the plan has it {}, the events {} times")
    problems += [
        _Problem(identity, "acceptance", 1, taken[identity], "must be {}, the ledger has {}")
        for identity in {*plan.sent, *taken}
        if taken[identity] != (1 if identity in plan.sent else 0)
    ]
    problems += [
        _Problem(line.message_id, f"subject {line.subject!r}", 1, 0, "is not in the language of its recipient")
        for line in acceptances
        if plan.subjects.get(line.message_id, line.subject) != line.subject
    ]
    repeated = [identity for identity, count in Counter(event.event_id for event in events).items() if count > 1]
    return Verdict(
        lost=len({problem.message_id for problem in problems if problem.actual < problem.wanted}),
        duplicated=len({problem.message_id for problem in problems if problem.actual > problem.wanted}) + len(repeated),
        events=dict(sorted(Counter(event.type for event in events).items())),
        by_provider=dict(sorted(Counter(line.provider for line in acceptances).items())),
        differences=(
            *(str(problem) for problem in problems),
            *(f"event {identity} is in the topic more than once" for identity in repeated),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Problem:
    message_id: str
    what: str
    wanted: int
    actual: int
    text: str

    def __str__(self) -> str:
        return f"{self.message_id} {self.what}: {self.text.format(self.wanted, self.actual)}"


def is_own(event: Event) -> bool:
    """Whether the event is our own word (a decision or a refused hand-over), not a provider's about a mail it took."""
    if event.type in (EventType.ACCEPTED, EventType.SCHEDULED, EventType.UNCERTAIN):
        return True
    return event.retry_at_ms > 0 or not event.provider


def _compared(wanted: Count, actual: Count, text: str) -> list[_Problem]:
    return [
        _Problem(*entry, wanted[entry], actual[entry], text)
        for entry in sorted({*wanted, *actual})
        if wanted[entry] != actual[entry]
    ]


def _of_ledger(accepted: Iterable[Accepted], reported: Iterable[Reported]) -> Count:
    count: Count = Counter((line.message_id, EventType.SENT.value) for line in accepted)
    for line in {line.event_id: line for line in reported if line.delivered}.values():
        meaning = MEANING[line.event]
        if meaning is not None:
            count[line.message_id, meaning.value] += 1
    return count


def _of_providers(events: Iterable[Event]) -> Count:
    return Counter((event.message_id, event.type) for event in events if not is_own(event))


def _of_plan(plan: Plan) -> Count:
    count: Count = Counter()
    for identity, ends in plan.ends.items():
        count.update((identity, end.value) for end in ends)
    return count


def _of_messages(events: Iterable[Event]) -> Count:
    """Everything but what leads to a hand-over: being accepted, in doubt, waiting for another try, being sent."""
    return Counter(
        (event.message_id, event.type)
        for event in events
        if event.type not in (EventType.ACCEPTED, EventType.UNCERTAIN, EventType.SENT) and not event.retry_at_ms
    )
