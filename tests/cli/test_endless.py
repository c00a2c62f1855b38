"""Scripts that never let go are blamed, and ended; those that are only busy are not."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.model import OWN, SCRIPT, UsageError
from harness.model.endless import Watch

pytestmark = pytest.mark.timeout(method="thread")  # the other one uses the timer
LOOKS = 3
SCRIPT_TEXT = """
import asyncio, signal

def rule(looks):
    for _ in range(looks):
        signal.raise_signal(signal.SIGALRM)

async def strategy(looks, lets_go):
    for _ in range(looks):
        signal.raise_signal(signal.SIGALRM)
        if lets_go:
            await asyncio.sleep(0)

def stubborn(looks):
    for _ in range(looks):
        try:
            signal.raise_signal(signal.SIGALRM)
        except Exception:
            pass
"""


class Blamed:
    """Keeps what it is told, and ends the script."""

    def __init__(self) -> None:
        """Of nothing yet."""
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        """Raises UsageError."""
        self.lines.append(line)
        raise UsageError(line)


def script(*, own: bool = True) -> dict[str, Any]:
    """What a script defines, each look a signal that it sends to itself: no time passes."""
    names: dict[str, Any] = {SCRIPT: "my_fix.py", OWN: own}
    exec(SCRIPT_TEXT, names)
    return names


@pytest.fixture
def blamed(monkeypatch: pytest.MonkeyPatch) -> Blamed:
    """Who is told."""
    monkeypatch.setattr(sys, "gettrace", lambda: None)  # tests may run under one
    return Blamed()


def test_a_call_that_never_ends(blamed: Blamed) -> None:
    """The line that is being run is named, and ended."""
    with Watch(blamed, 3_600, LOOKS), pytest.raises(UsageError, match=r"my_fix\.py:6: still running"):
        script()["rule"](LOOKS + 1)
    assert len(blamed.lines) == 1


def test_a_coroutine_that_never_waits(blamed: Blamed) -> None:
    """Likewise within an event loop."""
    with Watch(blamed, 3_600, LOOKS), pytest.raises(UsageError, match=r"my_fix\.py:10: still running"):
        asyncio.run(script()["strategy"](LOOKS + 1, lets_go=False))


def test_one_that_catches_everything(blamed: Blamed) -> None:
    """It is blamed again at each look, for somebody to lose patience."""
    with Watch(blamed, 3_600, LOOKS):
        script()["stubborn"](LOOKS + 3)
    assert len(blamed.lines) == 3


def test_who_is_only_busy(blamed: Blamed) -> None:
    """Many short calls, a coroutine that lets others go on, a short look at a long call, a script of race's own."""
    names = script()
    with Watch(blamed, 3_600, LOOKS):
        for _ in range(3 * LOOKS):
            names["rule"](1)
        asyncio.run(names["strategy"](3 * LOOKS, lets_go=True))
        names["rule"](LOOKS)
        script(own=False)["rule"](3 * LOOKS)
    assert blamed.lines == []


ENDLESS = '''
"""A fix that never ends."""

from harness import Claim, Strategy


class Endless(Strategy):
    """Waits for nobody."""

    summary = "never ends"

    def claims(self, conditions):
        """Holds, of course."""
        return Claim("holds", "nobody ever writes")

    async def apply(self, session, request, rule):
        """Read, and never write."""
        await session.redis("GET", request.key)
        while True:
            pass
'''


@pytest.mark.long
@pytest.mark.parametrize("command", ["explore", "run"])
def test_commands(tmp_path: Path, command: str) -> None:
    """One line with the place, exit 2: neither held nor proved."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    ended = subprocess.run(
        [sys.executable, "-m", "harness", command, "counter", "--strategy", "./endless.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    line = ended.stderr.partition(": still running")[0]
    assert (ended.returncode, ended.stdout, line) == (2, "", "race: endless.py:19")


def test_the_timer_is_given_back() -> None:
    """Nothing rings once the watch is over."""
    before = signal.getsignal(signal.SIGALRM)
    with Watch(Blamed()):
        assert signal.getitimer(signal.ITIMER_REAL)[1] > 0
    assert (signal.getitimer(signal.ITIMER_REAL), signal.getsignal(signal.SIGALRM)) == ((0.0, 0.0), before)
