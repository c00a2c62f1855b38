"""On a terminal of 80 columns, with and without colours, quiet, and in a pipe: the same lines, and no others."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

EXPLORE = ("explore", "double-submit", "--strategy", "naive", "--seed", "1")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def command(*words: str) -> list[str]:
    """As from a prompt."""
    return [sys.executable, "-m", "harness", *words]


def on_terminal(cwd: Path, *words: str, **more: str) -> str:
    """All that reaches a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "TERM"}}
    with subprocess.Popen(
        command(*words), cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**environment, "TERM": "xterm-256color", **more},
    ):  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            try:
                read = os.read(ours, 1 << 16)
            except OSError:  # Linux says so where others give nothing: everybody has left
                break
            if not read:
                break
            shown += read
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def lines(shown: str) -> list[str]:
    """What stays to be read: without escapes, and without what was drawn over."""
    return [line.rsplit("\r", 1)[-1] for line in ESCAPE.sub("", shown).splitlines()]


def test_without_colours(tmp_path: Path) -> None:
    """With NO_COLOR a terminal shows what a pipe has, 80 columns wide, and after it where that was saved."""
    piped = subprocess.run(command(*EXPLORE), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (piped.returncode, piped.stderr, ESCAPE.search(piped.stdout)) == (1, "", None)
    shown = on_terminal(tmp_path, *EXPLORE, NO_COLOR="1")
    assert COLOUR.findall(shown) == []
    whole = lines(shown)
    stays = [line for line in whole[next(at for at, line in enumerate(whole) if "VIOLATED" in line) :] if line]
    assert stays[-1].startswith("saved in results/runs/")
    assert max(map(len, stays)) <= 80
    timed = re.compile(r"runs/\S+| [\d.]+ s$")
    assert [timed.sub("", line) for line in stays[:-1]] == [
        timed.sub("", line) for line in piped.stdout.split("\n") if line
    ]


def test_quiet_in_colour(tmp_path: Path) -> None:
    """The result, and nothing else: no progress before it, no remark after it."""
    shown = on_terminal(tmp_path, *EXPLORE, "--quiet")
    assert shown.startswith("  \x1b[1;31mVIOLATED\x1b[0m")
    assert lines(shown)[-1].startswith("  Again")
