"""What is read from the file and the environment, and the one line a mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.adapters import build_adapters
from streams.settings import (
    BUILT_IN_RETRIES,
    MAX_PROVIDERS,
    Profile,
    RetryKind,
    Settings,
    SettingsError,
    Store,
    aiokafka_options,
    librdkafka_options,
    load_settings,
)

ROOT = Path(__file__).parent.parent.parent
MINIMAL = '[kafka]\nbootstrap = "broker:9092"\n'
EXAMPLE_ENV = {
    "MAILGUN_API_KEY": "key",
    "MAILGUN_SIGNING_KEY": "signing",
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


def load(tmp_path: Path, text: str, **env: str) -> Settings:
    file = tmp_path / "streams.toml"
    file.write_text(text)
    return load_settings(file, env)


def test_the_example_file_is_valid_down_to_the_provider_adapters() -> None:
    settings = load_settings(ROOT / "streams.example.toml", EXAMPLE_ENV)
    assert set(build_adapters(settings, EXAMPLE_ENV)) == {"mailgun", "ses"}
    assert settings.routing.default == ("mailgun", "ses")
    assert settings.routing.rules[0].weights == {"ses": 80.0, "mailgun": 20.0}
    assert settings.retry["patient"].kind is RetryKind.EXPONENTIAL
    assert settings.tenants["shop"].sender == "Example Shop <hello@mg.example.com>"


def test_defaults_and_built_in_retry_policies_are_there_without_being_written(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL)
    assert (settings.kafka.partitions, settings.kafka.profile, settings.worker.store) == (
        12,
        Profile.KAFKA,
        Store.MEMORY,
    )
    assert settings.retry == BUILT_IN_RETRIES


def test_the_embedded_broker_changes_defaults_but_not_what_is_written(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL + 'profile = "embedded"\n')
    assert (settings.kafka.partitions, settings.kafka.replication_factor, settings.worker.session_timeout_s) == (
        4,
        1,
        6,
    )
    assert load(tmp_path, MINIMAL + 'profile = "embedded"\npartitions = 6\n').kafka.partitions == 6
    assert load(tmp_path, MINIMAL, STREAMS_KAFKA_PROFILE="embedded").kafka.partitions == 4


def test_the_file_is_the_argument_then_the_variable_then_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("argument", "variable", "streams"):
        (tmp_path / f"{name}.toml").write_text(f'[kafka]\nbootstrap = "{name}:1"\n')
    variable = {"STREAMS_CONFIG": "variable.toml"}
    assert load_settings("argument.toml", variable).kafka.bootstrap == "argument:1"
    assert load_settings(None, variable).kafka.bootstrap == "variable:1"
    assert load_settings(None, {}).kafka.bootstrap == "streams:1"


def test_the_environment_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = {
        "STREAMS_KAFKA_BOOTSTRAP": "broker:9092",
        "STREAMS_KAFKA__PARTITIONS": "6",
        "STREAMS_PROVIDERS__MAILGUN__TYPE": "mailgun",
        "STREAMS_PROVIDERS__MAILGUN__RATE": "12.5",
        "STREAMS_PROVIDERS__MAILGUN__ENABLED": "off",
        "STREAMS_PROVIDERS__MAILGUN__DOMAIN": "mg.example.com",
        "STREAMS_ROUTING_DEFAULT": "mailgun",
        "STREAMS_ROUTING__RULES": '[{"stream": "bulk", "providers": ["mailgun"], "weights": {"mailgun": 1}}]',
    }
    settings = load_settings(None, env)
    assert settings.kafka.partitions == 6
    mailgun = settings.providers["mailgun"]
    assert (mailgun.rate, mailgun.enabled, mailgun.options["domain"]) == (12.5, False, "mg.example.com")
    assert settings.routing.default == ("mailgun",)
    assert settings.routing.rules[0].weights == {"mailgun": 1.0}


def test_the_environment_wins_and_finds_names_with_dashes(tmp_path: Path) -> None:
    text = MINIMAL + '[providers.mailgun-eu]\ntype = "mailgun"\nrate = 1\n'
    settings = load(tmp_path, text, STREAMS_PROVIDERS__MAILGUN_EU__RATE="7", STREAMS_KAFKA_BOOTSTRAP="other:1")
    assert settings.providers["mailgun-eu"].rate == 7
    assert list(settings.providers) == ["mailgun-eu"]
    assert settings.kafka.bootstrap == "other:1"


def test_variables_that_kubernetes_sets_beside_a_service_are_not_ours(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        MINIMAL,
        STREAMS_INGRESS_PORT="tcp://10.0.0.7:8080",
        STREAMS_INGRESS_SERVICE_HOST="10.0.0.7",
        STREAMS_INGRESS_PORT_8080_TCP="tcp://10.0.0.7:8080",
        STREAMS_PORT="tcp://10.0.0.8:80",
    )
    assert settings.ingress.port == 8080


MISTAKES = {
    "misspelt key": (
        MINIMAL + "partitons = 4",
        {},
        "[kafka] partitons is not a known key; did you mean partitions?",
    ),
    "misspelt section": ("[kafak]\n", {}, "[kafak] is not a known section; did you mean kafka?"),
    "no section": ("kafka = 3\n", {}, "kafka must be a section: [kafka]"),
    "missing key": ("[kafka]\n", {}, '[kafka] bootstrap is missing; for example: bootstrap = "localhost:9092"'),
    "text for a number": (
        MINIMAL + 'partitions = "many"',
        {},
        "partitions must be a whole number, not the text 'many'",
    ),
    "fraction": (MINIMAL + "partitions = 1.5", {}, "[kafka] partitions must be a whole number, not the number 1.5"),
    "true for a number": (MINIMAL + "partitions = true", {}, "partitions must be a whole number, not true"),
    "out of bounds": (MINIMAL + "partitions = 0", {}, "[kafka] partitions must be between 1 and 4096, not 0"),
    "unknown word": (
        MINIMAL + '[worker]\nstore = "sqlite"',
        {},
        "[worker] store must be one of memory, rocksdb, not the text 'sqlite'",
    ),
    "bootstrap without port": ('[kafka]\nbootstrap = "broker"', {}, "[kafka] bootstrap must be host:port"),
    "replicas": (
        MINIMAL + "replication_factor = 1",
        {},
        "[kafka] min_insync_replicas must not exceed replication_factor (1)",
    ),
    "sasl without name": (MINIMAL + 'security_protocol = "SASL_SSL"', {}, "[kafka] sasl_username is missing"),
    "secret in librdkafka": (
        MINIMAL + '[kafka.librdkafka]\n"ssl.key.password" = "x"',
        {},
        "[kafka.librdkafka] ssl.key.password is a secret",
    ),
    "environment type": (
        MINIMAL,
        {"STREAMS_KAFKA_PARTITIONS": "x"},
        "STREAMS_KAFKA_PARTITIONS ([kafka] partitions) must",
    ),
    "environment bool": (MINIMAL, {"STREAMS_TRACKING_OPENS": "maybe"}, "must be true or false, not 'maybe'"),
    "environment misspelt": (
        MINIMAL,
        {"STREAMS_KAFKA_BOOTSTRP": "x:1"},
        "STREAMS_KAFKA_BOOTSTRP is not a known setting; did you mean STREAMS_KAFKA_BOOTSTRAP?",
    ),
    "environment unknown key": (
        MINIMAL,
        {"STREAMS_KAFKA__BOOTSTRP": "x:1"},
        "STREAMS_KAFKA__BOOTSTRP ([kafka] bootstrp) is not a known key; did you mean bootstrap?",
    ),
    "environment unknown section": (
        MINIMAL,
        {"STREAMS_KAFAK__X": "1"},
        "STREAMS_KAFAK__X: kafak is not a known section",
    ),
    "environment bad list": (MINIMAL, {"STREAMS_ROUTING__RULES": "mailgun"}, "STREAMS_ROUTING__RULES"),
    "literal secret": (
        MINIMAL + 'sasl_password = "hunter2"',
        {},
        "[kafka] sasl_password: secrets are given by reference only",
    ),
    "unset secret": (
        MINIMAL + 'sasl_password = "env:NOT_SET"',
        {},
        "[kafka] sasl_password: the environment variable NOT_SET is not set",
    ),
    "provider without type": (MINIMAL + "[providers.a]\nrate = 1", {}, "[providers.a] type is missing"),
    "provider name": (MINIMAL + '[providers.A]\ntype = "ses"', {}, "[providers.A] is not a usable name"),
    "provider named after another type": (
        MINIMAL + '[providers.ses]\ntype = "mailgun"\n[providers.b]\ntype = "ses"',
        {},
        "[providers.ses] is of type mailgun: do not name it after another type",
    ),
    "too many providers": (
        MINIMAL + "".join(f'[providers.p{n}]\ntype = "ses"\n' for n in range(MAX_PROVIDERS + 1)),
        {},
        "[providers] has 17 entries; at most 16",
    ),
    "unknown route": (
        MINIMAL + '[providers.ses]\ntype = "ses"\n[routing]\ndefault = ["sess"]',
        {},
        "[routing] default names the provider sess, which is not configured; did you mean ses?",
    ),
    "rule without providers": (
        MINIMAL + '[[routing.rules]]\nstream = "bulk"',
        {},
        "[routing.rules] providers is missing",
    ),
    "weight of a stranger": (
        MINIMAL + '[providers.ses]\ntype = "ses"\n[[routing.rules]]\nproviders = ["ses"]\nweights = { x = 1 }',
        {},
        "weights names x, which is not one of its providers",
    ),
    "unknown stream": (
        MINIMAL + '[providers.ses]\ntype = "ses"\n[[routing.rules]]\nstream = "fast"\nproviders = ["ses"]',
        {},
        "stream must be transactional or bulk",
    ),
    "unknown retry policy": (
        MINIMAL + '[tenants.shop]\nretry = "cubd"',
        {},
        "[tenants.shop] retry names cubd, which does not exist; did you mean cubed?",
    ),
    "unknown account": (
        MINIMAL + '[providers.ses]\ntype = "ses"\n[tenants.shop]\naccounts = { ses = "shop" }',
        {},
        "[tenants.shop] accounts names ses's account shop, which is not configured",
    ),
    "staging address": (MINIMAL + '[staging]\nredirect = "nobody"', {}, "[staging] redirect must be one address"),
    "tracking without keys": (
        MINIMAL + '[tracking]\npublic_url = "https://t.example.com"',
        {},
        "[tracking] secrets is missing",
    ),
    "tracking with a short key": (
        MINIMAL + '[tracking]\npublic_url = "https://t.example.com"\nsecrets = ["env:SHORT"]',
        {"SHORT": "hunter2"},
        "[tracking] secrets env:SHORT has less than 16 bytes",
    ),
    "tracking without a place": (MINIMAL + "[tracking]\nopens = true", {}, "[tracking] public_url is missing"),
    "tracking over http": (
        MINIMAL + '[tracking]\npublic_url = "http://t.example.com"\nsecrets = ["env:LONG"]',
        {"LONG": "hunter2" * 3},
        "[tracking] public_url must be plain https",
    ),
    "tracking with a query": (
        MINIMAL + '[tracking]\npublic_url = "https://t.example.com/?x=1"\nsecrets = ["env:LONG"]',
        {"LONG": "hunter2" * 3},
        "[tracking] public_url must be plain https",
    ),
    "tracking of a stranger": (
        MINIMAL + '[providers.ses]\ntype = "ses"\n[tracking]\nproviders = ["sess"]',
        {},
        "[tracking] providers names the provider sess, which is not configured; did you mean ses?",
    ),
    "network": (
        MINIMAL + '[tracking]\nscanner_networks = ["192.0.2.1/24"]',
        {},
        "[tracking] scanner_networks must hold networks like 192.0.2.0/24",
    ),
    "provider with our name": (
        MINIMAL + '[providers.tracking]\ntype = "tracking"',
        {},
        "[providers.tracking] is the name of our own links",
    ),
    "url": (
        MINIMAL + '[ingress]\npublic_url = "hooks.example.com"',
        {},
        "[ingress] public_url must be an http or https",
    ),
    "not TOML": ("[kafka\n", {}, "not valid TOML"),
}


@pytest.mark.parametrize(("text", "env", "message"), list(MISTAKES.values()), ids=list(MISTAKES))
def test_a_mistake_is_one_line_that_names_the_key(tmp_path: Path, text: str, env: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, **env)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_asked_for_and_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: the configuration file cannot be read: No such file"):
        load_settings(tmp_path / "nowhere.toml", {})


def test_both_kafka_clients_get_their_options(tmp_path: Path) -> None:
    text = MINIMAL + (
        'security_protocol = "SASL_SSL"\nsasl_username = "u"\nsasl_password = "env:PASSWORD"\n'
        '[kafka.librdkafka]\n"socket.nagle.disable" = "true"\n'
    )
    kafka = load(tmp_path, text, PASSWORD="pw").kafka
    ours = librdkafka_options(kafka)
    assert ours["sasl.password"] == "pw"
    assert ours["sasl.mechanism"] == "SCRAM-SHA-512"
    assert ours["socket.nagle.disable"] == "true"
    theirs = aiokafka_options(kafka)
    assert (theirs["sasl_plain_password"], theirs["security_protocol"]) == ("pw", "SASL_SSL")
    assert theirs["ssl_context"].check_hostname
    assert "pw" not in repr(kafka)
