"""The engine's third job: a scenario's own table, each line by bursts and by the table's own loads."""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count

from harness.burst.bench import Bench
from harness.burst.cells import Bound, control_of
from harness.burst.engine import admit, bound_on, check, measured, now, stores_for
from harness.burst.fleet import Fleet
from harness.burst.measurement import Measurement, Progress, StoresOptions
from harness.burst.others import Others
from harness.burst.plan import Cell, Load, slow
from harness.burst.tally import Tally
from harness.judge import Finding
from harness.model import REFUSALS, Evidence, RaceError, UsageError, Verdict, described
from harness.stores import StoreInfo, Stores
from harness.strategy import Figures, Line, Seen, Table

BURSTS = 100
_MOST = 6
"""So many times as many bursts where a busy machine let nothing be said."""
_LOADED = 0.5
"""The share of the budget for the table's own loads."""
_LEAST_S, _MOST_S = 0.3, 1.5


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line, and what was found of it."""

    bound: Bound
    found: Measurement
    seen: Seen
    broken: dict[str, int]
    """How many keys broke under each of the table's loads."""


@dataclass(frozen=True, slots=True)
class Tabled:
    """A whole table. `loads` are its own, as they were run; `not_applicable` are lines left out, and why."""

    scenario: str
    rows: list[TableRow]
    not_applicable: list[tuple[str, str]]
    loads: dict[str, Load]
    stores: list[StoreInfo]
    seed: int
    complete: bool
    duration_s: float
    started_at: str
    others: float | None


async def tabled(
    scenario: str,
    table: Table,
    seed: int,
    *,
    budget_s: float,
    stores_options: StoresOptions | None = None,
    progress: Callable[[Progress], None],
    then: Callable[[Bound, Stores], Awaitable[bool]],
) -> Tabled:
    """Every line in turn. `then` is called after each, and says whether it was whole. Raises RaceError."""
    started, started_at, others = time.monotonic(), now(), Others()
    bursts = Load(bursts=BURSTS, seed=seed)
    share_s = budget_s * _LOADED / max(1, len(table.lines) * len(table.loads))
    duration_s = round(min(max(share_s, _LEAST_S), _MOST_S), 2)
    loads = {
        name: dataclasses.replace(Load(mode="sustained", work_us=0, seed=seed, duration_s=duration_s), **other)
        for name, other in table.loads.items()
    }
    bounds = [bound_on(Cell(scenario, line.strategy, line.rule), bursts, stores_options) for line in table.lines]
    lines = [(line, bound) for line, bound in zip(table.lines, bounds, strict=True) if _applies(bound)]
    apart = [
        (line.what, bound.claim.reason) for line, bound in zip(table.lines, bounds, strict=True) if not _applies(bound)
    ]
    if not lines:
        raise UsageError(f"no line of this table applies: {'; '.join(dict.fromkeys(why for _what, why in apart))}")
    rows: list[TableRow] = []
    whole = True
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(stores_for(stores_options, [bound for _line, bound in lines]))
        infos = list(stores.infos)
        for load in (bursts, *loads.values()):
            check(infos, [bound for _line, bound in lines], load)
        await admit(stores, [bound for _line, bound in lines])
        runs = _Runs(stores, progress, table)
        try:
            for place, (line, bound) in enumerate(lines):
                progress(Progress(line.what, place, len(lines), "turns"))
                found = await runs.bursts(bound, bursts, started_at)
                whole = not runs.interrupted and await then(bound, stores)
                figures: dict[str, Figures] = {}
                broken: dict[str, int] = {}
                for name, load in loads.items():
                    if whole:
                        figures[name], broken[name] = await runs.sustained(bound, load)
                        whole = not runs.interrupted
                if not whole:
                    break
                rows.append(TableRow(bound, found, _seen(line, found, figures), broken))
        except asyncio.CancelledError:  # Ctrl-C between two loads: the lines before stand
            whole = False
        share = others.share() if all(info.embedded for info in infos) else None
    return Tabled(scenario, rows, apart, loads, infos, seed, whole, time.monotonic() - started, started_at, share)


def _applies(bound: Bound) -> bool:
    return bound.claim.kind != "not-applicable"


def _seen(line: Line, found: Measurement, figures: dict[str, Figures]) -> Seen:
    verdicts = set(found.invariants.values()) or {found.order}
    rule = next((one for one in (Verdict.VIOLATED, Verdict.INCONCLUSIVE) if one in verdicts), Verdict.HELD)
    refused = {code: number for code, number in found.counts.errors.items() if code in REFUSALS}
    return Seen(line, found.order, rule, refused, figures)


class _Runs:
    """Loads, each on processes of its own: nothing is left over from the one before."""

    def __init__(self, stores: Stores, progress: Callable[[Progress], None], table: Table) -> None:
        self.interrupted = False
        self._stores, self._progress, self._table = stores, progress, table
        self._first = count(step=100_000)

    async def bursts(self, bound: Bound, load: Load, started_at: str) -> Measurement:
        """Until something can be said, or often enough."""
        tally = Tally(bound, control_of(bound, load))
        async with self._fleet(bound, load) as fleet:
            bench = Bench(self._stores, fleet, self._progress, next(self._first))
            for _ in range(_MOST):
                await bench.bursts(tally, load, load.bursts)
                found = measured(
                    tally, load, self._stores.infos, await self._stores.lost(), started_at, tally.elapsed_s,
                    complete=not bench.interrupted,
                )  # fmt: skip
                if found.verdict is not Verdict.INCONCLUSIVE or bench.interrupted or tally.failures:
                    break
            self.interrupted = bench.interrupted
        return found

    async def sustained(self, bound: Bound, load: Load) -> tuple[Figures, int]:
        """What the table wants to know of it, and how many keys broke. Raises RaceError where it could not be made."""
        tally = _Watched(bound, None).watch(self._table)
        async with self._fleet(bound, load) as fleet:
            bench = Bench(self._stores, fleet, self._progress, next(self._first))
            await bench.sustained(tally, load)
            self.interrupted = bench.interrupted
        if tally.failures:
            raise RaceError(f"{bound.cell.strategy}: {tally.failures[0]}")
        return tally.figures(), tally.broken

    def _fleet(self, bound: Bound, load: Load) -> Fleet:
        return Fleet(self._stores, load.processes, owners=bound.strategy.serving)


class _Watched(Tally):
    """A tally that also keeps how long the other keys' requests took, and the most that the table counted."""

    def watch(self, table: Table) -> _Watched:
        """Begin with nothing."""
        self.table, self.all_ns, self.others_ns, self.most = table, list[int](), list[int](), 0
        return self

    def add(self, evidence: Evidence, finding: Finding, burst: int | None = None) -> None:
        """Look at the operations as well."""
        super().add(evidence, finding, burst)
        for one in evidence.operations:
            if one.reply is not None and one.returned_ns is not None:
                self.all_ns.append(one.returned_ns - one.invoked_ns)
                if not slow(one.request.key):
                    self.others_ns.append(one.returned_ns - one.invoked_ns)
        if self.table.counts is not None:
            try:
                self.most = max(self.most, self.table.counts(evidence))
            except Exception as error:  # the scenario is the user's
                raise UsageError(described(error)) from error

    def figures(self) -> Figures:
        """What it has come to."""
        return Figures(_p99_ms(self.all_ns), _p99_ms(self.others_ns), self.most)


def _p99_ms(durations_ns: Sequence[int]) -> float | None:
    """In milliseconds; None where there are too few."""
    return round(statistics.quantiles(durations_ns, n=100)[98] / 1e6, 3) if len(durations_ns) > 1 else None
