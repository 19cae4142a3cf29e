"""What librdkafka says on the side becomes one sentence that names the key to look at."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from streams.kafka_refusals import hung_up, refusal

VERIFY = "error:0A000086:SSL routines::certificate verify failed"
AT = "sasl_ssl://kafka.example.com:9093/bootstrap: "
CASES = [
    pytest.param(
        KafkaError._AUTHENTICATION,
        AT
        + "SASL authentication error: Authentication failed due to invalid credentials (after 314ms in state AUTH_REQ)",
        "k:1 refuses the login: SASL authentication error: Authentication failed due to invalid credentials; look at",
        id="password",
    ),
    pytest.param(
        KafkaError._SSL, f"{AT}SSL handshake failed: {VERIFY}: broker certificate", "is not trusted", id="verify"
    ),
    pytest.param(
        KafkaError._TRANSPORT, f"{AT}{VERIFY} (after 3ms in state SSL_HANDSHAKE)", "is not trusted", id="race"
    ),
    pytest.param(
        KafkaError._TRANSPORT,
        f"{AT}Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42 (after 2ms in state APIVERSION_QUERY)",
        "our certificate is not taken; look at [kafka] ssl_cert_file",
        id="alert",
    ),
    pytest.param(
        KafkaError._SSL,
        f"{AT}SSL handshake failed: error:0A00010B:SSL routines::wrong version number: (after 2ms in state SSL_HANDSHAKE)",
        "TLS with Kafka at k:1 fails: wrong version number",
        id="no TLS there",
    ),
    pytest.param(KafkaError._TRANSPORT, "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed", "", id="nobody"),
    pytest.param(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down", "", id="all down"),
]


@pytest.mark.parametrize(("code", "text", "sentence"), CASES)
def test_an_error_becomes_a_sentence_or_nothing(code: int, text: str, sentence: str) -> None:
    said = refusal(KafkaError(code, text), "k:1")
    assert (sentence in said) if sentence else said == ""
    assert "error:0A" not in said and "in state" not in said and "\n" not in said


def test_who_hangs_up_is_told_from_who_is_not_there() -> None:
    assert "security_protocol" in hung_up(set(), "k:1")
    assert hung_up({"127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused"}, "k:1") == ""
