"""What librdkafka says while it cannot log in, as one sentence that names the keys of ``[kafka]`` to look at.

The library tells its callers only that no broker answers; why is said on the side, to the error callback, many times.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from confluent_kafka import KafkaError

_AROUND = re.compile(r"^[a-z_]+://[^ ]+: |^[^ ]+/(?:bootstrap|\d+): | \(after \d+ms in state [A-Z_]+\)")
_CODES = re.compile(r"SSL handshake failed: (?:error:[0-9A-F]+:)?(?:SSL routines::)?")


def refusal(error: KafkaError, bootstrap: str) -> str:
    """Why we are not let in, or will not talk to who answers; empty for an error that says nothing of that."""
    text = _CODES.sub("", _AROUND.sub("", error.str()))
    code = error.code()
    if code == KafkaError._AUTHENTICATION:  # noqa: SLF001 (its public name)
        keys = "sasl_username, sasl_password and sasl_mechanism"
        return f"Kafka at {bootstrap} refuses the login: {text}; look at [kafka] {keys}"
    if "certificate verify failed" in text:  # said with one code or another
        why = "the certificate it shows is not by an authority in [kafka] ssl_ca_file, or not for this host name"
        return f"Kafka at {bootstrap} is not trusted: {why}"
    if "SSL routines" in text and "alert" in text and "certificate" in text:  # what the other side says
        return f"TLS with Kafka at {bootstrap} fails: our certificate is not taken; look at [kafka] ssl_cert_file"
    if code == KafkaError._SSL:  # noqa: SLF001
        keys = "security_protocol, ssl_ca_file, ssl_cert_file and ssl_key_file"
        return f"TLS with Kafka at {bootstrap} fails: {text}; look at [kafka] {keys}"
    return ""


def hung_up(errors: Collection[str], bootstrap: str) -> str:
    """Why nobody answers though somebody listens, which the library keeps to itself; empty if nobody listens."""
    if any("failed: " in error for error in errors):  # to connect, to find the host
        return ""
    return f"Kafka at {bootstrap} does not answer, but hangs up at once; look at [kafka] security_protocol"
