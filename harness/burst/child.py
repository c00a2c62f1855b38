"""A child process of the fleet: orders come in as lines of JSON, answers go out, and it ends with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from harness.model import RaceError, StoreFault, UsageError, described
from harness.model.endless import Watch

CarryOut = Callable[[str], Awaitable[dict[str, Any]]]
"""Carries out one order and gives what came of it."""
Begin = Callable[[dict[str, Any]], Awaitable[CarryOut]]


def program(module: str) -> list[str]:
    """How a module of ours is started, by this Python.

    It looks for modules where this process does: not first in the folder that it is started in, which is the user's and
    may hold a `queue.py`, or a `harness`.
    """
    here = {""}
    with contextlib.suppress(OSError):  # somebody may have removed it
        here.add(str(Path.cwd()))
    return [sys.executable, *([] if here & set(sys.path) else ["-P"]), "-m", module]


def pin(number: int, processes: int) -> None:
    """Keep this process on a core of its own: two that spin on one core would leave one after the other.

    Only where cores are scarce; elsewhere the kernel finds an idle one, and knows better which.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if processes > 1 and len(cores) <= processes + 1:
            os.sched_setaffinity(0, {cores[number % len(cores)]})


async def _run(begin: Begin) -> None:
    """Read orders until stdin ends."""
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    carry_out = await begin(json.loads(await reader.readline()))
    say({"ready": True})
    running: asyncio.Task[None] | None = None
    while line := await reader.readline():
        if running is not None:
            await running
        running = asyncio.create_task(_answer(carry_out, line.decode()))
    os._exit(0)  # the parent is gone: nothing is left to tell anybody


async def _answer(carry_out: CarryOut, line: str) -> None:
    try:
        answer = await carry_out(line)
    except RaceError as error:
        answer = {"error": str(error), "exit": error.exit_code}
    except (StoreFault, OSError) as fault:
        answer = {"lost": f"{fault}"}
    except Exception as error:  # a layout's encode or decode is the user's, too
        answer = {"error": described(error), "exit": UsageError.exit_code}
    say(answer)


_ANSWERS = 1
"""Where answers go. What a user's script prints must not get among them."""


def keep_answers_apart() -> None:
    """Give the descriptor of stdout to answers alone."""
    global _ANSWERS  # noqa: PLW0603 - one for the process, like the descriptor that it stands for
    _ANSWERS = os.dup(1)
    os.dup2(2, 1)


def say(answer: dict[str, Any]) -> None:
    """Write an answer to the parent."""
    data = json.dumps(answer).encode() + b"\n"
    while data:
        data = data[os.write(_ANSWERS, data) :]


def serve(begin: Begin) -> None:
    """Be a child: `begin` is given the first line and says how orders are carried out."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides what Ctrl-C means, and ends its workers
        signal.signal(number, signal.SIG_IGN)
    keep_answers_apart()
    try:
        with Watch(_endless):
            uvloop.run(_run(begin))
    except SystemExit as error:  # by a script: the answer to whatever was asked
        _refuse(described(error))


def _endless(blame: str) -> None:
    """A script holds this process for ever: that is the answer to whatever was asked."""
    _refuse(blame)


def _refuse(blame: str) -> NoReturn:
    say({"error": blame, "exit": UsageError.exit_code})
    os._exit(UsageError.exit_code)
