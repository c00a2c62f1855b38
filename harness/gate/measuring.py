"""One cell of a gate, measured: explored, loaded, and what it costs; each as the document of its own command."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.burst import Cell, Load, Progress, StoresOptions, compare, run
from harness.burst.cells import Bound, bind
from harness.explore import Brief, Options, Schedule, explore_alone, explore_briefly
from harness.gate.plan import Guarded
from harness.model import UsageError, Verdict
from harness.results.build import Document, comparison_document, result_document
from harness.results.exploration import Explored, exploration_document, minimised

if TYPE_CHECKING:
    from harness.burst import Measurement
    from harness.stores import Stores

SHARES = {"explored": 0.3, "load": 0.2, "cost": 0.5}
"""How a cell's budget is shared among what is measured; what is not asked for gets none."""
SMALLEST_S = 2.0
"""Seconds for the smallest schedule, once a load has broken something that was not explored."""
COST_CONNECTIONS = 16
BESIDE = {"redis": ("atomic", "lua", "watch"), "postgres": ("pg-conditional", "pg-for-update")}
"""Beside what a cost is measured, where the cell names nothing: the usual fixes that are fast."""
_SCRIPT = re.compile(r"(?P<path>.*\.py)(?P<rest>(?:#[^:#]*)?(?::[^:#]*)?)")

Told = Callable[[Progress], None]


def located(spec: str, folder: Path) -> str:
    """A name, or a script's path as seen from the current folder."""
    script = _SCRIPT.fullmatch(spec)
    if script is None:
        return spec
    return os.path.relpath(folder / script["path"]) + script["rest"]


def cell_of(guarded: Guarded, folder: Path) -> Cell:
    """The cell as the engines take it."""
    return Cell(located(guarded.scenario, folder), located(guarded.strategy, folder), guarded.rule)


def bound_of(guarded: Guarded, folder: Path) -> Bound:
    """With its scripts loaded. Raises UsageError, also where the strategy does not apply."""
    try:
        bound = bind(cell_of(guarded, folder), Load(processes=guarded.processes))
    except UsageError as error:
        raise UsageError(f"{guarded.title}: {error}") from None
    if bound.claim.kind == "not-applicable":
        raise UsageError(f"{bound.strategy.title} does not apply to {bound.scenario.name}: {bound.claim.reason}")
    return bound


def seconds_for(guarded: Guarded) -> dict[str, float]:
    """Of its budget, what each measure gets."""
    asked = {measure: share for measure, share in SHARES.items() if guarded.asks(measure)}
    return {measure: guarded.budget_s * share / sum(asked.values()) for measure, share in asked.items()}


def beside(guarded: Guarded, bound: Bound, folder: Path) -> tuple[str, ...]:
    """The strategies that its cost is measured beside. Raises UsageError where one that is named does not apply."""
    if guarded.against is not None:
        names = [located(name, folder) for name in guarded.against]
        for name in names:
            other = bind(Cell(bound.cell.scenario, name, bound.cell.rule), Load())
            if other.claim.kind == "not-applicable":
                raise UsageError(f"{guarded.title}: {name} does not apply: {other.claim.reason}")
    else:
        names = [
            name
            for name in BESIDE[bound.strategy.store]
            if bind(Cell(bound.cell.scenario, name, bound.cell.rule), Load()).claim.kind != "not-applicable"
        ]
    return tuple(name for name in dict.fromkeys(names) if name != bound.cell.strategy)


@dataclass(slots=True)
class Measured:
    """What was measured of one cell; None where that was not asked for, or was not reached.

    `smallest` is the smallest schedule that breaks, with the options that it was found under.
    """

    explored: Document | None = None
    load: Document | None = None
    cost: Document | None = None
    smallest: Schedule | None = None
    options: Options | None = None
    complete: bool = True


