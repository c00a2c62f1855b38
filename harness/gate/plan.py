"""What a gate guards: race.toml, or [tool.race] in pyproject.toml, read and checked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from harness.explore import FAULTS, SEARCHES
from harness.gate.thresholds import Threshold, parse_threshold
from harness.model import UsageError
from harness.strategy.loader import nearest

FILE, PROJECT = "race.toml", "pyproject.toml"
LOADED = ("held", "violated")
EXPLORED = ("proved", "bounded", "violated")
BUDGET_S, TOLERANCE = 30.0, 0.3
LOAD_SIZE = 4
"""Requests in a burst of the load: of four, some overlap on a busy machine, too, so that the control breaks."""
_HEADER = re.compile(r"^\s*\[\[\s*(?:tool\s*\.\s*race\s*\.\s*)?cells\s*\]\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Guarded:
    """One cell, how it is tried, and what must hold. `line` is where the file begins it; `budget_s` is for all of it.

    `verdict` is of the load, in bursts of `load_size`; `explored` of every order of `size` requests: "" where that is
    not asked for.
    """

    scenario: str
    strategy: str
    rule: str = ""
    name: str = ""
    line: int = 1
    verdict: str = ""
    explored: str = ""
    thresholds: tuple[Threshold, ...] = ()
    size: int = 2
    load_size: int = LOAD_SIZE
    processes: int = 2
    bursts: int = 1000
    think_ms: float = 0.0
    work_us: int = 300
    faults: tuple[str, ...] = ()
    search: str = "exhaustive"
    max_schedules: int = 100_000
    max_switches: int | None = None
    against: tuple[str, ...] | None = None
    budget_s: float = BUDGET_S

    @property
    def title(self) -> str:
        """What the cell is called in reports."""
        if self.name:
            return self.name
        rule = f" ({self.rule})" if self.rule else ""
        return f"{self.scenario} under {self.strategy}{rule}"

    def asks(self, measure: str) -> bool:
        """Whether something must hold that is measured so: `explored`, `load` or `cost`."""
        said = {"explored": bool(self.explored), "load": bool(self.verdict)}.get(measure, False)
        return said or any(threshold.metric.measure == measure for threshold in self.thresholds)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one file asks for. Paths in it are relative to `folder`, where it lies.

    `tolerance`: by how much a figure may be worse than its baseline, as a share of that.
    """

    path: Path
    cells: tuple[Guarded, ...] = ()
    schedules: tuple[str, ...] = ()
    seed: int = 1
    tolerance: float = TOLERANCE

    @property
    def folder(self) -> Path:
        """Where the file lies."""
        return self.path.parent


def find_plan(chosen: Path | None, folder: Path = Path()) -> Plan:
    """The plan of the file chosen, or of this folder. Raises UsageError."""
    path = chosen
    if path is None:
        places = [place for place in (folder / FILE, folder / PROJECT) if place.is_file()]
        path = next((place for place in places if place.name != PROJECT or _has_table(place)), None)
    if path is None:
        raise UsageError(f"no {FILE} here, and no [tool.race] in a {PROJECT}: race check --init writes one")
    return read_plan(path)


def read_plan(path: Path) -> Plan:
    """The plan of one file. Raises UsageError, with file and line."""
    text, data = _loaded(path)
    table = data.get("tool", {}).get("race", {}) if path.name == PROJECT else data
    reader = _Reader(path)
    if not isinstance(table, dict):
        reader.refuse("[tool.race] must be a table")
    reader.known(table, _PLAN, "")
    values = {name: check(reader, name, table[name]) for name, check in _PLAN.items() if name in table}
    cells = values.get("cells", ())
    begins = [text.count("\n", 0, found.end()) + 1 for found in _HEADER.finditer(text)]
    lines = begins if len(begins) == len(cells) else [1] * len(cells)
    budget = values.get("budget", BUDGET_S)
    return Plan(
        path,
        tuple(_cell(_Reader(path, line), cell, line, budget) for cell, line in zip(cells, lines, strict=True)),
        values.get("schedules", ()),
        values.get("seed", 1),
        values.get("tolerance", TOLERANCE),
    )


def _has_table(path: Path) -> bool:
    return "race" in _loaded(path)[1].get("tool", {})


