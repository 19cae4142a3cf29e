"""The mutations: where, what is written there instead, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """`old` stands in `file` exactly once; `tests` are what pytest is given, one of them has to fail."""

    name: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, text: str) -> str:
        """The file with the safeguard taken out; raises ValueError if it does not stand there once."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: its text stands {text.count(self.old)} times in {self.file}")
        return text.replace(self.old, self.new)


_DISPATCH = ("tests/agents/test_dispatch.py",)
_UNITS = ("tests/engine/test_units.py", "tests/rules/test_rule_22_changelog_after_events.py")

MUTATIONS = (
    Mutation(
        "no-ledger-write",
        "the ledger is not written before the call",
        "streams/agents/dispatch/calls.py",
        "tickets.append(self.book.write(flight.partition, flight.message.message_id, flight.row))",
        "pass",
        _DISPATCH,
    ),
    Mutation(
        "ledger-not-awaited",
        "the call does not wait for the ledger's acknowledgement",
        "streams/agents/dispatch/calls.py",
        "        await acked(tickets)\n",
        "",
        _DISPATCH,
    ),
    Mutation(
        "state-before-events",
        "state is logged before its events are acknowledged",
        "streams/engine/units.py",
        "return self._finished and not self._unacked",
        "return self._finished",
        _UNITS,
    ),
    Mutation(
        "offset-before-state",
        "offsets are let go before the state is acknowledged",
        "streams/engine/units.py",
        "    def logged(self) -> bool:\n        return not self._unacked",
        "    def logged(self) -> bool:\n        return True",
        _UNITS,
    ),
    Mutation(
        "tokens-ignored",
        "the store of webhook tokens is not asked",
        "streams/agents/normalise.py",
        "kept = self._tokens.get(self._batch.partition, key)",
        "kept = None",
        ("tests/agents/test_normalise.py",),
    ),
    Mutation(
        "any-certificate-url",
        "SigningCertURL is trusted wherever it leads",
        "streams/providers/_sns.py",
        "    url = certificate_url(envelope.certificate_url, envelope.region)\n",
        "    url = envelope.certificate_url\n",
        ("tests/providers/test_sns.py",),
    ),
    Mutation(
        "breaker-counts-recipients",
        "faults of recipients count towards the breaker",
        "streams/agents/dispatch/calls.py",
        "if not isinstance(outcome, Accepted) and outcome.scope is Scope.PROVIDER:",
        "if not isinstance(outcome, Accepted) and outcome.scope in (Scope.PROVIDER, Scope.RECIPIENT):",
        (*_DISPATCH, "tests/agents/test_breakers.py"),
    ),
    Mutation(
        "zombie-writes",
        "a worker that lost the partition still writes rows",
        "streams/agents/dispatch/calls.py",
        "if self.may_write(settled[0][0]):",
        "if True:",
        ("tests/rules/test_rule_02_zombies_are_fenced.py",),
    ),
    Mutation(
        "lease-ignored",
        "a call is made although it may outlive its lease",
        "streams/agents/dispatch/calls.py",
        "if not self._may_call(flights[0]) or not self._is_leased(gate, flights[0]):",
        "if not self._may_call(flights[0]):",
        ("tests/rules/test_rule_02_zombies_are_fenced.py",),
    ),
    Mutation(
        "any-signature",
        "Mailgun's signature is not compared",
        "streams/providers/mailgun/webhook.py",
        "found |= hmac.compare_digest(expected, signature)",
        "found |= True",
        ("tests/providers/test_mailgun.py",),
    ),
    Mutation(
        "commit-with-holes",
        "an offset is committed although a run before it is unfinished",
        "streams/engine/offsets.py",
        "        if not runs or runs[0] is not run:\n            return False\n        while runs and runs[0].references <= 0:",
        "        while runs and run in runs:",
        ("tests/engine/test_offsets.py",),
    ),
    Mutation(
        "foreign-topics",
        "SNS messages of any topic are taken",
        "streams/providers/_sns.py",
        "if envelope.topic_arn not in rules.topic_arns:",
        "if False:",
        ("tests/providers/test_sns.py",),
    ),
    Mutation(
        "blind-failover",
        "a request whose answer is missing counts as never sent",
        "streams/providers/base/outbound.py",
        "    if not answer.sent:\n        reason = Reason(ReasonKind.NETWORK",
        "    if True:\n        reason = Reason(ReasonKind.NETWORK",
        ("tests/providers/test_mailgun.py", "tests/providers/test_ses.py"),
    ),
)
