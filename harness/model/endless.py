"""Scripts that never let go: a loop without end in a rule or a strategy, noticed from inside.

Nothing else of the process gets a turn then: neither a time-out nor a budget, nor the first Ctrl-C. A timer's signal
does; it interrupts the script, and sees by the interrupted frames whose line is being run.
"""

from __future__ import annotations

import contextlib
import inspect
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Self

from harness.model.blame import OWN, SCRIPT

_LOOK_S = 1.0
"""Seconds between two looks."""
_LOOKS = 10


class Watch:
    """Looks every now and then what the main thread is at, as a context.

    `blame` is told, in one line, that one call into a user's script has held it for `looks` looks; again at each
    further look, while that goes on. What it raises is raised in that script. Looks are counted, not seconds: a process
    that was stopped has missed them. Under a debugger nobody is blamed.
    """

    def __init__(self, blame: Callable[[str], None], look_s: float = _LOOK_S, looks: int = _LOOKS) -> None:
        """Does not look yet."""
        self._blame = blame
        self._look_s = look_s
        self._looks = looks
        self._held: FrameType | None = None
        self._seen = 0
        self._outside: frozenset[FrameType] = frozenset()

    def __enter__(self) -> Self:
        """From now on; only in the main thread. Where somebody else uses the timer (a test's time-out), never.

        What calls from outside, a test, say, that lies in one file with the rule it tries, is not what is looked at.
        """
        self._outside = frozenset(_scripts(inspect.currentframe()))
        self._looking = signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        if self._looking:
            self._before = signal.signal(signal.SIGALRM, self._look)
            signal.setitimer(signal.ITIMER_REAL, self._look_s, self._look_s)
        return self

    def __exit__(self, *error: object) -> None:
        """No more."""
        if self._looking:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)
        self._turned()
        self._outside = frozenset()

    def _look(self, _number: int, frame: FrameType | None) -> None:
        scripts = [frame for frame in _scripts(frame) if frame not in self._outside]
        outermost = scripts[-1] if scripts else None
        if outermost is None or sys.gettrace() is not None:
            self._turned()
        elif outermost is not self._held:
            import asyncio  # which a command that runs no script does without

            self._held, self._seen = outermost, 0
            with contextlib.suppress(RuntimeError):  # no event loop: then a call that goes on is all there is
                # A coroutine's frame is the same after it has waited; the loop has turned meanwhile.
                asyncio.get_running_loop().call_soon_threadsafe(self._turned)
        else:
            self._seen += 1
            if self._seen >= self._looks:
                place = f"{scripts[0].f_globals[SCRIPT]}:{scripts[0].f_lineno}"
                self._blame(
                    f"{place}: still running after {self._seen * self._look_s:g} s, and nobody else gets a turn: "
                    "does this loop end?"
                )

    def _turned(self) -> None:
        """Somebody else had a turn."""
        self._held, self._seen = None, 0


def _scripts(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the user's own scripts, the innermost first."""
    while frame is not None:
        if frame.f_globals.get(SCRIPT) is not None and frame.f_globals.get(OWN):
            yield frame
        frame = frame.f_back
