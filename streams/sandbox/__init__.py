"""Sandbox providers: an honest stand-in for Mailgun, Amazon SES v2 with SNS and DirectMail with MNS, on one port.

Why it exists: to send a million mails without sending one. It knows nothing of this product; it speaks the
providers' public protocols, so the official SDKs (`mailgun`, boto3 `sesv2`, `sns` and `sqs`, Alibaba Cloud's
`alibabacloud_dm20151123` and `aliyun-mns-sdk`) work against it with only their base URL changed.

    sandbox = Sandbox(SandboxConfig(ledger_path=Path("sandbox.jsonl")))
    url = await sandbox.start()          # http://127.0.0.1:port
    ...
    await sandbox.stop()

What is honest about it
- A 200 means durable: every accepted recipient is a line of the ledger on disk, fsynced, before the answer leaves.
- Its ledger is the truth to compare with: `GET /sandbox/ledger` streams it, `GET /sandbox/stats` counts it. A
  restart with the same file continues: lists, counts, and every event whose reporting had not ended, with the same
  event ids.
- Events come back signed as the real ones are (Mailgun: HMAC over timestamp and token; SNS and MNS: RSA over
  the message) and are retried by the providers' own schedules, scaled. One exception to waiting for retries is real
  too: Mailgun's documentation says that `delivered` is not retried (`MailgunConfig.retry_delivered` changes it).
- The fate of an address is in the address or in a seeded draw; see `outcomes`.

Fates by local part (text after `+` is free, the domain does not matter): success, bounce, ooto, complaint,
suppressionlist, softbounce, blocked, defer, open, click, unsubscribe, reject, delayedbounce, silent. Everything
else is drawn from `SandboxConfig.mix` by (seed, value of the identity variable or else the recipient).

Pages of its own
    GET    /sandbox/ledger?provider=NAME&since=EPOCH_MS&kind=accepted|webhook|list      JSON lines
    GET    /sandbox/stats                                 counts, pending webhooks, CPU seconds of the process
    GET    /sandbox/calls?provider=NAME&since=EPOCH_MS    API calls with their times and answers (the last 100,000)
    GET    /sandbox/rendered?call_id=ID&recipient=ADDR    a copy as it was sent (the last 500 calls)
    POST   /sandbox/faults                                one rule, see `faults` for kinds and fields
    GET    /sandbox/faults    DELETE /sandbox/faults[/ID]
    POST   /sandbox/sns/subscribe {"endpoint": URL}       SubscriptionConfirmation first, then events
    GET    /sandbox/sns       GET /sandbox/sns/FILE.pem   state of the topic; the signing certificate
    GET    /sandbox/mns/FILE.pem                          the signing certificate of MNS

Providers' APIs
    Mailgun  POST /v3/{domain}/messages, /messages.mime; GET /v3/{domain}/events; GET, POST, DELETE
             /v3/{domain}/bounces|unsubscribes|complaints; GET /v3/domains, /v4/domains
    SES v2   POST /v2/email/outbound-emails, /outbound-bulk-emails; GET /v2/email/account; PUT, GET, DELETE
             /v2/email/suppression/addresses; POST, GET, DELETE /v2/email/templates; GET /v2/email/insights/{id}/
    SNS      POST /?Action=ConfirmSubscription|Subscribe|Unsubscribe|GetTopicAttributes
    SQS      POST / (JSON protocol): the queue `ses-events` of the topic, filled where `SesConfig.queue_form` says how,
             and its dead-letter queue `ses-events-dead`; both live in memory and end with the process
    DirectMail POST / (RPC with signature 1.0 or ACS3): SingleSendMail; its notifications are pushed by an MNS topic
             (`DirectMailConfig.webhook_url`), or lie in an MNS queue (`queue`), or both by shares (`queue_share`)
    MNS      GET, POST, DELETE, PUT /queues/{name}/messages; GET /queues/{name}

SMTP (`SandboxConfig.smtp`, needs aiosmtpd): TLS from the start and STARTTLS, logins, PIPELINING, 8BITMIME, SMTPUTF8.
Mail about mail (bounces, delays, complaints, automatic replies) is delivered into a Maildir. Refused at hand-off:
suppressionlist at RCPT, reject after the final dot; open, click and unsubscribe are silent deliveries. With
`SmtpConfig.imap_port` the Maildir can be read, emptied and sorted over IMAP, by the same users.

What it does not do: deliver mail, rewrite links, render Mailgun's stored templates, keep uploaded SES templates over a
restart, know more than `{{name}}` of SES's template language, or enforce Mailgun's rates (ask for a fault).
"""

from __future__ import annotations

from streams.sandbox.config import (
    AccessCheck,
    MailgunConfig,
    OutcomeMix,
    QueueForm,
    SandboxConfig,
    SesConfig,
    SmtpConfig,
    WebhookFormat,
)
from streams.sandbox.directmail_config import DirectMailConfig, NoticeForm, PushFormat
from streams.sandbox.faults import Fault, Faults
from streams.sandbox.ledger import Accepted, Ledger, Plan, Reported
from streams.sandbox.outcomes import End, Outcome
from streams.sandbox.server import Sandbox, serve

__all__ = [
    "Accepted",
    "AccessCheck",
    "DirectMailConfig",
    "End",
    "Fault",
    "Faults",
    "Ledger",
    "MailgunConfig",
    "NoticeForm",
    "Outcome",
    "OutcomeMix",
    "Plan",
    "PushFormat",
    "QueueForm",
    "Reported",
    "Sandbox",
    "SandboxConfig",
    "SesConfig",
    "SmtpConfig",
    "WebhookFormat",
    "serve",
]
