"""Keeps documents on disk: whole or not at all, and refused before the load when it cannot work."""

from __future__ import annotations

import json
import os
import re
import tempfile
from datetime import datetime
from pathlib import Path

from harness.model import UsageError
from harness.results.build import Document

RUNS = "runs"


def check_folder(folder: Path) -> None:
    """Make the results folder and try to write in it. Raises UsageError."""
    try:
        (folder / RUNS).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder / RUNS, prefix=".try-") as attempt:
            attempt.write(b"race")
    except OSError as error:
        raise UsageError(_cannot_write(folder, error, "results folder ") + "; --results chooses another") from error


def check_file(path: Path) -> None:
    """Try whether a file could be written, without touching one that is there. Raises UsageError."""
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder", str(path))
        if path.exists():
            with path.open("ab"):
                return
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".try-"):
            pass
    except OSError as error:
        raise UsageError(_cannot_write(path, error)) from error


def save_document(document: Document, folder: Path) -> Path:
    """Write a document under `folder`/runs, named by its start and what was run. Raises UsageError."""
    text = json.dumps(document, indent=2) + "\n"
    stem = f"{_timestamp(document['started_at'])}-{_run(document)}"
    try:
        (folder / RUNS).mkdir(parents=True, exist_ok=True)
        path = _reserve(folder / RUNS, stem)
        try:
            write_file(path, text)
        except UsageError:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(_cannot_write(folder, error, "results folder ") + "; --results chooses another") from error
    return path


def write_file(path: Path, text: str) -> None:
    """Replace a file by a whole new one; what is no regular file is written straight. Raises UsageError."""
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as draft:
            try:
                draft.write(text)
                draft.flush()
                os.fsync(draft.fileno())
                Path(draft.name).chmod(0o666 & ~_umask())
                Path(draft.name).replace(path)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UsageError(_cannot_write(path, error)) from error


def _reserve(folder: Path, stem: str) -> Path:
    """The first free name: two runs may have begun in the same second."""
    number = 1
    while True:
        path = folder / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return path


def _timestamp(started_at: str) -> str:
    return datetime.fromisoformat(started_at).strftime("%Y%m%dT%H%M%S")


def _run(document: Document) -> str:
    """Scenario and strategy; where there is none, the command."""
    if "scenario" not in document:
        return _slug(document["schema"].removeprefix("race.").split("/")[0])
    return f"{_slug(document['scenario'])}-{_slug(document.get('strategy', 'compare'))}"


def _slug(name: str) -> str:
    """A name fit for a file: `./my_fix.py:blind` becomes `my_fix-blind`."""
    last = name.rsplit("/", 1)[-1].replace(".py", "")
    return re.sub(r"[^A-Za-z0-9_]+", "-", last).strip("-") or "unnamed"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cannot_write(path: Path, error: OSError, what: str = "") -> str:
    return f"cannot write {what}{path}: {error.strerror or error}"
