"""The entry point: runs a command and turns whatever happens into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import click

from harness.cli.commands import race
from harness.cli.failure import INTERRUPTED, OK, WRONG_USAGE, bug, tell
from harness.model import RaceError, blamed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `race` with the arguments of the process, or those given, and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run `race` and give the exit code."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        code = race.main(args=list(arguments), prog_name="race", standalone_mode=False)
        sys.stdout.flush()
    except RaceError as error:
        tell(str(error))
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help(), err=True)
        return WRONG_USAGE
    except click.ClickException as error:
        tell(_usage(error))
        return WRONG_USAGE
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        tell("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return OK
    except Exception as error:  # the last net: nothing a user sees is a traceback
        fault = blamed(error)
        if fault is None:
            return bug(error)
        tell(fault)
        return WRONG_USAGE
    return code if isinstance(code, int) else OK


def _as_interrupt(_number: int, _frame: object) -> None:
    """Being told to end is like Ctrl-C: servers are stopped, what was measured is kept."""
    signal.raise_signal(signal.SIGINT)


def _usage(error: click.ClickException) -> str:
    """One line: what is wrong, and where to read more."""
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "race"
    return f"{message}; see {path} --help"


def _forget_stdout() -> None:
    """The reader has gone (`race list | head -1`): let the interpreter flush into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
