"""A gate as a whole: kept failures first, then every cell, then the saved schedules; all as one document."""

from __future__ import annotations

import glob
import inspect
import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.burst import Progress, StoresOptions
from harness.explore import read_schedule
from harness.gate.baseline import SCHEMA, Baseline
from harness.gate.failures import Failures, Kept, Key
from harness.gate.measuring import Measured, Measuring, beside, bound_of, cell_of
from harness.gate.plan import Guarded, Plan
from harness.gate.replaying import Replayed, replay
from harness.gate.rules import rule, rules_of
from harness.model import RaceError, UsageError
from harness.results.environment import environment, machine
from harness.stores import Embedded

if TYPE_CHECKING:
    from harness.burst.cells import Bound
    from harness.gate.rules import Document, Mark

Told = Callable[[str, Progress], None]

_MARKS: dict[str, Mark] = {"violated": "failed", "fixed": "passed", "misfit": "unclear"}


@contextmanager
def lasting(options: StoresOptions) -> Iterator[StoresOptions]:
    """The same stores, with embedded servers that outlive each run: they are started once."""
    if options.redis_url and options.postgres_url:
        yield options
        return
    embedded = Embedded.open()
    try:
        yield replace(options, embedded=embedded)
    finally:
        embedded.close()


def saved_schedules(plan: Plan) -> list[Path]:
    """The files that the plan names, patterns resolved. Raises UsageError where a name has none."""
    found: list[Path] = []
    for pattern in plan.schedules:
        paths = sorted(glob.glob(str(plan.folder / pattern), recursive=True))  # noqa: PTH207 - patterns may be absolute
        if not paths:
            raise UsageError(f"{plan.path}: no schedule {pattern}: race explore ... --save FILE makes one")
        found += [Path(os.path.relpath(path)) for path in paths]
    return list(dict.fromkeys(found))


def key_of(guarded: Guarded) -> Key:
    """By what a kept failure knows its cell."""
    return guarded.scenario, guarded.strategy, guarded.rule


def kept_with_cells(plan: Plan) -> list[tuple[Kept, Guarded]]:
    """Failures to be replayed first, each with its cell. What broke a cell that is to break is none."""
    holding = {
        key_of(guarded): guarded for guarded in plan.cells if "violated" not in {guarded.explored, guarded.verdict}
    }
    return [(one, holding[one.key]) for one in Failures(plan.folder).kept() if one.key in holding]


@dataclass(slots=True)
class Check:
    """One run of a gate."""

    plan: Plan
    stores: StoresOptions
    told: Told
    baseline: Baseline | None = None
    reproduce: str = "race check"

    def run(self) -> Document:
        """Do all of it, whatever fails; its `race.check/1` document. Raises UsageError for what cannot be."""
        started, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        plan = self.plan
        for guarded in plan.cells:
            bound = bound_of(guarded, plan.folder)
            if guarded.asks("cost"):
                beside(guarded, bound, plan.folder)
        saved = saved_schedules(plan)
        for path in saved:
            read_schedule(path)
        failures = Failures(plan.folder)
        kept = kept_with_cells(plan)
        cells: list[Document] = []
        schedules: list[Document] = []
        complete = True
        if plan.cells or saved:
            with lasting(self.stores) as stores:
                try:
                    schedules += [self._again(one, guarded, stores) for one, guarded in kept]
                    for guarded in plan.cells:
                        cell, whole = self._cell(guarded, stores, failures)
                        cells.append(cell)
                        complete = complete and whole
                        if not complete:
                            break
                    schedules += [self._saved(path, stores) for path in saved if complete]
                except KeyboardInterrupt:
                    complete = False
        _settle([one for one, _guarded in kept], schedules, cells)
        marks = [one["mark"] for cell in cells for one in cell["rules"]] + [one["mark"] for one in schedules]
        return {
            "schema": SCHEMA,
            "config": str(plan.path),
            "seed": plan.seed,
            "outcome": _outcome(marks),
            "counts": {mark: marks.count(mark) for mark in ("passed", "failed", "unclear")},
            "schedules": schedules,
            "cells": cells,
            "baseline": self._baseline(),
            "reproduce": self.reproduce,
            "machine": machine(),
            "environment": environment(),
            "started_at": started_at,
            "duration_s": round(time.monotonic() - started, 3),
            "complete": complete,
        }

    def _baseline(self) -> Document | None:
        if self.baseline is None:
            return None
        return {
            "file": str(self.baseline.path), "same_machine": self.baseline.alike, "tolerance": self.baseline.tolerance
        }  # fmt: skip

    def _cell(self, guarded: Guarded, stores: StoresOptions, failures: Failures) -> tuple[Document, bool]:
        """One cell's part of the document, and whether nobody interrupted it."""
        bound = bound_of(guarded, self.plan.folder)
        measuring = Measuring(
            stores, self.plan.folder, self.plan.seed, lambda progress: self.told(guarded.title, progress)
        )  # fmt: skip
        refused = ""
        try:
            measured = measuring.measure(guarded)
        except UsageError:
            raise
        except RaceError as error:  # this store cannot be used; the next cell may be on another one
            measured, refused = Measured(), str(error)
        rules = rules_of(guarded, measured, self.baseline)
        if refused:
            rules = [{**one, "mark": "unclear", "why": refused} for one in rules]
        failed = any(one["mark"] == "failed" for one in rules)
        file = None
        broke = "violated" in {(measured.explored or {}).get("verdict"), (measured.load or {}).get("verdict")}
        if failed and broke and measured.smallest is not None and measured.options is not None:
            file = str(failures.keep(key_of(guarded), bound.cell, measured.options, measured.smallest))
        document = {
            "name": guarded.title,
            "scenario": guarded.scenario,
            "strategy": guarded.strategy,
            "rule": guarded.rule,
            "source": _source(guarded, bound, self.plan),
            "store": bound.strategy.store,
            "rules": rules,
            "file": file,
            "explored": measured.explored,
            "load": measured.load,
            "cost": measured.cost,
        }
        return document, measured.complete

    def _again(self, kept: Kept, guarded: Guarded, stores: StoresOptions) -> Document:
        """A kept failure, on its cell as it is now."""
        cell = cell_of(guarded, self.plan.folder)
        bound = bound_of(guarded, self.plan.folder)
        try:
            return _schedule(kept.path, replay(kept.path, stores, cell, bound), kept=True)
        except RaceError as error:
            return _refused(kept.path, str(error), kept=True)

    def _saved(self, path: Path, stores: StoresOptions) -> Document:
        """A schedule that the file names, on the cell that it was saved for; its scripts lie where they lay."""
        try:
            return _schedule(path, replay(path, stores), kept=False)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
        except RaceError as error:
            return _refused(path, str(error), kept=False)


