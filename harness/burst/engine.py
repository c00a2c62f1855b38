"""The load engine's two jobs: run one cell, or compare many."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from harness.burst.bench import Bench
from harness.burst.cells import CONTROLS, Bound, bind, control_of
from harness.burst.fleet import Fleet
from harness.burst.kills import most_killed
from harness.burst.measurement import (
    CompareRow,
    Comparison,
    Measurement,
    Progress,
    StoresOptions,
)
from harness.burst.plan import Cell, Load
from harness.burst.tally import Tally
from harness.judge import Closing, Header, Recording, asked_of
from harness.model import Claim, UsageError
from harness.stores import NO_REPLICA, StoreInfo, Stores, require, require_connections
from harness.strategy import store_of
from harness.strategy.loader import find_scenario
from harness.strategy.loader import strategies as bundled

_LEAST = 2
"""So many processes and requests at least: fewer share nothing."""
ROUNDS = 2
"""So many turns has each of a comparison, so that drift hits all alike."""
_BURST_SHARE = 0.45
_OVERHEAD_S = 4.0
_MOST_KEPT = 0.4
"""Of a strict budget, what is kept at most for what comes after the load."""
_LEAST_S, _MOST_LEAST_S = 1.0, 20.0
"""Seconds for a row that a strict budget leaves whatever it says, and for all of them: servers take some to start."""
_NO_TIME = "the budget ran out before its turn"
_CONTROL_S = 2.0
"""Seconds of sustained load that show, on a small hot key set, whether its control breaks."""


def _quiet(_progress: Progress) -> None:
    pass


async def run(
    cell: Cell,
    load: Load,
    *,
    stores_options: StoresOptions | None = None,
    control: bool = True,
    budget_s: float | None = None,
    progress: Callable[[Progress], None] = _quiet,
    recording: Recording | None = None,
    then: Callable[[Bound, Stores, Measurement], Awaitable[bool]] | None = None,
) -> Measurement:
    """Load one cell and judge it. Raises RaceError; cancelled, it gives what was measured, marked incomplete.

    `recording` is given the history of the cell under test. `then` is called at the end of a whole run, while the
    stores are still there; it says whether it was whole, too.
    """
    started, started_at = time.monotonic(), now()
    bound = bind_for(cell, load, stores_options)
    beside = control_of(bound, load) if control else None
    async with AsyncExitStack() as stack:
        stores, fleet = await ready(stack, stores_options, [bound], load)
        infos = stores.infos
        bench = Bench(stores, fleet, progress)
        tally = Tally(bound, beside, recording)
        if recording is not None:
            stack.enter_context(recording)
            header = Header(cell.scenario, bound.cell.rule, cell.strategy, load.seed, load.mode)
            recording.begin(header, bound.scenario.operations)
        until = None if budget_s is None else started + budget_s
        if load.mode == "burst":
            await bench.bursts(tally, load, load.bursts, until)
        else:
            if beside is not None:
                await _sustained_control(bench, tally, beside, load)
            if not bench.interrupted:
                await bench.sustained(tally, load)
        await bench.probe(tally, load)
        others = bench.others()
        lost = await stores.lost()
        if recording is not None:
            recording.end(closing(tally, lost, complete=not bench.interrupted))
        found = measured(
            tally, load, infos, lost, started_at, time.monotonic() - started, complete=not bench.interrupted
        )
        complete = found.complete and (then is None or await _whole(then(bound, stores, found)))
        return dataclasses.replace(found, duration_s=time.monotonic() - started, complete=complete, others=others)


async def _whole(more: Awaitable[bool]) -> bool:
    """What comes after a load, and says whether it was whole. Ctrl-C in it: what was measured before stands."""
    try:
        return await more
    except asyncio.CancelledError:
        return False


async def _sustained_control(bench: Bench, tally: Tally, control: Bound, load: Load) -> None:
    """Put the control under the same load: for a moment, or for as long where a moment breaks too few keys."""
    for duration_s in sorted({min(load.duration_s, _CONTROL_S), load.duration_s}):
        aside = Tally(control, None)
        await bench.sustained(aside, dataclasses.replace(load, duration_s=duration_s))
        tally.control_bursts, tally.control_broken = aside.judged, aside.broken
        tally.failures += aside.failures
        if aside.broken >= tally.overlap().control_needed * aside.judged or bench.interrupted or tally.failures:
            return


async def compare(
    scenario: str,
    names: Sequence[str],
    rules: Sequence[str],
    load: Load,
    *,
    budget_s: float = 40.0,
    stores_options: StoresOptions | None = None,
    progress: Callable[[Progress], None] = _quiet,
    then: Callable[[Bound, Stores], Awaitable[bool]] | None = None,
    then_s: float = 0.0,
    strict: bool = False,
    rounds: int = ROUNDS,
) -> Comparison:
    """One scenario under many strategies, in turns, more than once. `names` as for `named`.

    `then` is called for each at the end of a whole comparison, while the stores are still there, and says whether
    it was whole, too; for each of them `then_s` of the budget are kept. Where the budget is `strict`, whoever has not
    had a turn when it runs out has none, which the comparison says; else every one has all of its turns: `rounds`,
    each of them as long, however many there are.
    """
    started, started_at = time.monotonic(), now()
    titles = [*named(names), *whole_flows(scenario, rules, names)]
    cells = [Cell(scenario, title, rule) for title in titles for rule in rules or [""]]
    bounds = [bound_on(cell, load, stores_options) for cell in cells]
    applicable = [bound for bound in bounds if bound.claim.kind != "not-applicable"]
    apart = [(bound.cell.strategy, bound.claim.reason) for bound in bounds if bound.claim.kind == "not-applicable"]
    if not applicable:
        left_out = ", ".join(dict.fromkeys(name for name, _why in apart))
        reasons = "; ".join(dict.fromkeys(why for _name, why in apart))
        raise UsageError(f"none of {left_out} applies to {scenario}: {reasons}")
    async with AsyncExitStack() as stack:
        stores, fleet = await ready(stack, stores_options, applicable, load)
        infos = stores.infos
        bench = Bench(stores, fleet, progress)
        slice_s = max(0.2, (budget_s - _OVERHEAD_S) / len(applicable) - then_s) / ROUNDS
        least_s = min(_LEAST_S * len(applicable), _MOST_LEAST_S)
        until = max(started + budget_s, time.monotonic() + least_s) if strict else math.inf
        limit = Limit(budget_s, until)
        kept_s = min(then_s * len(applicable), budget_s * _MOST_KEPT)
        burst_load = dataclasses.replace(load, mode="burst")
        sustained_load = dataclasses.replace(
            load, mode="sustained", duration_s=slice_s * (1 - _BURST_SHARE) * 0.6, work_us=0
        )
        tallies = [(Tally(bound, control_of(bound, load)), Tally(bound, None)) for bound in applicable]
        await _in_turns(bench, tallies, burst_load, sustained_load, slice_s, progress, limit.less(kept_s), rounds)
        others = bench.others()
        lost = await stores.lost()
        whole = not bench.interrupted
        rows = []
        missing = [bursts.bound.cell for bursts, _sustained in tallies if _NO_TIME in bursts.failures]
        tallies = [pair for pair in tallies if pair[0].bound.cell not in missing]
        pool_controls(tallies)
        for bursts, sustained in tallies:
            first = measured(bursts, burst_load, infos, lost, started_at, bursts.elapsed_s, complete=whole)
            second = measured(sustained, sustained_load, infos, lost, started_at, sustained.elapsed_s, complete=whole)
            bound = bursts.bound
            rows.append(CompareRow(bound.cell.strategy, bound.cell.rule, bound.strategy.store, first, second))
        if then is not None:
            for bound in [bursts.bound for bursts, _sustained in tallies]:
                if limit.past():
                    limit.left_out["not explored"] += 1
                else:
                    whole = whole and await _whole(then(bound, stores))
        duration_s, reason = time.monotonic() - started, limit.reason(len(applicable))
        whole = whole and not reason
        return Comparison(
            scenario, rows, apart, list(infos), load.seed, whole, duration_s, started_at, others, reason, missing
        )


@dataclasses.dataclass
class Limit:
    """When a budget of so many seconds has run out, and how many have been left out of what since."""

    budget_s: float
    until: float
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)

    def past(self) -> bool:
        """Whether it has."""
        return time.monotonic() > self.until

    def less(self, seconds: float) -> Limit:
        """The same so much earlier."""
        return Limit(self.budget_s, self.until - seconds, self.left_out)

    def reason(self, number: int) -> str:
        """What there was no time for, of so many; "" where there was for all."""
        parts = [f"{count} were {what}" for what, count in self.left_out.items()]
        return f"the budget of {self.budget_s:g} s ran out: of {number} rows {', '.join(parts)}" if parts else ""


async def _in_turns(
    bench: Bench,
    tallies: Sequence[tuple[Tally, Tally]],
    burst_load: Load,
    sustained_load: Load,
    slice_s: float,
    progress: Callable[[Progress], None],
    limit: Limit,
    rounds: int,
) -> None:
    """Each for a moment, one after the other, and all of it so many times, up to the limit."""
    for number in range(rounds):
        for place, (bursts, sustained) in enumerate(tallies):
            if bench.interrupted:
                return
            if limit.past():
                if number == 0:
                    limit.left_out["not loaded"] += 1
                    bursts.failures.append(_NO_TIME)
                    sustained.failures.append(_NO_TIME)
                elif not bursts.failures:
                    limit.left_out["loaded once instead of twice"] += 1
                continue
            done = number * len(tallies) + place
            progress(Progress(bursts.bound.strategy.title, done, len(tallies) * rounds, "turns"))
            until = time.monotonic() + slice_s * _BURST_SHARE
            await bench.bursts(bursts, burst_load, burst_load.bursts // rounds, until)
            if not bench.interrupted:
                await bench.sustained(sustained, sustained_load)
        if number == 0:  # most leases have run out in silence by now: hardly any has to be waited for
            for bursts, _sustained in tallies:
                await bench.probe(bursts, burst_load)


def named(names: Sequence[str]) -> list[str]:
    """Each strategy once; `all` stands for the bundled ones, `redis` and `postgres` for those of that store."""
    found: list[str] = []
    for name in names or ["all"]:
        if name in {"all", *CONTROLS}:
            found += [kind.name for kind in bundled() if name in {"all", store_of(kind)}]
        else:
            found.append(name)
    return list(dict.fromkeys(found))


def whole_flows(scenario: str, rules: Sequence[str], names: Sequence[str]) -> list[str]:
    """Where a rule breaks as others come between an attempt's requests: the variants that let nobody in between.

    Of the strategies that `all`, `redis` or `postgres` stand for; without them nothing would hold, nor show its cost.
    """
    kind = find_scenario(scenario)
    if not set(rules or [next(iter(kind().all_rules()))]) & set(kind.split):
        return []
    groups = {"all", *CONTROLS} & set(names or ["all"])
    among = [one for one in bundled() if groups & {"all", store_of(one)}]
    found = [
        f"{one.name}:{variant}" for one in among for variant in one.variants if one(kind(), variant).scope == "flow"
    ]
    return [title for title in found if title not in names]


def pool_controls(tallies: Sequence[tuple[Tally, Tally]]) -> None:
    """Give every row of a store and rule all that its control showed in this run.

    The controls of the rows met the same load on the same store, in turns over the whole run:
    together they say more than the few that ran beside one strategy. A control has a row of its own too.
    What it shows of one rule says nothing of another, which the same load may hardly ever break.
    """
    alike: dict[tuple[str, str], list[tuple[Tally, Tally]]] = {}
    for pair in tallies:
        bound = pair[0].bound
        alike.setdefault((bound.strategy.store, bound.cell.rule), []).append(pair)
    for pairs in alike.values():
        own = [bursts for bursts, _sustained in pairs if bursts.control is None]
        beside = [bursts for bursts, _sustained in pairs if bursts.control is not None]
        shown = sum(one.judged for one in own) + sum(one.control_bursts for one in beside)
        broken = sum(one.broken for one in own) + sum(one.control_broken for one in beside)
        for bursts, sustained in pairs:
            sustained.control = bursts.control
            for tally in (bursts, sustained) if bursts.control is not None else ():
                tally.control_bursts, tally.control_broken = shown, broken


def closing(tally: Tally, lost: str | None, *, complete: bool) -> Closing:
    """What a verdict rests on besides operations and effects."""
    shown = tally.overlap()
    lost = lost or (tally.failures[0] if tally.failures else None)
    return Closing(
        shown.control, shown.control_bursts, shown.control_broken, lost, complete, tally.meeting(), shown.control_needed
    )


def measured(
    tally: Tally,
    load: Load,
    infos: Sequence[StoreInfo],
    lost: str | None,
    started_at: str,
    duration_s: float,
    *,
    complete: bool,
) -> Measurement:
    """Conclude a tally."""
    counts = tally.counts()
    overlap = tally.overlap()
    bound = tally.bound
    names = [*dict.fromkeys([*asked_of(bound.scenario.invariants(), load.mode), *tally.asked])]
    end = closing(tally, lost, complete=complete)
    facts = tally.facts(
        end.control, end.control_bursts, end.control_broken, lost=end.lost, complete=end.complete,
        meeting=end.meeting, control_needed=end.control_needed,
    )  # fmt: skip
    concluded = tally.conclude(facts, names, bound.strategy.title)
    return Measurement(
        cell=bound.cell,
        store=bound.strategy.store,
        load=load,
        claim=bound.claim,
        verdict=concluded.verdict,
        order=concluded.order,
        invariants=dict(concluded.invariants),
        reason=concluded.reason,
        counts=counts,
        overlap=overlap,
        judged_bursts=tally.judged,
        broken_bursts=tally.broken,
        unordered_bursts=tally.order_broken,
        by_invariant=dict(tally.by_invariant),
        commands=tally.commands,
        elapsed_s=tally.elapsed_s,
        latency_ms=tally.latencies.percentiles(),
        distribution=tally.latencies.distribution(),
        parts=[part for parts in tally.parts for part in parts.values()],
        counterexample=tally.counterexample,
        stores=list(infos),
        started_at=started_at,
        duration_s=duration_s,
        complete=complete,
        amounts=dict(tally.amounts),
        contradiction=tally.contradiction,
        endings=dict(tally.endings),
    )


def now() -> str:
    """In UTC, to the second, as documents have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def bind_for(cell: Cell, load: Load, options: StoresOptions | None) -> Bound:
    """A cell with its scripts, to be run on these stores. Raises UsageError, also where it does not apply there."""
    bound = bound_on(cell, load, options)
    if bound.claim.kind == "not-applicable":
        raise UsageError(f"{cell.strategy} does not apply to {cell.scenario}: {bound.claim.reason}")
    return bound


