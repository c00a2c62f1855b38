"""The document of a list of kept runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.report.kept import run_line
from harness.results.read import kept_files, read_kept
from harness.results.shelf import RUNS

if TYPE_CHECKING:
    from harness.results.build import Document


def runs_document(folder: Path, last: int) -> Document:
    """The `race.runs/1` document: the last so many runs of a results folder, and what of them cannot be read."""
    paths = kept_files(folder)
    kept = list(filter(None, map(read_kept, paths[-last:])))
    return {
        "schema": "race.runs/1",
        "folder": str(folder / RUNS),
        "runs": [run_line(one.number, str(one.path), one.document) for one in kept if one.document is not None],
        "unreadable": [{"file": str(one.path), "problem": one.problem} for one in kept if one.document is None],
        "before": max(0, len(paths) - last),
    }
