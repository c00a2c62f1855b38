"""In detangle's own environment: judge the history in a file, and say how long that took.

Started as `python detangle_judge.py FILE`; prints one line of JSON. Reading is not timed.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from detangle import lin


class Keyed(lin.Model):
    """A register or a counter for each key."""

    def init(self) -> int:
        """-1: nothing yet."""
        return -1

    def step(self, state: int, op: lin.Operation) -> tuple[bool, int]:
        """What an operation does, and whether it may have answered that."""
        one = op.arg
        match op.f:
            case "add":
                return one["seen"] == max(state, 0) + 1, max(state, 0) + 1
            case "read":
                return one["seen"] == state, state
            case "write":
                return True, one["new"]
        swapped = state == one["old"]
        return one["swapped"] == swapped, one["new"] if swapped else state

    def partition(self, operations: Sequence[lin.Operation]) -> list[list[lin.Operation]]:
        """Key by key."""
        parts: dict[str, list[lin.Operation]] = {}
        for one in operations:
            parts.setdefault(one.arg["key"], []).append(one)
        return list(parts.values())


def main() -> None:
    """Judge."""
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 - short
        rows: list[dict[str, Any]] = json.load(file)
    operations = [
        lin.Operation(n, one["caller"], one["f"], one, one["call"], 0.0, None, lin.OK, one["return"])
        for n, one in enumerate(rows)
    ]
    began = time.monotonic()
    found = lin.check(operations, Keyed(), budget=1 << 40)
    print(json.dumps({"elapsed_s": time.monotonic() - began, "ok": found.ok}))


main()