def _source(guarded: Guarded, bound: Bound, plan: Plan) -> Document:
    """Where a reader would look first: the strategy's script, the scenario's, or the cell in the plan's own file."""
    for spec, definition in ((guarded.strategy, type(bound.strategy)), (guarded.scenario, type(bound.scenario))):
        if ".py" in spec:
            file = inspect.getsourcefile(definition)
            assert file is not None
            return {"file": os.path.relpath(file), "line": inspect.getsourcelines(definition)[1]}
    return {"file": str(plan.path), "line": guarded.line}


def _schedule(path: Path, played: Replayed, *, kept: bool) -> Document:
    actual = {"violated": "it still breaks", "fixed": "it no longer happens", "misfit": "it no longer fits"}
    return {
        **rule(
            str(path), _MARKS[played.outcome], actual[played.outcome], why=played.why or played.says,
            reproduce=shlex.join(["race", "replay", str(path)]),
        ),
        "kept": kept, "scenario": played.cell.scenario, "strategy": played.cell.strategy,
        "counterexample": played.drawn,
    }  # fmt: skip


def _refused(path: Path, why: str, *, kept: bool) -> Document:
    again = shlex.join(["race", "replay", str(path)])
    return {
        **rule(str(path), "unclear", "-", why=why, reproduce=again),
        "kept": kept, "scenario": "", "strategy": "", "counterexample": None,
    }  # fmt: skip


def _settle(kept: list[Kept], schedules: list[Document], cells: list[Document]) -> None:
    """Forget kept failures that pass.

    One that does not fit the program any more decides nothing: its cell does, which was measured again. It is
    forgotten where all rules of the cell passed, and then counts for nothing.
    """
    passed = {
        (cell["scenario"], cell["strategy"], cell["rule"]): all(one["mark"] == "passed" for one in cell["rules"])
        for cell in cells
    }  # fmt: skip
    for one, document in zip(kept, list(schedules), strict=False):
        if document["mark"] == "unclear" and document["actual"] == "it no longer fits" and passed.get(one.key):
            document["mark"], document["actual"] = "passed", "it no longer fits, and its cell passed"
        if document["mark"] == "passed" and str(one.path) not in {cell["file"] for cell in cells}:
            one.path.unlink(missing_ok=True)


def _outcome(marks: list[Any]) -> str:
    """A failure outweighs what could not be tried; nothing at all is no pass."""
    if "failed" in marks:
        return "failed"
    return "inconclusive" if "unclear" in marks or not marks else "passed"
