"""Secrets are found where they are named, and shown nowhere."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from streams.settings import Secret, SettingsError, resolve


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret \n")
    assert resolve("env:KEY", {"KEY": "value"}).reveal() == "value"
    assert resolve(f"file:{file}", {}).reveal() == "s3cret "


def test_a_secret_comes_from_aws_secrets_manager_whole_or_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    moto = pytest.importorskip("moto")
    boto3 = pytest.importorskip("boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with moto.mock_aws():
        boto3.client("secretsmanager").create_secret(Name="mail", SecretString='{"api": "k1"}')
        assert resolve("aws-secretsmanager:mail", {}).reveal() == '{"api": "k1"}'
        assert resolve("aws-secretsmanager:mail#api", {}).reveal() == "k1"
        with pytest.raises(SettingsError, match="no JSON object with a key other"):
            resolve("aws-secretsmanager:mail#other", {})
        with pytest.raises(SettingsError, match="AWS Secrets Manager did not give nothing"):
            resolve("aws-secretsmanager:nothing", {})


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hunter2", "by reference only"),
        ("env:", "by reference only"),
        ("env:MISSING", "the environment variable MISSING is not set"),
        ("env:EMPTY", "the secret env:EMPTY is empty"),
        ("file:/nowhere/secret", "the secret file /nowhere/secret cannot be read"),
    ],
)
def test_what_cannot_be_resolved_is_said_without_repeating_a_literal(reference: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        resolve(reference, {"EMPTY": ""})
    assert "hunter2" not in str(caught.value)


def test_a_secret_shows_only_where_it_came_from() -> None:
    secret = Secret("hunter2", "env:PASSWORD")
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>30}", repr([secret]), "%s" % secret):  # noqa: UP031
        assert "hunter2" not in shown
        assert "env:PASSWORD" in shown
    assert copy.deepcopy(secret) is secret
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_secrets_compare_by_value() -> None:
    assert Secret("a", "env:A") == Secret("a", "file:a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")
