"""The configuration of a deployment on this machine whose providers are stand-ins: what `streams demo` and tests share.

``streams sandbox`` takes the place of Mailgun and SES and writes its certificate to ``{folder}/sandbox``. Whoever uses
`CONFIG` fills in its places: ``mailgun`` and ``ses`` are further lines of these providers; sections may follow.
"""

from __future__ import annotations

SECRETS = {
    "SANDBOX_MAILGUN_KEY": "key-sandbox",
    "SANDBOX_MAILGUN_SIGNING_KEY": "signing-key-sandbox",
    "SANDBOX_SES_ACCESS_KEY": "AKIASANDBOX000000000",
    "SANDBOX_SES_SECRET_KEY": "sandbox-secret",
}
"""The sandbox's own; nothing outside this machine knows them."""

CONFIG = """\
[kafka]
bootstrap = "{bootstrap}"
profile = "{profile}"
partitions = 4
replication_factor = 1
min_insync_replicas = 1
prefix = "{prefix}"
group = "{prefix}streams"

[worker]
port = {worker_port}
data_dir = "{folder}/worker"
session_timeout_s = 6
commit_interval_s = 0.2

[ingress]
port = {ingress_port}

[providers.mailgun]
type = "mailgun"
base_url = "{sandbox}"
domain = "mg.example.com"
api_key = "env:SANDBOX_MAILGUN_KEY"
signing_keys = ["env:SANDBOX_MAILGUN_SIGNING_KEY"]
deadline_s = 10
visibility_delay_s = 1
{mailgun}
[providers.ses]
type = "ses"
endpoint_url = "{sandbox}"
region = "us-east-1"
configuration_set = "events"
access_key_id = "env:SANDBOX_SES_ACCESS_KEY"
secret_access_key = "env:SANDBOX_SES_SECRET_KEY"
topic_arns = ["arn:aws:sns:us-east-1:111122223333:ses-events"]
pinned_certificates = "{folder}/sandbox/certificates"
deadline_s = 10
visibility_delay_s = 5
{ses}
"""
