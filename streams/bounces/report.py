"""One mail into one report. Order decides (facts measured on real bounces): machine-readable parts first.

1. A feedback report or a status part speaks, wherever it is, whatever the headers around it claim.
2. A read receipt is none of ours.
3. Then the sentences that bounces are written in; only then whether it is a reply by a machine, and last a mailer
   daemon's subject.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streams.bounces.feedback import feedback_part, read_feedback
from streams.bounces.mail import Part, read
from streams.bounces.notices import is_daemons_notice, is_notice, read_notice, says
from streams.bounces.origin import ADDRESS, Origin, find_origin
from streams.bounces.replies import is_disposition, reply_form
from streams.bounces.status import date_ms, read_status, status_parts
from streams.bounces.verdict import Form, Report, Verdict


def read_mail(raw: bytes, keys: Sequence[bytes] = ()) -> Report:
    """What ``raw`` says about a mail of ours. Never raises. ``keys`` verify return paths (see core.verp)."""
    mail = read(raw)
    origin = find_origin(mail, keys)
    form, verdicts, unknown = _read(mail, origin)
    date = date_ms(mail.header("date"))
    return Report(
        form,
        tuple(replace(verdict, occurred_ms=verdict.occurred_ms or date) for verdict in verdicts),
        origin.trace.message_id if origin.trace else "",
        origin.trace.attempt if origin.trace else 0,
        bool(origin.trace and origin.trace.signed),
        origin.provider_message_id,
        mail.header("message-id").strip().strip("<>")[:300],
        unknown,
    )


def _read(mail: Part, origin: Origin) -> tuple[Form, tuple[Verdict, ...], tuple[str, ...]]:
    feedback = feedback_part(mail)
    if feedback is not None:
        verdict, unknown = read_feedback(feedback)
        return Form.FEEDBACK, (replace(verdict, recipient=verdict.recipient or origin.to),), unknown
    told: tuple[Verdict, ...] = ()
    words: tuple[str, ...] = ()
    for part in status_parts(mail):
        told, words = read_status(part)
        if told:
            return Form.STATUS, _with_recipient(told, mail, origin), words
    if is_disposition(mail):
        return Form.DISPOSITION, (), ()
    text = says(mail)
    if is_notice(mail, text):
        return Form.NOTICE, read_notice(mail, text, origin.to), ()
    form = reply_form(mail, text)
    if form is not None:
        return form, (), ()
    if is_daemons_notice(mail):
        return Form.NOTICE, read_notice(mail, text, origin.to), ()
    return Form.OTHER, (), ("mail:unrecognised",)


def _with_recipient(verdicts: tuple[Verdict, ...], mail: Part, origin: Origin) -> tuple[Verdict, ...]:
    """The only recipient's address from elsewhere, if the status part names none that is an address."""
    if len(verdicts) != 1 or verdicts[0].recipient:
        return verdicts
    listed = ADDRESS.findall(mail.header("x-failed-recipients"))
    return (replace(verdicts[0], recipient=listed[0] if listed else origin.to),)
