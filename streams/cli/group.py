"""The commands by name. A command's module is imported when the command is run, never for ``--help`` of the others."""

from __future__ import annotations

from importlib import import_module

import click

from streams import __version__

_COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("run:demo", "Show everything at work on sandbox providers, and check every count."),
    "worker": ("run:worker", "Run the agents: intake, dispatch, track, normalise, breakers."),
    "ingress": ("run:ingress", "Take webhooks of the providers."),
    "poll": ("poll:poll", "Fetch events from queues (SQS, MNS) and bounce mailboxes."),
    "sandbox": ("run:sandbox", "Stand in for the providers: accepts mail, sends webhooks, fails on request."),
    "broker": ("run:broker", "Run the embedded broker (development only)."),
    "send": ("send:send", "Send messages: by flags, from JSON, or mail files."),
    "events": ("events:events", "Show delivery events."),
    "message": ("timeline:message", "Show what happened to a message, or to all of an address."),
    "failures": ("failures:failures", "Show messages that were not delivered, and why."),
    "retry": ("orders:retry", "Send again: one message, or all that a filter finds."),
    "cancel": ("orders:cancel", "Withdraw messages that have not been handed over."),
    "suppressions": ("suppressions:suppressions", "Show and change who is not written to, and why."),
    "breakers": ("controls:breakers", "Show the circuit breakers; force one open or closed."),
    "pause": ("controls:pause", "Hold the messages of a tenant, a stream or a provider."),
    "resume": ("controls:resume", "Let them go again."),
    "topics": ("topics:topics", "Create the topics, or check them."),
    "templates": ("templates:templates", "Store, list and try out templates."),
    "tenants": ("tenants:tenants", "Store, list and remove tenants: senders, accounts, limits."),
    "doctor": ("run:doctor", "Check configuration, Kafka and providers."),
    "bench": ("run:bench", "Measure throughput."),
}


class LazyGroup(click.Group):
    """A group whose commands are known by name and line of help only, until one is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(f"streams.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With the nearest names for a mistyped one."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], _COMMANDS, 1)
            hint = f"; did you mean {close[0]}?" if close else "; see: streams --help"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-c", "--config", metavar="FILE", help="Configuration file (default: STREAMS_CONFIG, ./streams.toml).")
@click.option("-k", "--kafka", metavar="HOST:PORT", help="Brokers, instead of those of the configuration.")
@click.version_option(__version__, prog_name="streams", message="%(prog)s %(version)s")
@click.pass_context
def streams(ctx: click.Context, config: str | None, kafka: str | None) -> None:
    """E-mail sending on Kafka: one message per recipient, nothing lost, nothing sent twice in silence.

    Start with: streams demo
    """
    from streams.cli.context import Invocation

    ctx.obj = Invocation(config, kafka)