class Measuring:
    """Measures the cells of one check on stores that it is given the way to."""

    def __init__(self, stores: StoresOptions, folder: Path, seed: int, progress: Told) -> None:
        """`folder`: where the cells' scripts are looked for."""
        self._stores = stores
        self._folder = folder
        self._seed = seed
        self._progress = progress

    def measure(self, guarded: Guarded) -> Measured:
        """All that the cell asks for, the sharpest first. Raises RaceError; interrupted, it gives what there is."""
        bound = bound_of(guarded, self._folder)
        shares = seconds_for(guarded)
        measured = Measured()
        steps: Sequence[tuple[str, Callable[[Guarded, Bound, float, Measured], bool]]] = (
            ("explored", self._explore),
            ("load", self._load),
            ("cost", self._cost),
        )
        for measure, work in steps:
            if measure in shares and measured.complete:
                measured.complete = work(guarded, bound, shares[measure], measured)
        return measured

    def _explore(self, guarded: Guarded, bound: Bound, budget_s: float, measured: Measured) -> bool:
        import uvloop

        options = Options(
            size=guarded.size, processes=guarded.processes, faults=guarded.faults, search=guarded.search,
            most_schedules=guarded.max_schedules, most_switches=guarded.max_switches, seed=self._seed,
            budget_s=budget_s,
        )  # fmt: skip
        began, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        found, smallest, infos = uvloop.run(explore_alone(bound, self._stores, options, self._progress))
        again = explore_command(cell_of(guarded, self._folder), options)
        asked = Explored(bound.cell, options, bound.claim, infos, again, started_at, time.monotonic() - began)
        measured.explored = exploration_document(asked, found, smallest)
        measured.smallest, measured.options = smallest, options
        return found.complete

    def _load(self, guarded: Guarded, bound: Bound, budget_s: float, measured: Measured) -> bool:
        load = Load(
            processes=guarded.processes, connections=guarded.load_size, bursts=guarded.bursts,
            size=guarded.load_size,            work_us=guarded.work_us, think_ms=guarded.think_ms, seed=self._seed,
        )  # fmt: skip
        found: list[Brief] = []

        async def then(bound: Bound, stores: Stores, result: Measurement) -> bool:
            if result.verdict is Verdict.VIOLATED and measured.smallest is None:
                found.append(await explore_briefly(bound, stores, load, SMALLEST_S))
            return all(brief.complete for brief in found)

        result = asyncio.run(
            run(
                bound.cell, load, stores_options=self._stores, budget_s=budget_s, progress=self._progress, then=then
            )
        )  # fmt: skip
        measured.load = result_document(result, reproduce=run_command(cell_of(guarded, self._folder), load))
        for brief in found:
            measured.load = minimised(measured.load, brief, None)
            measured.smallest, measured.options = brief.smallest, brief.options
        return result.complete

    def _cost(self, guarded: Guarded, bound: Bound, budget_s: float, measured: Measured) -> bool:
        load = Load(
            processes=guarded.processes, connections=COST_CONNECTIONS, bursts=guarded.bursts,
            size=guarded.load_size, seed=self._seed,
        )  # fmt: skip
        names = [bound.cell.strategy, *beside(guarded, bound, self._folder)]
        result = asyncio.run(
            compare(
                bound.cell.scenario, names, [bound.cell.rule], load, budget_s=budget_s, stores_options=self._stores,
                progress=self._progress,
            )
        )  # fmt: skip
        again = compare_command(cell_of(guarded, self._folder), names, load, budget_s)
        measured.cost = comparison_document(result, load, reproduce=again)
        return result.complete


# The commands that do one measure again


def explore_command(cell: Cell, options: Options) -> str:
    """`race explore`, with what is not as it is by itself."""
    words: list[Any] = ["race", "explore", cell.scenario, "--strategy", cell.strategy]
    words += ["--rule", cell.rule] if cell.rule else []
    words += ["--size", options.size] if options.size != 2 else []
    words += ["--faults", ",".join(options.faults)] if options.faults else []
    words += ["--search", options.search] if options.search != "exhaustive" else []
    words += ["--max-schedules", options.most_schedules] if options.most_schedules != 100_000 else []
    words += ["--max-switches", options.most_switches] if options.most_switches is not None else []
    words += ["--processes", options.processes] if options.processes != 2 else []
    return _line([*words, "--budget", f"{options.budget_s:g}", "--seed", options.seed])


def run_command(cell: Cell, load: Load) -> str:
    """`race run`, likewise."""
    words: list[Any] = ["race", "run", cell.scenario, "--strategy", cell.strategy]
    words += ["--rule", cell.rule] if cell.rule else []
    words += ["--bursts", load.bursts] if load.bursts != 1000 else []
    return _line([*words, *_load_words(load), "--seed", load.seed])


def compare_command(cell: Cell, names: Sequence[str], load: Load, budget_s: float) -> str:
    """`race compare`, likewise."""
    words: list[Any] = ["race", "compare", cell.scenario, "--strategies", ",".join(names)]
    words += ["--rules", cell.rule] if cell.rule else []
    words += ["--bursts", load.bursts] if load.bursts != 1000 else []
    return _line([*words, *_load_words(load), "--budget", f"{budget_s:g}", "--seed", load.seed])


def _load_words(load: Load) -> list[Any]:
    words: list[Any] = ["--processes", load.processes] if load.processes != 2 else []
    words += ["--size", load.size] if load.size != 2 else []
    words += ["--work", load.work_us] if load.work_us != 300 else []
    words += ["--think", f"{load.think_ms:g}"] if load.think_ms else []
    return words


def _line(words: Sequence[Any]) -> str:
    return shlex.join(map(str, words))