async def ready(
    stack: AsyncExitStack, options: StoresOptions | None, bounds: Sequence[Bound], load: Load
) -> tuple[Stores, Fleet]:
    """Open stores and processes for these cells, which the stack ends. Raises RaceError where a server cannot do it."""
    stores = await stack.enter_async_context(stores_for(options, bounds))
    check(stores.infos, bounds, load)
    await admit(stores, bounds)
    fleet = Fleet(stores, load.processes, owners=_owners(bounds), spares=most_killed(load.kills))
    return stores, await stack.enter_async_context(fleet)


def _owners(bounds: Sequence[Bound]) -> int:
    return max((bound.strategy.serving for bound in bounds), default=0)


def stores_for(options: StoresOptions | None, bounds: Sequence[Bound]) -> Stores:
    """Those that these cells need; they are not open yet."""
    return (options or StoresOptions()).stores({bound.strategy.store for bound in bounds})


def bound_on(cell: Cell, load: Load, options: StoresOptions | None) -> Bound:
    """A cell with its scripts, and what is claimed of it on these stores. Raises UsageError.

    Of a server that is not ours there is no replica that we hold up.
    """
    bound = bind(cell, load)
    if bound.strategy.lag_ms is None or options is None or not options.redis_url or bound.claim.kind != "breaks":
        return bound
    return dataclasses.replace(bound, claim=Claim("not-applicable", NO_REPLICA))


async def admit(stores: Stores, bounds: Sequence[Bound]) -> None:
    """Logins for callers who may not write, a replica for those who read from one. Raises RaceError."""
    for store in sorted({bound.strategy.store for bound in bounds if bound.strategy.guarded}):
        await stores.admit(store)
    if any(bound.strategy.lag_ms is not None for bound in bounds):
        await stores.copied()


def check(infos: Sequence[StoreInfo], bounds: Sequence[Bound], load: Load) -> None:
    """Refuse what the servers cannot do before any load is made."""
    for info in infos:
        for bound in bounds:
            if bound.strategy.store == info.kind:
                require(info, bound.strategy.needs, bound.cell.strategy)
        require_connections(info, max(load.connections, load.size + load.processes) + 4, _less(load))


def _less(load: Load) -> str:
    """What would need fewer connections; "" where it cannot be asked for less."""
    if load.connections > load.size + load.processes:
        return "use fewer --connections"
    if load.size > max(_LEAST, load.processes):
        return "use a smaller --size"
    return "use fewer --processes" if load.processes > _LEAST else ""
