"""The results folder: runs with numbers, all that one keeps under its own, and a link to the latest."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.model import UsageError
from harness.results.save import cannot_write, write_file

if TYPE_CHECKING:
    from harness.results.build import Document

RUNS, LATEST, SCHEDULE = "runs", "latest.json", ".schedule.json"

_NUMBER = re.compile(r"(\d{4,6})[-.]")
"""At the beginning of a name; a timestamp, by which runs once were named, has more digits."""


class Shelf:
    """Where one run keeps its documents: under one number, the next that is free.

    The commit and the time are in the document; the name tells runs apart, and what they were of.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is touched yet."""
        self.folder = folder
        self._number: int | None = None

    def check(self) -> None:
        """Make the folder and try to write in it. Raises UsageError."""
        with self._told():
            (self.folder / RUNS).mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder / RUNS, prefix=".try-") as attempt:
                attempt.write(b"race")

    def keep(self, document: Document) -> Path:
        """Write the document of the run; it is the latest now. Raises UsageError."""
        path = self._write(document, f"-{_what(document)}.json")
        with contextlib.suppress(OSError):  # a convenience for others, on file systems that have links
            draft = path.with_name(f".{LATEST}-{os.getpid()}")
            draft.symlink_to(path.name)
            draft.replace(path.with_name(LATEST))
        return path

    def keep_schedule(self, document: Document) -> Path:
        """Write a schedule that the run found, beside its document. Raises UsageError."""
        return self._write(document, SCHEDULE)

    def _write(self, document: Document, ending: str) -> Path:
        text = json.dumps(document, indent=2) + "\n"
        with self._told():
            runs = self.folder / RUNS
            runs.mkdir(parents=True, exist_ok=True)
            with _alone(runs):
                if self._number is None:
                    self._number = 1 + max(filter(None, map(number_of, runs.iterdir())), default=0)
                path = runs / f"{self._number:04}{ending}"
                write_file(path, text)
        return path

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = cannot_write(self.folder, error, "results folder ")
            raise UsageError(f"{what}; --results chooses another") from error


def number_of(path: Path) -> int | None:
    """The number of the run that a file belongs to."""
    found = _NUMBER.match(path.name)
    return int(found[1]) if found else None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs that end together do not get the same number."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _what(document: Document) -> str:
    """Scenario and strategy; where there is none, the command."""
    if "scenario" not in document:
        return _slug(document["schema"].removeprefix("race.").split("/")[0])
    return f"{_slug(document['scenario'])}-{_slug(document.get('strategy', 'compare'))}"


def _slug(name: str) -> str:
    """A name fit for a file: `./my_fix.py:blind` becomes `my_fix-blind`."""
    last = name.rsplit("/", 1)[-1].replace(".py", "")
    return re.sub(r"[^A-Za-z0-9_]+", "-", last).strip("-") or "unnamed"
