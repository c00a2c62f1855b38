"""Exit codes, and the one line in which a failure is told."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

OK, FOUND, WRONG_USAGE, INCONCLUSIVE, INTERRUPTED = 0, 1, 2, 3, 130
BUG = 70
"""EX_SOFTWARE of sysexits.h: never mistaken for a verdict."""


def tell(message: str) -> None:
    """One line on stderr."""
    line = " ".join(message.split())
    sys.stderr.write(f"race: {line}\n")


def bug(error: Exception) -> int:
    """Say that this is race's own fault and where the trace lies; RACE_TRACEBACK=1 shows it."""
    if os.environ.get("RACE_TRACEBACK") == "1":
        traceback.print_exception(error)
        return BUG
    where = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="race-trace-", suffix=".txt", delete=False, encoding="utf-8"
        ) as trace:
            traceback.print_exception(error, file=trace)
        where = f"; the trace is in {Path(trace.name)}"
    except OSError:
        where = "; RACE_TRACEBACK=1 shows the trace"
    tell(f"a bug of race itself, please report it: {type(error).__name__}: {error}{where}")
    return BUG
