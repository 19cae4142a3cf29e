"""DirectMail's account of an event, in both languages: the classic text and EventBridge's CloudEvents. Pure.

Fates are known here too: the provider reports no deferrals, tells complaints as a failure of their own in the classic
language, and unsubscriptions in the other one only.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import msgspec

from streams.sandbox.directmail_config import DirectMailConfig, NoticeForm
from streams.sandbox.ledger import Accepted, Plan
from streams.sandbox.outcomes import End, Outcome, uuid_event_id

OK: Final = "Deliver:SendSuccessfully"
FAILED: Final = "Deliver:SendFailed"
OPEN: Final = "Deliver:Open"
CLICK: Final = "Deliver:Click"
FBL: Final = "Feedback:FblReport"
LEFT: Final = "Feedback:UnSubscribe"

_CHINA: Final = timezone(timedelta(hours=8))
_TYPES: Final = {
    OK: "dm:Deliver:Succeed", FAILED: "dm:Deliver:Fail", OPEN: "dm:Trace:Open", CLICK: "dm:Trace:Click",
    FBL: "dm:Feedback:FblReport", LEFT: "dm:Feedback:UnSubscribe",
}  # fmt: skip
_PLANS: Final[dict[Outcome, tuple[End, tuple[str, ...]]]] = {
    Outcome.BOUNCE: (End.BOUNCED, (FAILED,)),
    Outcome.SUPPRESSIONLIST: (End.BOUNCED, (FAILED,)),
    Outcome.SUPPRESSED_BOUNCE: (End.BOUNCED, (FAILED,)),
    Outcome.SOFTBOUNCE: (End.SOFT_BOUNCED, (FAILED,)),
    Outcome.BLOCKED: (End.BLOCKED, (FAILED,)),
    Outcome.REJECT: (End.BLOCKED, (FAILED,)),
    Outcome.COMPLAINT: (End.COMPLAINED, (OK, FBL)),
    Outcome.OPEN: (End.DELIVERED, (OK, OPEN)),
    Outcome.CLICK: (End.DELIVERED, (OK, OPEN, CLICK)),
    Outcome.DELAYEDBOUNCE: (End.BOUNCED, (OK, FAILED)),
    Outcome.SILENT: (End.SILENT, ()),
}
_FAILURES: Final[dict[str, tuple[str, str, str, str]]] = {  # outcome: status, err_code, err_msg, failed_type
    "bounce": ("2", "550", "550 5.1.1 no such user (code=7&q=1)", "SmtpNxBox"),
    "delayedbounce": ("4", "550", "550 5.1.1 user unknown", "SmtpNxBox"),
    "suppressionlist": ("2", "559", "559 invalid rcptto [@sm010101]", "SysOutInvRcpt"),
    "suppressed_bounce": ("2", "559", "559 invalid rcptto [@sm010101]", "SysOutInvRcpt"),
    "softbounce": ("4", "552", "552 5.2.2 mailbox full", "SmtpFullBox"),
    "blocked": ("4", "550", "550 5.7.1 blocked: sender has a bad name", "SmtpMfBad"),
    "reject": ("3", "554", "554 5.7.1 the content looks like spam", "SmtpContSpam"),
}


def plan(outcome: Outcome, form: NoticeForm) -> Plan:
    """The fate of a recipient, and the events by which it is told."""
    if outcome is Outcome.UNSUBSCRIBE and form is NoticeForm.EVENTBRIDGE:
        return Plan(outcome.value, End.UNSUBSCRIBED.value, [OK, LEFT])
    end, events = _PLANS.get(outcome, (End.DELIVERED, (OK,)))
    return Plan(outcome.value, end.value, list(events))


def notice(record: Accepted, index: int, at_ms: int, config: DirectMailConfig) -> str:
    """The notification of event `index` of a record."""
    if config.form is NoticeForm.CLASSIC:
        return _classic(record, index, at_ms, config)
    return _cloud_event(record, index, at_ms, config)


def _facts(record: Accepted, name: str) -> dict[str, str]:
    """status, err_code, err_msg, failed_type."""
    if name == OK:
        values = ("0", "250", "250 Send Mail OK", "SendOk")
    elif name == FBL:
        values = ("4", "5540", "recipient reported it as spam", "SysOutRecipientReportedSpam")
    else:
        values = _FAILURES[record.plan.outcome]
    return dict(zip(("status", "err_code", "err_msg", "failed_type"), values, strict=True))


def _classic(record: Accepted, index: int, at_ms: int, config: DirectMailConfig) -> str:
    name = record.plan.events[index]
    if name in (OPEN, CLICK):
        fields = {
            "event": name.partition(":")[2],
            "region": config.region,
            "env_id": record.provider_message_id,
            "msg_id": str(record.variables["msg_id"]),
            "from": record.sender,
            "rcpt": record.recipient,
            "operate_time": _local(at_ms),
        }
        if name == CLICK:
            fields["url"] = record.detail
    else:
        facts = _facts(record, name)
        status, rest = facts.pop("status"), facts
        fields = {
            "env_id": record.provider_message_id,
            "msg_id": str(record.variables["msg_id"]),
            "account": record.sender,
            "from": record.sender,
            "rcpt": record.recipient,
            "recv_time": _local(record.accepted_ms),
            "end_time": _local(at_ms),
            "status": status,
            "event": "deliver",
            "region": config.region,
            **rest,
        }
    return "&".join(f"{key}={value}" for key, value in fields.items())


def _cloud_event(record: Accepted, index: int, at_ms: int, config: DirectMailConfig) -> str:
    name = record.plan.events[index]
    data: dict[str, Any] = {
        "header": {},
        "env_id": record.provider_message_id,
        "msg_id": record.variables["msg_id"],
        "account": record.sender,
        "from": record.sender,
        "rcpt": record.recipient,
        "tag": record.tags[0] if record.tags else "",
        "region": config.region,
    }
    if name in (OPEN, CLICK):
        data |= {"event": name.partition(":")[2], "operate_time": _local(at_ms)}
        if name == CLICK:
            data["url"] = record.detail
    elif name in (FBL, LEFT):
        data["event"] = name.partition(":")[2]
    else:
        data |= {"event": "deliver", "send_time": _utc(record.accepted_ms), "deliver_time": _utc(at_ms)[:-1]}
        data |= _facts(record, name)
    event_id = uuid_event_id(record, index)
    body = {
        "id": event_id,
        "source": "acs:dm",
        "specversion": "1.0",
        "type": _TYPES[name],
        "subject": f"acs:dm:{config.region}:{config.account_id}:*",
        "time": _utc(at_ms),
        "datacontenttype": "application/json;charset=utf-8",
        "aliyunaccountid": config.account_id,
        "aliyunpublishtime": _utc(at_ms),
        "aliyuneventbusname": "default",
        "aliyunregionid": config.region,
        "aliyunpublishaddr": "192.0.2.7",
        "data": data,
    }
    return msgspec.json.encode(body).decode()


def in_base64(text: str) -> str:
    """As the message service's SDKs put a body into a queue."""
    return b64encode(text.encode()).decode()


def _local(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, _CHINA):%Y-%m-%d %H:%M:%S}"


def _utc(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}Z"
