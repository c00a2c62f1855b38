"""Schedules that failed a gate, kept beside it and replayed first the next time, until they pass."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.explore import schedule_document
from harness.model import UsageError
from harness.results.save import write_file

if TYPE_CHECKING:
    from harness.burst import Cell
    from harness.explore import Options, Schedule

PLACE = Path(".race") / "failures"
Key = tuple[str, str, str]
"""Scenario, strategy and rule of a cell, as its file names them."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept schedule, and the cell that it belongs to."""

    path: Path
    key: Key


class Failures:
    """The folder of kept schedules: one for each cell."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where the gate's file, or the test session, lies. Nothing is made yet."""
        self.place = folder / PLACE

    def kept(self) -> list[Kept]:
        """All of them, in a fixed order; what is no schedule of a gate is left alone. Raises UsageError."""
        found = []
        for path in sorted(self.place.glob("*.json")) if self.place.is_dir() else []:
            key = _key(path)
            if key is not None:
                found.append(Kept(path, key))
        return found

    def keep(self, key: Key, cell: Cell, options: Options, smallest: Schedule) -> Path:
        """Write the smallest schedule of a cell over its last one. Raises UsageError."""
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            ignored = self.place.parent / ".gitignore"
            if not ignored.exists():  # what is to stay for good is copied to a place that is committed
                ignored.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {self.place}: {error.strerror}") from None
        document: dict[str, Any] = {**schedule_document(cell, options, smallest), "cell": list(key)}
        path = self.place / _name(key)
        write_file(path, json.dumps(document, indent=2) + "\n")
        return path


def _key(path: Path) -> Key | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    cell = data.get("cell") if isinstance(data, dict) else None
    if not isinstance(cell, list) or len(cell) != 3:
        return None
    return str(cell[0]), str(cell[1]), str(cell[2])


def _name(key: Key) -> str:
    """Readable, and different for different cells."""
    words = [re.sub(r"[^A-Za-z0-9]+", "-", Path(one).name.replace(".py", "")).strip("-") for one in key if one]
    return f"{'-'.join(words)[:60]}-{hashlib.sha256(repr(key).encode()).hexdigest()[:8]}.json"
