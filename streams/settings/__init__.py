"""Settings from ``streams.toml`` and the environment, frozen and checked at start.

    settings = load_settings()                       # SettingsError: one line that names the key
    config = provider_options(Config, settings.providers["mailgun"])

``model`` holds every key with its meaning, ``secret`` the references, ``read`` the decoding by a dataclass's fields,
``load`` the file and the environment, ``validate`` what spans sections, ``clients`` the options of the Kafka clients,
``reference`` the documentation page.
"""

from __future__ import annotations

from streams.settings.clients import aiokafka_options, librdkafka_options
from streams.settings.doors import MAX_DOORS, DoorSettings
from streams.settings.flow import Excess, LimitSettings
from streams.settings.kafka import KafkaSettings, Mechanism, Profile, Protocol
from streams.settings.load import load_settings, provider_options
from streams.settings.mail import AttachmentSettings, StagingSettings, SuppressionSettings, TrackingSettings
from streams.settings.mailbox import After, MailboxSettings, MailboxTls
from streams.settings.model import (
    BUILT_IN_RETRIES,
    MAX_PROVIDERS,
    BreakerSettings,
    DispatchSettings,
    ProviderSettings,
    RetryKind,
    RetrySettings,
    RoutingRule,
    RoutingSettings,
    Settings,
    TenantSettings,
)
from streams.settings.processes import IngressSettings, PollSettings, Store, WorkerSettings
from streams.settings.secret import Secret, SettingsError, is_reference, resolve

__all__ = [
    "BUILT_IN_RETRIES",
    "MAX_DOORS",
    "MAX_PROVIDERS",
    "After",
    "AttachmentSettings",
    "BreakerSettings",
    "DispatchSettings",
    "DoorSettings",
    "Excess",
    "IngressSettings",
    "KafkaSettings",
    "LimitSettings",
    "MailboxSettings",
    "MailboxTls",
    "Mechanism",
    "PollSettings",
    "Profile",
    "Protocol",
    "ProviderSettings",
    "RetryKind",
    "RetrySettings",
    "RoutingRule",
    "RoutingSettings",
    "Secret",
    "Settings",
    "SettingsError",
    "StagingSettings",
    "Store",
    "SuppressionSettings",
    "TenantSettings",
    "TrackingSettings",
    "WorkerSettings",
    "aiokafka_options",
    "is_reference",
    "librdkafka_options",
    "load_settings",
    "provider_options",
    "resolve",
]
