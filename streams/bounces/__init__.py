"""Bounces as mails: delivery status notifications, feedback reports, bounces in words, and what only looks like one.

``read_mail(raw)`` reads a mail into a :class:`Report` of verdicts, pure and within fixed bounds; a
:class:`Mailbox` turns reports into sightings for normalise, and lets a user's hook have the last word.

Rules:

1. Nothing is guessed: what is not in the tables stays unknown, and unknown suppresses nothing.
2. Anybody can send a bounce: only what carries an id of ours concerns a message, and with keys only a signed one stops
   mail to an address.
"""

from __future__ import annotations

from streams.bounces.reader import Mailbox, Refusal, load_hook
from streams.bounces.report import read_mail
from streams.bounces.verdict import Form, Kind, Report, Verdict

__all__ = ["Form", "Kind", "Mailbox", "Refusal", "Report", "Verdict", "load_hook", "read_mail"]
