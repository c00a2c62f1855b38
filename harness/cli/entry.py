"""The entry point: runs a command and turns whatever happens into one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import warnings
from collections.abc import Sequence

import click

from harness.cli.commands import race
from harness.cli.failure import INTERRUPTED, OK, WRONG_USAGE, bug, tell
from harness.model import RaceError, UsageError, blamed
from harness.model.endless import Watch

_SHORTAGES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close what holds them",
}
"""What a machine can be out of, wherever that is noticed, to what to do."""

_MOST_CAUGHT = 3
"""So often a script may catch what is to end it."""

_MISSING = {
    "scenario": "SCENARIO is missing: double-submit, counter ...",
    "strategy": "--strategy is missing: naive, lua, pg-for-update ...",
}
"""What a newcomer leaves out."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `race` with the arguments of the process, or those given, and leave with its exit code."""
    # What a script forgot to await is said in one line by what follows from it.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run `race` and give the exit code."""
    _take_signals()
    try:
        _refuse_bytes(arguments)
        with Watch(_Endless()):
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
    except SystemExit as error:
        if "_RACE_COMPLETE" in os.environ:  # a shell's question, which click answers and ends so
            raise
        # By a script: its code would be taken for a verdict.
        tell(blamed(error) or f"something ended race from inside: SystemExit {error.code}")
        return WRONG_USAGE
    except BrokenPipeError:
        _forget_stdout()
        return OK
    except Exception as error:  # the last net: nothing a user sees is a traceback
        return _unforeseen(error)
    return code if isinstance(code, int) else OK


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Refuse what is no text: it could be neither shown nor saved. Raises UsageError."""
    for argument in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            shown = argument.encode(errors="backslashreplace").decode()
            raise UsageError(f"'{shown}' is no text in this locale: set LC_ALL=C.UTF-8, or give the file another name")


class _Endless:
    """Ends a script that never lets go; where it catches that, too, again and again, the whole process."""

    def __init__(self) -> None:
        """Nobody was told yet."""
        self._told = 0

    def __call__(self, blame: str) -> None:
        """Raises UsageError, for the script to be ended by."""
        self._told += 1
        if self._told > _MOST_CAUGHT:
            tell(blame)
            os._exit(WRONG_USAGE)  # servers and their folder go with it
        raise UsageError(blame)


def _unforeseen(error: Exception) -> int:
    """A mistake of the user's script, something that the machine is out of, or a bug of race."""
    fault = blamed(error)
    if fault is None and isinstance(error, OSError) and error.errno in _SHORTAGES:
        _forget_stdout()  # it may be what has no room
        fault = f"{os.strerror(error.errno)}: {_SHORTAGES[error.errno]}, then run it again"
    if fault is None:
        return bug(error)
    tell(fault)
    return WRONG_USAGE


def _take_signals() -> None:
    """Be told to end by both, also where a script put this into the background, with SIGINT ignored."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _as_interrupt(_number: int, _frame: object) -> None:
    """Being told to end is like Ctrl-C: servers are stopped, what was measured is kept.

    Once: timeout(1) tells the process and then its group, and a second Ctrl-C would end it with nothing kept.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.raise_signal(signal.SIGINT)


def _usage(error: click.ClickException) -> str:
    """One line: what is wrong, and where to read more."""
    if isinstance(error, click.MissingParameter) and error.param is not None and error.param.name in _MISSING:
        return f"{_MISSING[error.param.name]}; race list has all"
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "race"
    return f"{message}; see {path} --help"


def _forget_stdout() -> None:
    """The reader has gone (`race list | head -1`): let the interpreter flush into nothing."""
    with contextlib.suppress(OSError):  # it may be no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