def _loaded(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from None


def _cell(reader: _Reader, table: Mapping[str, Any], line: int, budget_s: float) -> Guarded:
    reader.known(table, _CELL, "a cell")
    for name in ("scenario", "strategy"):
        if name not in table:
            reader.refuse(f"a cell needs `{name}`")
    renamed = {"think": "think_ms", "work": "work_us", "budget": "budget_s"}
    values = {
        renamed.get(name, name): check(reader, name, table[name]) for name, check in _CELL.items() if name in table
    }
    if not {"verdict", "explored", "thresholds"} & set(values):
        values |= {"verdict": "held", "explored": "bounded"}  # what is to be guarded and says no more must hold
    for name in ("faults", "search", "max_schedules", "max_switches"):
        if name in values and "explored" not in values:
            reader.refuse(f"`{name}` is for exploring: say what `explored` must be")
    return Guarded(**{"budget_s": budget_s, **values}, line=line)


class _Reader:
    """Checks values and refuses them with the place where they stand."""

    def __init__(self, path: Path | str, line: int | None = None) -> None:
        self._place = str(path) if line is None else f"{path}:{line}"

    def refuse(self, why: str) -> NoReturn:
        raise UsageError(f"{self._place}: {why}")

    def known(self, table: Mapping[str, Any], names: Iterable[str], what: str) -> None:
        for name in table:
            if name not in names:
                of = f" of {what}" if what else ""
                self.refuse(f"unknown key '{name}'{of}; {nearest(name, names)}")


_Check = Callable[[_Reader, str, Any], Any]


def _text(reader: _Reader, name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        reader.refuse(f"`{name}` must be a text, not {value!r}")
    return value


def _texts(reader: _Reader, name: str, value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(one, str) and one for one in given):
        reader.refuse(f"`{name}` must be a list of texts")
    return tuple(given)


def _of(choices: tuple[str, ...]) -> _Check:
    def check(reader: _Reader, name: str, value: Any) -> str:
        if value not in choices:
            reader.refuse(f"`{name}` is one of {', '.join(choices)}; not {value!r}")
        return str(value)

    return check


def _number(least: float, kind: type[int | float] = int) -> _Check:
    def check(reader: _Reader, name: str, value: Any) -> int | float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or (kind is int and not isinstance(value, int)) or not least <= value < float("inf"):
            what = "a whole number" if kind is int else "a number"
            reader.refuse(f"`{name}` must be {what} of {least:g} or more, not {value!r}")
        return kind(value)

    return check


def _faults(reader: _Reader, name: str, value: Any) -> tuple[str, ...]:
    given = _texts(reader, name, value)
    if given == ("all",):
        return FAULTS
    for fault in given:
        if fault not in FAULTS:
            reader.refuse(f"unknown fault '{fault}'; there are: {', '.join(FAULTS)}")
    return given


def _thresholds(reader: _Reader, name: str, value: Any) -> tuple[Threshold, ...]:
    try:
        return tuple(parse_threshold(text) for text in _texts(reader, name, value))
    except UsageError as error:
        reader.refuse(str(error))


def _tables(reader: _Reader, name: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        reader.refuse(f"`{name}` must be tables, each begun by [[{name}]]")
    return value


_PLAN: Mapping[str, _Check] = {
    "cells": _tables,
    "schedules": _texts,
    "seed": _number(0),
    "budget": _number(1, float),
    "tolerance": _number(0, float),
}
_CELL: Mapping[str, _Check] = {
    "scenario": _text,
    "strategy": _text,
    "rule": _text,
    "name": _text,
    "verdict": _of(LOADED),
    "explored": _of(EXPLORED),
    "thresholds": _thresholds,
    "size": _number(2),
    "load_size": _number(2),
    "processes": _number(1),
    "bursts": _number(1),
    "think": _number(0, float),
    "work": _number(0),
    "faults": _faults,
    "search": _of(SEARCHES),
    "max_schedules": _number(1),
    "max_switches": _number(0),
    "against": _texts,
    "budget": _number(1, float),
}


def check_value(place: str, name: str, value: Any) -> Any:
    """What a key of a cell takes, said elsewhere than in a file: at `place`. Raises UsageError."""
    check = {**_CELL, "seed": _PLAN["seed"]}[name]
    return check(_Reader(place), name, list(value) if isinstance(value, tuple) else value)
