"""What a mail server sends back about a message: delivery reports, complaints, automatic replies. Pure.

RFC 3464 and 6522 (delivery status), RFC 5965 (feedback), RFC 3834 (automatic replies). Built from the ledger's line
alone, so that a restart builds the same mail.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Final

from streams.sandbox.ledger import Accepted, Plan
from streams.sandbox.outcomes import Outcome

POSTMASTER: Final = "MAILER-DAEMON"

_REPLIES: Final = {
    Outcome.BOUNCE: ("5.1.1", "550 5.1.1 user unknown"),
    Outcome.DELAYEDBOUNCE: ("5.1.1", "550 5.1.1 user unknown"),
    Outcome.SOFTBOUNCE: ("5.2.2", "552 5.2.2 mailbox full"),
    Outcome.BLOCKED: ("5.7.1", "550 5.7.1 message blocked by policy"),
    Outcome.DEFER: ("4.2.2", "452 4.2.2 over quota, still trying"),
}
_EVENTS: Final[dict[Outcome, tuple[str, str]]] = {
    Outcome.BOUNCE: ("bounced", "failed"),
    Outcome.SOFTBOUNCE: ("soft_bounced", "failed"),
    Outcome.BLOCKED: ("blocked", "failed"),
    Outcome.DELAYEDBOUNCE: ("bounced", "failed"),
    Outcome.DEFER: ("delivered", "delayed"),
    Outcome.COMPLAINT: ("complained", "complaint"),
    Outcome.OOTO: ("delivered", "auto_reply"),
}


def smtp_plan(outcome: Outcome) -> Plan:
    """The fate of an accepted recipient. SMTP reports no deliveries, opens or clicks: those fates are silent."""
    if outcome is Outcome.SILENT:
        return Plan(outcome.value, "silent", [])
    end, event = _EVENTS.get(outcome, ("delivered", ""))
    return Plan(outcome.value, end, [event] if event else [])


def report(record: Accepted, event: str, host: str, at_ms: int) -> bytes:
    """The mail that goes to the record's return path (`detail`)."""
    match event:
        case "complaint":
            return _complaint(record, host, at_ms)
        case "auto_reply":
            return _auto_reply(record, host, at_ms)
        case _:
            return _status(record, event, host, at_ms)


def _status(record: Accepted, action: str, host: str, at_ms: int) -> bytes:
    code, said = _REPLIES[Outcome(record.plan.outcome)]
    words = "could not be delivered" if action == "failed" else "has not been delivered yet; delivery goes on"
    subject = "Undelivered Mail Returned to Sender" if action == "failed" else "Delayed Mail (still being retried)"
    text = f"Your message to {record.recipient} {words}.\r\n\r\n<{record.recipient}>: host said: {said}\r\n"
    status = (
        f"Reporting-MTA: dns; {host}\r\nArrival-Date: {formatdate(record.accepted_ms / 1000)}\r\n\r\n"
        f"Final-Recipient: rfc822; {record.recipient}\r\nOriginal-Recipient: rfc822;{record.recipient}\r\n"
        f"Action: {action}\r\nStatus: {code}\r\nRemote-MTA: dns; mx.example.net\r\n"
        f"Diagnostic-Code: smtp; {said}\r\n"
    )
    return _report(record, host, at_ms, subject, "delivery-status", text, status)


def _complaint(record: Accepted, host: str, at_ms: int) -> bytes:
    text = f"This is an email abuse report for a message received on {formatdate(record.accepted_ms / 1000)}.\r\n"
    feedback = (
        "Feedback-Type: abuse\r\nUser-Agent: Sandbox-FBL/1.0\r\nVersion: 1\r\n"
        f"Original-Mail-From: <{record.detail}>\r\nOriginal-Rcpt-To: <{record.recipient}>\r\n"
        f"Arrival-Date: {formatdate(record.accepted_ms / 1000)}\r\n"
    )
    return _report(record, host, at_ms, "FW: abuse report", "feedback-report", text, feedback)


def _report(record: Accepted, host: str, at_ms: int, subject: str, kind: str, text: str, fields: str) -> bytes:
    boundary = f"=_{record.call_id}.{kind}"
    head = _head(record, host, at_ms, f"Mail Delivery System <{POSTMASTER}@{host}>", subject, "auto-generated")
    return (
        f'{head}Content-Type: multipart/report; report-type={kind}; boundary="{boundary}"\r\n\r\n'
        f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
        f"--{boundary}\r\nContent-Type: message/{kind}\r\n\r\n{fields}\r\n"
        f"--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n{_original(record)}\r\n--{boundary}--\r\n"
    ).encode("utf-8", "replace")


def _auto_reply(record: Accepted, host: str, at_ms: int) -> bytes:
    head = _head(record, host, at_ms, record.recipient, "Out of office: " + _line(record.subject), "auto-replied")
    return (
        f"{head}X-Autoreply: yes\r\nIn-Reply-To: <{record.provider_message_id}>\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n\r\nI am away until Monday.\r\n"
    ).encode("utf-8", "replace")


def _head(record: Accepted, host: str, at_ms: int, sender: str, subject: str, submitted: str) -> str:
    return (
        f"Return-Path: <>\r\nDelivered-To: {record.detail}\r\nDate: {formatdate(at_ms / 1000)}\r\nFrom: {sender}\r\n"
        f"To: {record.detail}\r\nSubject: {subject}\r\n"
        f"Message-ID: <{record.call_id}.{record.plan.events[0]}@{host}>\r\n"
        f"Auto-Submitted: {submitted}\r\nMIME-Version: 1.0\r\n"
    )


def _original(record: Accepted) -> str:
    return (
        f"Return-Path: <{record.detail}>\r\nFrom: {_line(record.sender)}\r\nTo: {record.recipient}\r\n"
        f"Subject: {_line(record.subject)}\r\nMessage-ID: <{record.provider_message_id}>\r\n"
    )


def _line(text: str) -> str:
    return " ".join(text.split())
