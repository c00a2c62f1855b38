"""Reads kept documents: what is not as its schema says is told by name, and never half understood."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.model import UsageError
from harness.results.schema import RESULTS, SCHEMAS, kind_of, schema_text
from harness.results.shelf import LATEST, RUNS, SCHEDULE, number_of

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

    from harness.results.build import Document

_BACK = re.compile(r"latest(?:~(\d{1,6}))?")


class NoResultError(UsageError):
    """A document of ours that is none of a run: a saved schedule, say."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the results folder: its document, or what is wrong with it."""

    path: Path
    document: Document | None
    problem: str = ""

    @property
    def number(self) -> int | None:
        """The run's number; None for a file that got its name elsewhere."""
        return number_of(self.path)


def kept_files(folder: Path) -> list[Path]:
    """The documents of all runs kept in a results folder, the oldest first; no schedules."""
    runs = folder / RUNS
    if not runs.is_dir():
        return []
    paths = [
        path
        for path in runs.glob("*.json")
        if not path.name.startswith(".") and path.name != LATEST and not path.name.endswith(SCHEDULE)
    ]
    return sorted(paths, key=lambda path: (number_of(path) or 0, path.name))


def read_kept(path: Path) -> Kept | None:
    """A file and what is in it, readable or not; None where it is no result."""
    try:
        return Kept(path, read_document(path))
    except NoResultError:
        return None
    except UsageError as error:
        return Kept(path, None, str(error).removeprefix(f"{path} ").removeprefix(f"cannot read {path}: "))


def find_document(name: str, folder: Path) -> tuple[Path, Document]:
    """The document of a run: by its number, `latest`, `latest~2` (the second before it) or by its file.

    Raises UsageError.
    """
    if name == LATEST and not Path(name).exists():  # the link's name, from where the folder of all results is
        name = "latest"
    back = _BACK.fullmatch(name)
    if back is None and not name.isdecimal():
        return Path(name), read_document(Path(name))
    paths = kept_files(folder)
    if back is not None:
        place = int(back[1] or 0) + 1
        paths = paths[-place:][:1] if place <= len(paths) else []
    else:
        paths = [path for path in paths if number_of(path) == int(name)]
    if not paths:
        raise UsageError(f"no run {name} in {folder / RUNS}; race report list shows what is there")
    return paths[0], read_document(paths[0])


def read_document(path: Path) -> Document:
    """A document of ours, as its schema promises it. Raises UsageError with one line that names the file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON: {error}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or not schema.startswith("race."):
        raise UsageError(f"{path} is no document of race")
    name, version = kind_of(schema), schema.partition("/")[2]
    if name not in RESULTS:
        raise NoResultError(f"{path} is a {schema}, which is no result")
    known = SCHEMAS[name].removesuffix(".json").rpartition("-")[2]
    if version != known:
        raise UsageError(f"{path} is a {schema}: this version of race reads race.{name}/{known}")
    for part in _parts(document):
        problem = _problem(part)
        if problem:
            raise UsageError(f"{path} is no {part['schema']}{problem}")
    return dict(document)


@contextmanager
def making_sense(path: Path) -> Iterator[None]:
    """Around what is made of a document: its schema cannot say all, that each step has a caller, say.

    Raises UsageError that names the file.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{path} makes no sense: {type(error).__name__}: {_short(str(error))}") from error


def _parts(document: Document) -> Iterator[Document]:
    """The document, and those of runs, comparisons and explorations that a check consists of."""
    yield document
    for cell in document["cells"] if document["schema"].startswith("race.check/") else ():
        for part in (cell["explored"], cell["load"], cell["cost"]):
            if part is not None:
                yield {"schema": "race.unknown/0", **part}


def _problem(document: Document) -> str:
    """What is wrong with it, and where; empty where nothing is."""
    from jsonschema.exceptions import best_match

    name = kind_of(str(document["schema"]))
    if name not in RESULTS:
        return ": unknown"
    wrong = best_match(_validator(name).iter_errors(document))
    if wrong is not None:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in wrong.absolute_path)
        at = f" at {where.lstrip('.')}" if where else ""
        return f"{at}: {_short(wrong.message)}"
    try:
        datetime.fromisoformat(document.get("started_at", "2026-01-01"))
    except ValueError:
        return " at started_at: it is no time"
    return ""


@cache
def _validator(name: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema_text(name)))


def _short(message: str) -> str:
    """One line: a message may quote the whole value."""
    line = " ".join(message.split())
    return line if len(line) <= 160 else f"{line[:80]} .. {line[-76:]}"
