"""The command line: one function for each command, thin: parse, build, run, report."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `race`. Ctrl-C is heard from here on, while the rest is still being read, too."""
    try:
        from harness.cli.entry import main as entered

        entered(arguments)
    except KeyboardInterrupt:
        _interrupted()


def _interrupted() -> NoReturn:
    """Nothing was begun: one line, and the exit code of what is interrupted."""
    sys.stderr.write("race: interrupted\n")
    sys.stderr.flush()
    os._exit(130)


__all__ = ["main"]
