"""The configuration of the demo's processes: a common part with two providers, and what the whole demo adds."""

from __future__ import annotations

from streams import stand_ins

SECRETS = {
    **stand_ins.SECRETS,
    "DEMO_DIRECTMAIL_KEY": "LTAIsandbox",
    "DEMO_DIRECTMAIL_SECRET": "sandbox-secret",
    "DEMO_MAILBOX_PASSWORD": "password-sandbox",
    "DEMO_RETURN_PATH_KEY": "a key for return paths",
    "DEMO_TRACKING_KEY": "a key for links of our own",
}
"""The sandbox's own, and keys for this run; nothing outside this machine knows them."""

CONFIG = (
    stand_ins.CONFIG
    + """\
{rules}
[[routing.rules]]
providers = ["mailgun", "ses"]
weights = {{ mailgun = 50, ses = 50 }}

[dispatch]
retry = "backoff"

[breaker]
window_s = 10
consecutive = 5
open_s = 1
max_open_s = 2
{more}"""
)

MAILGUN = """\
rate = 35
burst = 16
batch_size = 8
"""
"""As accounts are limited: a campaign takes seconds, and transactional mail goes first."""

SES = """\
rate = 35
burst = 16
batch_size = 8
sqs_queue_url = "{sandbox}/111122223333/ses-events"
sqs_endpoint_url = "{sandbox}"
sqs_wait_s = 2
"""

RULES = """
[[routing.rules]]
tag = "digest"
providers = ["smtp"]

[[routing.rules]]
domain = "mail.example.cn"
providers = ["directmail"]
"""

MORE = """
[poll]
port = {poll_port}

[providers.smtp]
type = "smtp"
host = "localhost"
port = {smtp_port}
tls = "implicit"
ca_file = "{folder}/sandbox/smtp-certificate.pem"
username = "sandbox"
password = "env:DEMO_MAILBOX_PASSWORD"
return_path = "bounces.example.com"
return_path_key = "env:DEMO_RETURN_PATH_KEY"
deadline_s = 10

[mailboxes.returns]
host = "localhost"
port = {imap_port}
ca_file = "{folder}/sandbox/smtp-certificate.pem"
user = "sandbox"
password = "env:DEMO_MAILBOX_PASSWORD"
provider = "smtp"
verp_secrets = ["env:DEMO_RETURN_PATH_KEY"]
wait_s = 2

[providers.directmail]
type = "directmail"
endpoint_url = "{sandbox}"
access_key_id = "env:DEMO_DIRECTMAIL_KEY"
access_key_secret = "env:DEMO_DIRECTMAIL_SECRET"
topics = ["1234567890123456/directmail-events"]
pinned_certificates = "{folder}/sandbox/certificates"
mns_queue = "directmail-events"
mns_endpoint_url = "{sandbox}"
mns_wait_s = 2
deadline_s = 10

[tracking]
public_url = "{tracking}"
secrets = ["env:DEMO_TRACKING_KEY"]
opens = true
clicks = true
providers = ["smtp"]
"""

TRACKING_URL = "https://t.example.com"
"""Where links of ours lead; the reader of the demo asks the ingress instead, as a proxy with TLS would."""
