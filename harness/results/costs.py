"""What cells cost, from the latest result that tells: a run of one's own, else the table that comes with race."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.results.environment import machine
from harness.results.matrix import SCHEMA, matrix_rows, references
from harness.results.read import kept_files, read_kept

TABLE = "matrix.json"
_MOST_READ = 40
"""So many of the latest documents are looked at."""
_ENOUGH = 0.5
"""A result that has fewer of the cells asked for tells of others."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured rows, as in a matrix, the fastest that held of each place, and where they are from.

    `here`: on this machine.
    """

    rows: Sequence[Row]
    fastest: Sequence[Row]
    file: str
    bundled: bool
    here: bool
    started_at: str
    cpus: int
    platform: str


def costs_of(wanted: Callable[[Row], bool], cells: int, folder: Path, *, whole: bool = False) -> Costs | None:
    """The rows that are wanted, of the latest result that has half of so many cells; None where nothing has one.

    `whole`: of a matrix only.
    """
    for path, bundled, document in _documents(folder):
        if whole and document["schema"] != SCHEMA:
            continue
        every = document["rows"] if document["schema"] == SCHEMA else matrix_rows(document)
        rows = [row for row in every if wanted(row)]
        if rows and len(rows) >= _ENOUGH * cells:
            about = document["environment"]
            here = about.get("machine") == machine()
            return Costs(
                rows, references(every), path, bundled, here, document["started_at"], about["cpus"], about["platform"]
            )
    return None


def _documents(folder: Path) -> Iterator[tuple[str, bool, Mapping[str, Any]]]:
    """Comparisons and matrices: the latest run first, then the table of the folder, then the one that came along."""
    for path in reversed(kept_files(folder)[-_MOST_READ:]):
        if path.stem.endswith(("-compare", "-matrix")):
            kept = read_kept(path)
            if kept is not None and kept.document is not None and "rows" in kept.document:
                yield str(path), False, kept.document
    own = folder / TABLE
    there = bundled_table()
    if own.is_file() and not (there is not None and own.resolve() == there[0]):
        kept = read_kept(own)
        if kept is not None and kept.document is not None and kept.document["schema"] == SCHEMA:
            yield str(own), False, kept.document
    if there is not None:
        yield f"results/{TABLE}", True, there[1]


@cache
def bundled_table() -> tuple[Path, Mapping[str, Any]] | None:
    """The matrix that comes with race, and where it lies: in a wheel inside `harness`, in a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    for path in (package / "_bundled" / "results" / TABLE, package.parent / "results" / TABLE):
        if path.is_file():
            found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return path, found
    return None
