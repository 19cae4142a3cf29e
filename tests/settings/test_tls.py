"""Certificates and keys for Kafka: what cannot be used is one line that names the key, whichever client asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from streams.settings import (
    KafkaSettings,
    Protocol,
    Secret,
    SettingsError,
    aiokafka_options,
    librdkafka_options,
    resolve,
)
from tests.security.tls import authority

PASSWORD = "of the key"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """`ca`, `cert`, `key`, `locked` (by PASSWORD), `both`, `other` (a key of another), `nothing`."""
    pem = authority().server("worker")
    begin = pem.index(b"-----BEGIN CERTIFICATE")
    key = load_pem_private_key(pem[:begin], None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode()))
    other = authority().server("somebody")
    content = {
        "ca": authority().certificate.public_bytes(Encoding.PEM),
        "cert": pem[begin:],
        "key": pem[:begin],
        "locked": locked,
        "both": pem,
        "other": other[: other.index(b"-----BEGIN CERTIFICATE")],
        "nothing": b"no PEM",
    }
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def settings_of(files: Path, password: str = "", **names: str) -> KafkaSettings:
    paths: dict[str, Any] = {f"ssl_{key}_file": str(files / name) for key, name in names.items()}
    secret: Secret | None = resolve("env:KEY_PASSWORD", {"KEY_PASSWORD": password}) if password else None
    return KafkaSettings("localhost:9092", security_protocol=Protocol.SSL, ssl_key_password=secret, **paths)


CLIENTS = pytest.mark.parametrize("options", [aiokafka_options, librdkafka_options], ids=["aiokafka", "librdkafka"])


@CLIENTS
@pytest.mark.parametrize(
    ("names", "password"),
    [
        pytest.param({"ca": "ca"}, "", id="only trust"),
        pytest.param({"ca": "ca", "cert": "cert", "key": "key"}, "", id="an open key"),
        pytest.param({"ca": "ca", "cert": "cert", "key": "locked"}, PASSWORD, id="a locked key"),
        pytest.param({"ca": "ca", "cert": "both"}, "", id="one file"),
        pytest.param({"cert": "cert", "key": "key"}, "not needed", id="a password too many"),
    ],
)
def test_what_can_be_used_is(
    files: Path, options: Callable[[KafkaSettings], dict[str, Any]], names: dict[str, str], password: str
) -> None:
    assert options(settings_of(files, password, **names))


def test_a_file_with_both_serves_librdkafka_as_certificate_and_key(files: Path) -> None:
    options = librdkafka_options(settings_of(files, cert="both"))
    assert options["ssl.certificate.location"] == options["ssl.key.location"] == str(files / "both")


@CLIENTS
@pytest.mark.parametrize(
    ("names", "password", "complaint"),
    [
        pytest.param({"ca": "none"}, "", "ssl_ca_file: {files}/none cannot be read: No such file", id="no such file"),
        pytest.param({"ca": "nothing"}, "", "ssl_ca_file: {files}/nothing holds no certificate", id="no certificate"),
        pytest.param({"ca": "key"}, "", "ssl_ca_file: {files}/key holds no certificate", id="a key to trust"),
        pytest.param({"cert": "cert", "key": "locked"}, "", "ssl_key_password is missing; it opens", id="no password"),
        pytest.param({"cert": "cert", "key": "locked"}, "wrong", "ssl_key_password does not open", id="wrong password"),
        pytest.param({"cert": "cert", "key": "other"}, "", "{files}/other is not the key of", id="another key"),
        pytest.param({"cert": "cert"}, "", "hold no certificate with its key", id="no key"),
        pytest.param({"key": "key"}, "", "ssl_cert_file is missing", id="only a key"),
    ],
)
def test_what_cannot_be_used_is_one_line_that_names_the_key(
    files: Path,
    options: Callable[[KafkaSettings], dict[str, Any]],
    names: dict[str, str],
    password: str,
    complaint: str,
) -> None:
    with pytest.raises(SettingsError) as caught:
        options(settings_of(files, password, **names))
    said = str(caught.value)
    assert said.startswith("[kafka] ssl_")
    assert complaint.replace("{files}", str(files)) in said
    assert "wrong" not in said and "\n" not in said
