"""A schedule as a file: what was chosen and what it did, readable by any version of Python.

The steps are kept beside the choices, so that a replay can tell whether the program still does the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.burst.plan import Cell
from harness.explore.engine import Schedule
from harness.explore.event import Choice
from harness.explore.options import Options
from harness.model import UsageError

SCHEMA = "race.schedule/1"
_NEEDED = ("scenario", "strategy", "rule", "size", "processes", "seed", "faults", "choices", "commands", "says")


def schedule_document(cell: Cell, options: Options, schedule: Schedule) -> dict[str, Any]:
    """What `race replay` needs to play a schedule again."""
    return {
        "schema": SCHEMA,
        "scenario": cell.scenario,
        "strategy": cell.strategy,
        "rule": cell.rule,
        "size": options.size,
        "processes": options.processes,
        "seed": options.seed,
        "faults": list(options.faults),
        "most_faults": options.most_faults,
        "without": list(schedule.without),
        "says": schedule.says,
        "choices": [list(choice) for choice in schedule.choices],
        "commands": commands(schedule),
    }


def commands(schedule: Schedule) -> list[str]:
    """What each caller sent, in order."""
    return [f"{step.caller}: {' '.join(step.command)}" for step in schedule.steps if step.kind != "decide"]


def read_schedule(path: Path) -> tuple[Cell, Options, list[Choice], Mapping[str, Any]]:
    """A saved schedule. Raises UsageError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is no JSON: {error}") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise UsageError(f"{path} is no saved schedule ({SCHEMA}): race explore ... --save FILE makes one")
    missing = [name for name in _NEEDED if name not in data]
    if missing:
        raise UsageError(f"{path}: '{missing[0]}' is missing")
    try:
        choices = [Choice(str(kind), str(caller)) for kind, caller in data["choices"]]
        options = Options(
            size=int(data["size"]), processes=int(data["processes"]), faults=tuple(data["faults"]),
            most_faults=int(data.get("most_faults", 1)), seed=int(data["seed"]),
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    return Cell(data["scenario"], data["strategy"], data["rule"]), options, choices, data
