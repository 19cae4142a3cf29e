"""Commands that run something until it is done, or until it is told to stop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from streams.cli.context import Invocation, json_option, print_json, say
from streams.cli.failure import FAILED, Failure, UsageFailure
from streams.cli.logs import log_to_stderr


@click.command()
@click.option(
    "-n", "--messages", type=click.IntRange(min=100), default=2500, show_default=True, help="How many to send."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same mix.")
@click.option("--bootstrap", metavar="HOST:PORT", help="Use this Kafka instead of the embedded broker.")
@click.option("--keep", is_flag=True, help="Keep the working directory (kept anyway after a failure).")
@json_option
@click.pass_obj
def demo(invocation: Invocation, messages: int, seed: int, bootstrap: str | None, keep: bool, as_json: bool) -> int:
    """Show everything at work, and check every count.

    Starts the embedded broker, sandbox providers, ingress, a poller and a worker; sends mixed messages through Mailgun,
    SES, SMTP and DirectMail, with bounces, deferrals, complaints, opens, clicks, unsubscriptions, repeats, one campaign
    beside transactional mail, and one provider outage; takes every report by webhook, queue, mailbox or link; then
    compares the delivery events with the sandbox's own ledger. Exits 0 only if they are equal.
    """
    from streams.demo.run import DemoOptions, run_demo

    return run_demo(DemoOptions(messages, seed, bootstrap or invocation.bootstrap, as_json, keep))


@click.command()
@click.pass_obj
def worker(invocation: Invocation) -> int:
    """Run the agents until SIGTERM: intake, dispatch, track, normalise, breakers.

    `faust -A streams.app worker` starts the same.
    """
    settings = invocation.settings
    invocation.enter("worker")
    log_to_stderr(invocation.environment)
    from streams.worker import run_worker

    return run_worker(settings, invocation.environment)


@click.command()
@click.pass_obj
def ingress(invocation: Invocation) -> int:
    """Take webhooks on [ingress] host and port until SIGTERM, and store them in Kafka before they are answered."""
    settings = invocation.settings
    from streams.tenant_webhooks import TenantWebhooks

    TenantWebhooks(settings, invocation.environment)  # wrong options are told before a port is bound
    invocation.enter("ingress")
    log_to_stderr(invocation.environment)
    from streams.ingress import serve
    from streams.providers._http import HttpExchange

    return serve(settings, lambda: (TenantWebhooks(settings, invocation.environment), HttpExchange()))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8070, show_default=True, help="0 takes a free one.")
@click.option(
    "--webhooks",
    metavar="URL",
    help="Where to post events, e.g. http://127.0.0.1:8080/webhooks (/mailgun, /ses and /directmail are added).",
)
@click.option(
    "--data", type=click.Path(file_okay=False), default="sandbox-data", show_default=True, help="Where the ledger goes."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same fates.")
@click.option("--latency-ms", type=click.FloatRange(min=0), default=0.0, help="Mean time of a provider's answer.")
@click.option(
    "--event-delay",
    type=click.FloatRange(min=0),
    default=0.2,
    show_default=True,
    help="Seconds between the events of a message.",
)
@click.option("--repeat", type=click.FloatRange(0, 1), default=0.0, help="Share of webhooks that are posted twice.")
@click.option("--all-delivered", is_flag=True, help="What does not name its fate is delivered: no lots are drawn.")
@click.option(
    "--queue",
    type=click.Choice(["envelope", "raw", "eventbridge"]),
    help="Put SES events into an SQS queue too: as SNS envelopes, by raw delivery, or as EventBridge does.",
)
@click.option(
    "--queue-share",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="With --queue and --webhooks: share of SES messages whose events go into the queue as well.",
)
@click.option(
    "--mns-share",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Share of DirectMail messages that are reported to the MNS queue directmail-events instead of pushed.",
)
@click.option(
    "--own-message-ids", is_flag=True, help="DirectMail writes Message-IDs of its own instead of keeping the sender's."
)
@click.option(
    "--smtp-port",
    type=click.IntRange(-1, 65535),
    help="SMTP with TLS from the start: 8465, or a free one where --port is 0; -1 is no SMTP.",
)
@click.option("--starttls-port", type=click.IntRange(0, 65535), help="SMTP with STARTTLS: 8587, or a free one.")
@click.option(
    "--imap-port",
    type=click.IntRange(0, 65535),
    help="Show the mailbox of the SMTP server's bounces over IMAP with TLS; 0 takes a free one. Without: no IMAP.",
)
@click.option(
    "--notifications",
    is_flag=True,
    help="With --queue: bounces, complaints and deliveries a second time, as SES identity notifications.",
)
@json_option
def sandbox(
    host: str,
    port: int,
    webhooks: str | None,
    data: str,
    seed: int,
    latency_ms: float,
    event_delay: float,
    repeat: float,
    all_delivered: bool,
    queue: str | None,
    queue_share: float,
    notifications: bool,
    mns_share: float,
    own_message_ids: bool,
    smtp_port: int | None,
    starttls_port: int | None,
    imap_port: int | None,
    as_json: bool,
) -> int:
    """Stand in for Mailgun, SES, DirectMail, a mail server: takes mail, keeps a ledger, sends events, fails on request.

    The address names the fate: bounce+1@…, complaint@…, defer@…, open@…; others are drawn. Faults: POST
    /sandbox/faults.
    """
    import asyncio

    from streams.sandbox import (
        DirectMailConfig,
        MailgunConfig,
        OutcomeMix,
        QueueForm,
        Sandbox,
        SandboxConfig,
        SesConfig,
        serve,
    )

    folder = Path(data)
    folder.mkdir(parents=True, exist_ok=True)
    base = (webhooks or "").rstrip("/")
    config = SandboxConfig(
        ledger_path=folder / "ledger.jsonl",
        host=host,
        port=port,
        seed=seed,
        latency_ms=(latency_ms, latency_ms / 4),
        mailgun=MailgunConfig(webhook_url=f"{base}/mailgun" if base else None),
        ses=SesConfig(
            webhook_url=f"{base}/ses" if base else None,
            certificates_dir=folder / "certificates",
            queue_form=QueueForm(queue) if queue else None,
            queue_share=queue_share,
            identity_notifications=notifications,
        ),
        directmail=DirectMailConfig(
            webhook_url=f"{base}/directmail" if base else None,
            certificates_dir=folder / "certificates",
            queue="directmail-events" if mns_share else "",
            queue_share=mns_share,
            keeps_message_id=not own_message_ids,
        ),
        webhook_delay_s=event_delay,
        webhook_duplicate_rate=repeat,
        mix=OutcomeMix.only_success() if all_delivered else OutcomeMix(),
        smtp=_smtp_config(port, smtp_port, starttls_port, imap_port),
    )

    def ready(running: Sandbox) -> None:
        if as_json:
            print_json(
                {"url": running.url, "ledger": str(config.ledger_path), "queue": running.sqs.url} | _smtp_of(running)
            )
            sys.stdout.flush()
        else:
            say(f"sandbox providers at {running.url}, ledger in {config.ledger_path}")
            if found := _smtp_of(running):
                say(
                    f"SMTP at {found['smtp']} (TLS) and {found['smtp_starttls']} (STARTTLS), login "
                    f"{found['smtp_user']}, certificate {found['smtp_certificate']}, bounces in {found['maildir']}"
                    + (f" and by IMAP at {found['imap']}" if "imap" in found else "")
                )

    asyncio.run(serve(config, ready))
    return 0


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=9092, show_default=True, help="0 takes a free one.")
@json_option
def broker(port: int, as_json: bool) -> int:
    """Run the embedded broker until Ctrl-C. It keeps everything in memory: for development and tests only."""
    import signal
    import threading

    from streams.broker import EmbeddedBroker

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with EmbeddedBroker(port or None) as running:
        if as_json:
            print_json({"bootstrap": running.bootstrap})
            sys.stdout.flush()
        else:
            say(f'embedded broker at {running.bootstrap}; configure it with: [kafka] profile = "embedded"')
        while not stop.wait(0.5):
            if not running.running:
                raise Failure("the embedded broker has ended by itself")
    return 0


@click.command()
@json_option
@click.pass_obj
def doctor(invocation: Invocation, as_json: bool) -> int:
    """Check the configuration, Kafka and its topics, the provider credentials and the ingress."""
    run = _optional("streams.doctor", "run_doctor")
    code = run(invocation.settings, as_json=as_json, env=invocation.environment)
    return code if isinstance(code, int) else FAILED


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> int:
    """Measure throughput; see `streams bench --help`."""
    try:
        code = _optional("streams.bench", "main")(list(arguments))
    except ModuleNotFoundError as exc:
        if exc.name != "psutil":
            raise
        raise UsageFailure("bench needs the extra `bench`: pip install 'streams-mail[bench]'") from exc
    return code if isinstance(code, int) else 0


def _smtp_config(port: int, smtp_port: int | None, starttls_port: int | None, imap_port: int | None) -> Any:
    """The SMTP sandbox needs the extra `sandbox`; without it the other providers run."""
    from importlib.util import find_spec

    from streams.sandbox import SmtpConfig

    if smtp_port == -1 or find_spec("aiosmtpd") is None:
        return None
    usual = (8465, 8587) if port else (0, 0)
    return SmtpConfig(
        port=usual[0] if smtp_port is None else smtp_port,
        starttls_port=usual[1] if starttls_port is None else starttls_port,
        imap_port=imap_port,
    )


def _smtp_of(running: Any) -> dict[str, str]:
    """Where the SMTP sandbox is, empty without one."""
    smtp = running.smtp
    if smtp is None:
        return {}
    host = running.config.host
    user, password = next(iter(smtp.users.items()), ("", ""))
    imap = {} if smtp.imap is None else {"imap": f"{host}:{smtp.imap.port}"}
    return imap | {
        "smtp": f"{host}:{smtp.port}",
        "smtp_starttls": f"{host}:{smtp.starttls_port}",
        "smtp_user": f"{user} / {password}",
        "smtp_certificate": str(smtp.certificate),
        "maildir": str(smtp.maildir),
    }


def _optional(module: str, attribute: str) -> Any:
    """Something that comes with the source tree, but perhaps not with an installation."""
    from importlib import import_module

    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as exc:
        if exc.name is None or not module.startswith(exc.name):
            raise
        raise UsageFailure(f"{module} is not installed here") from exc
