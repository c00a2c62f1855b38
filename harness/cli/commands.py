"""The commands by name: each one's module is imported when it is asked for, start-up time counts."""

from __future__ import annotations

import importlib

import click

SECTIONS = {
    "First": {
        "run": "One strategy under load: did it break, and how.",
        "compare": "The same rule under every strategy: what breaks, what it costs.",
        "explore": "Every interleaving of one burst: the smallest that breaks, or none.",
        "replay": "Play a saved schedule again.",
        "check": "What must hold, from race.toml: a gate for CI.",
    },
    "Then": {
        "list": "Scenarios and strategies, and what each claims.",
        "explain": "Half a page about one: story, interleaving, costs.",
        "verify": "Judge a recorded history, without running anything.",
        "report": "Results that were kept: a list, two compared, a page.",
        "isolation": "What each isolation level of a PostgreSQL prevents.",
        "serve": "Every scenario under every strategy as a service over HTTP.",
        "ui": "Bursts started and watched in Locust's web UI.",
        "worker": "Makes bursts for a race ui --master, on any machine.",
        "new": "A scenario or a strategy to begin with, and its test.",
        "doctor": "Whether race can work here, and what to do where it cannot.",
        "schema": "The JSON Schemas of the documents that race writes.",
    },
}
"""Section of the help to name to one line: they are read without importing the command."""

_HELP = """
One business rule under every way of protecting it, on real stores.

race starts Valkey and PostgreSQL by itself. Begin with:

\b
  race run double-submit --strategy naive    one that breaks, step by step
  race compare double-submit                 all the ways, side by side; 40 s
"""
_EPILOG = """\b
Exit codes: 0 held or all as claimed, 1 violated or a claim failed, 2 wrong
usage, 3 inconclusive or no store, 130 interrupted.
"""


class Suggesting(click.Group):
    """A group that answers an unknown command with the nearest ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown name is answered with the nearest ones."""
        name = args[0] if args else ""
        if args and not name.startswith("-") and name not in self.list_commands(ctx):
            from harness.strategy.loader import nearest

            raise click.UsageError(f"unknown command '{name}'; {nearest(name, self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


class Commands(Suggesting):
    """A group whose commands live in modules of their own name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click asks
        """All names, in the order of the help."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"harness.cli.{cmd_name}_command").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as click asks
        """The commands in their sections."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from harness.results.environment import race_version

        click.echo(f"race {race_version()}")
        ctx.exit()


@click.command(cls=Commands, help=_HELP, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def race() -> None:
    """All of it."""
