"""Whose script raised an error: its path as the user wrote it, and the line of it that was the last to be run.

The loader leaves its marks among the globals of every script. Between a user's script and the error there may be
a layout, a bundled scenario or a library: the user's own line says most, whoever raised in the end.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from harness.model.words import Outcome, Reply, Request

SCRIPT = "__race_script__"
"""The global of a script that holds its path: as the user wrote it, or of a bundled one as it lies."""
OWN = "__race_own__"
"""The global of a script that says whether it is the user's rather than a bundled one."""


def blamed(error: BaseException) -> str | None:
    """`my_fix.py:10: KeyError: 'where'` where one of the user's own scripts takes part, else None."""
    place = _place(error, own=True)
    return None if place is None else f"{place}: {says(error)}"


def described(error: BaseException) -> str:
    """The same; else by the bundled script that was the last to take part; else the error alone."""
    place = _place(error, own=True) or _place(error, own=False)
    return says(error) if place is None else f"{place}: {says(error)}"


def says(error: BaseException) -> str:
    """Kind and message in one line."""
    message = str(error.msg if isinstance(error, SyntaxError) else error)
    first = (message.strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def where(function: Callable[..., Any]) -> str:
    """`my_rule.py:6: ` for a function of a script, "" for any other."""
    function = getattr(function, "__func__", function)
    script = getattr(function, "__globals__", {}).get(SCRIPT)
    code = getattr(function, "__code__", None)
    return f"{script}:{code.co_firstlineno}: " if script is not None and code is not None else ""


def no_outcome(rule: Callable[..., Any], request: Request, answer: object) -> str:
    """What is said of a rule that answers something that cannot be judged; "" where there is nothing to say."""
    if type(answer) is not Outcome:
        return f"{where(rule)}a rule must return a harness.Outcome, not {answer!r:.60}"
    changes, reply = answer
    if type(reply) is not Reply or type(reply.decision) is not str:
        return f"{where(rule)}an Outcome's reply must be a harness.Reply, its decision a text, not {reply!r:.60}"
    for key in changes:
        if key not in request.keys:
            return f"{where(rule)}a rule may change only the keys that its request names, not {key!r:.60}"
    return ""


def no_reply(answering: Callable[..., Any], answer: object) -> str:
    """What is said of a strategy's method that answers something else."""
    return f"{where(answering)}a strategy must answer with a harness.Reply, not {answer!r:.60}"


def _place(error: BaseException, *, own: bool) -> str | None:
    """The innermost line of a script."""
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        names = frame.f_globals
        if SCRIPT in names and names[OWN] >= own:
            place = f"{names[SCRIPT]}:{line}"
    return place
