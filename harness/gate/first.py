"""The file that `race check --init` writes: it passes as it is, and says what else there is."""

from __future__ import annotations

from pathlib import Path

from harness.model import UsageError
from harness.results.save import write_file

FIRST = """\
# What race check guards: cells, each a scenario under a strategy, and what must hold of them.
# `race check --dry-run` prints what would be run. Every key but scenario and strategy may be left out.

seed = 1                # draws the bursts: the same schedules are explored every time
budget = 30             # seconds for each cell, at most
# schedules = ["races/*.json"]    # saved by race explore --save: each must no longer happen
# tolerance = 0.3       # by how much a figure may be worse than its --baseline

[[cells]]
scenario = "double-submit"        # a name of race list, or a script: "./my_rule.py"
strategy = "lua"                  # likewise: "./my_fix.py", "watch", "pg-for-update"
explored = "proved"     # every order of two requests: proved, bounded (nothing found) or violated
verdict = "held"        # under load: held or violated
bursts = 500
thresholds = [
    "violations == 0",
    # "errors == 0",                  # errors and give-ups that callers were shown
    # "p(99) < 50ms",                 # p(50), p(90), p(95), p(99), p(99.9), med, max; under sustained load
    # "throughput > 1000",            # requests a second; it depends on the machine
    # "relative_throughput > 0.5",    # of the fastest that held beside it, in the same run
]
# rule = "drop"                   # one of the scenario's rules
# size = 2                        # requests that are explored in every order
# load_size = 4                   # requests in a burst of the load
# processes = 2
# faults = ["crash", "pause"]     # explored, too: also lost-reply, duplicate, or "all"
# against = ["lua", "watch"]      # beside what the cost is measured

# A gate that cannot fail guards nothing: here the unprotected way must break.
[[cells]]
scenario = "double-submit"
strategy = "naive"
explored = "violated"
"""


def write_first(path: Path) -> None:
    """Write the first file, where there is none. Raises UsageError."""
    if path.exists():
        raise UsageError(f"{path} is there already: edit it, or remove it first")
    write_file(path, FIRST)
