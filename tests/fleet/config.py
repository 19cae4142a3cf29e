"""What a fleet is configured with: two providers, half of the mail each; keys go over it as `STREAMS_…`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SECRETS = {
    "FLEET_MAILGUN_KEY": "key-sandbox",
    "FLEET_SIGNING_KEY": "signing-key-sandbox",
    "FLEET_SES_ACCESS": "AKIASANDBOX000000000",
    "FLEET_SES_SECRET": "sandbox-secret",
}
CONFIG = """\
[kafka]
bootstrap = "{bootstrap}"
profile = "{profile}"
partitions = {partitions}
replication_factor = 1
min_insync_replicas = 1
prefix = "{prefix}"
group = "{prefix}streams"

[worker]
port = 0
data_dir = "{folder}/state"
session_timeout_s = 6
commit_interval_s = 0.2

[ingress]
port = {ingress_port}

[providers.mailgun]
type = "mailgun"
base_url = "{sandbox}"
domain = "mg.example.com"
api_key = "env:FLEET_MAILGUN_KEY"
signing_keys = ["env:FLEET_SIGNING_KEY"]
deadline_s = 3
visibility_delay_s = 2

[providers.ses]
type = "ses"
endpoint_url = "{sandbox}"
region = "us-east-1"
access_key_id = "env:FLEET_SES_ACCESS"
secret_access_key = "env:FLEET_SES_SECRET"
configuration_set = "events"
topic_arns = ["arn:aws:sns:us-east-1:111122223333:ses-events"]
pinned_certificates = "{folder}/sandbox/certificates"
deadline_s = 3
visibility_delay_s = 4
{ses}

[[routing.rules]]
providers = ["mailgun", "ses"]
weights = {{ mailgun = 50, ses = 50 }}

[dispatch]
retry = "backoff"
lease_margin_s = 5
"""
