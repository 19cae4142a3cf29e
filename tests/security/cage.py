"""Every secret that can be configured, each with a value of its own, and servers that do not answer as they should."""

from __future__ import annotations

import re
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

PREFIX = "bird.all."
CONFIG = """
[providers.refused]
type = "mailgun"
base_url = "{sandbox}"
domain = "mg.example.com"
api_key = "env:CANARY_MAILGUN_API_KEY"
events_key = "env:CANARY_MAILGUN_EVENTS_KEY"
signing_keys = ["env:CANARY_MAILGUN_SIGNING_KEYS"]
deadline_s = 2

[providers.silent]
type = "mailgun"
base_url = "http://127.0.0.1:{silent}"
domain = "mg.example.com"
api_key = "env:CANARY_MAILGUN_API_KEY"
deadline_s = 0.5

[providers.untrusted]
type = "mailgun"
base_url = "https://127.0.0.1:{plain}"
domain = "mg.example.com"
api_key = "env:CANARY_MAILGUN_API_KEY"
deadline_s = 2

[providers.amazon]
type = "ses"
region = "us-east-1"
endpoint_url = "{sandbox}"
sqs_endpoint_url = "http://127.0.0.1:{closed}"
sqs_queue_url = "http://127.0.0.1:{closed}/111122223333/q"
sqs_wait_s = 1
access_key_id = "env:CANARY_SES_ACCESS_KEY_ID"
secret_access_key = "env:CANARY_SES_SECRET_ACCESS_KEY"
session_token = "env:CANARY_SES_SESSION_TOKEN"
deadline_s = 2

[providers.relay]
type = "smtp"
host = "localhost"
port = {smtps}
tls = "implicit"
ca_file = "{folder}/sandbox/smtp-certificate.pem"
username = "sandbox"
password = "env:CANARY_SMTP_PASSWORD"
return_path = "bounces.example.com"
return_path_key = "env:CANARY_SMTP_RETURN_PATH_KEY"
deadline_s = 3

[providers.clear]
type = "smtp"
host = "localhost"
port = {plain}
tls = "implicit"
username = "sandbox"
password = "env:CANARY_SMTP_PASSWORD"
deadline_s = 2

[providers.aliyun]
type = "directmail"
endpoint_url = "{sandbox}"
mns_endpoint_url = "http://127.0.0.1:{closed}"
mns_queue = "events"
mns_wait_s = 1
access_key_id = "env:CANARY_DIRECTMAIL_ACCESS_KEY_ID"
access_key_secret = "env:CANARY_DIRECTMAIL_ACCESS_KEY_SECRET"
security_token = "env:CANARY_DIRECTMAIL_SECURITY_TOKEN"
push_secret = "env:CANARY_DIRECTMAIL_PUSH_SECRET"
deadline_s = 2

[tracking]
public_url = "https://links.example.com"
secrets = ["env:CANARY_TRACKING_SECRETS", "env:CANARY_TRACKING_OLD"]
opens = true
clicks = true

[mailboxes.bounces]
host = "localhost"
port = {imaps}
user = "sandbox"
password = "env:CANARY_MAILBOXES_PASSWORD"
ca_file = "{folder}/sandbox/smtp-certificate.pem"
verp_secrets = ["env:CANARY_MAILBOXES_VERP_SECRETS"]
wait_s = 1
timeout_s = 2

[poll]
port = 0
max_pause_s = 0.2
"""
KAFKA = {
    "STREAMS_KAFKA__SASL_USERNAME": "streams",
    "STREAMS_KAFKA__SASL_PASSWORD": "env:CANARY_KAFKA_SASL_PASSWORD",
    "STREAMS_KAFKA__SSL_KEY_PASSWORD": "env:CANARY_KAFKA_SSL_KEY_PASSWORD",
    "STREAMS_KAFKA__SCHEMA_REGISTRY_USER": "streams",
    "STREAMS_KAFKA__SCHEMA_REGISTRY_PASSWORD": "env:CANARY_KAFKA_SCHEMA_REGISTRY_PASSWORD",
}
ALONE = {"STREAMS_KAFKA__ADDRESS_SECRET": "env:CANARY_KAFKA_ADDRESS_SECRET"}
"""Of ``[kafka]``; all but the last only where the broker asks for them."""
TENANT = ("TENANT_CANARY_PASSWORD", "TENANT_CANARY_SIGNING")
NAMES = tuple(dict.fromkeys(re.findall(r"env:(CANARY_\w+)", " ".join((CONFIG, *KAFKA.values(), *ALONE.values())))))
CANARIES = {name: f"canary+{name.lower()}/{n:04}=%x" for n, name in enumerate((*NAMES, *TENANT))}
IS_NO_SECRET = frozenset({"CANARY_SES_ACCESS_KEY_ID", "CANARY_DIRECTMAIL_ACCESS_KEY_ID"})
"""Names of keys: they stand in every request that is signed."""


def forms(secret: str) -> list[bytes]:
    """The secret, and what it looks like within base64 at each of its three places, in URLs, JSON, hexadecimal."""
    raw = secret.encode()
    within = [b64encode(b"x" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    return [raw, quote(secret).encode(), quote(secret, safe="").encode(), raw.hex().encode(), *within]


@contextmanager
def silent_server() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def plain_server() -> Iterator[int]:
    """Answers whatever comes, TLS's greeting too, with a line of text."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.settimeout(2)
                    try:
                        peer.recv(4096)
                        peer.sendall(b"220 no TLS here\r\n")
                    except OSError:
                        continue

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
