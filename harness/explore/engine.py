"""Exploring a cell: schedule after schedule on fresh keys, each judged, until a verdict is earned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Self

from harness.burst.cells import Bound
from harness.explore.event import Choice, Event
from harness.explore.exhaustive import Exhaustive
from harness.explore.machine import Machine
from harness.explore.pct import Pct
from harness.explore.program import Cast, Cell
from harness.explore.random_walk import RandomWalk
from harness.explore.replay import Replay
from harness.explore.search import Search
from harness.explore.shrink import shrink
from harness.explore.world import World
from harness.judge import Explanation, Finding, explain, judge_evidence
from harness.model import ABORTED, Attempt, Evidence, Request, Step, Verdict
from harness.stores import Stores

FAULTS = ("crash", "pause", "lost-reply", "duplicate")
SEARCHES = ("exhaustive", "random", "pct")
_PROGRESS_EVERY = 50
_SHARPER = 100
"""So many schedules more are run to find a violation that the domain has words for."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is explored: a burst of `size` over `processes`, at most `most_faults` of `faults` in one schedule.

    `every`: go on after the first violation. `most_switches` bounds how often a caller that could
    go on is left for another.
    """

    size: int = 2
    processes: int = 2
    faults: tuple[str, ...] = ()
    most_faults: int = 1
    search: str = "exhaustive"
    every: bool = False
    most_schedules: int = 100_000
    most_switches: int | None = None
    seed: int = 1
    budget_s: float = 60.0


@dataclass(slots=True)
class Schedule:
    """One schedule that was run. `says` is what broke, in one sentence, or ""; `without`: callers left out."""

    events: list[Event]
    evidence: Evidence
    finding: Finding
    says: str
    without: tuple[str, ...] = ()

    @property
    def sharp(self) -> bool:
        """Whether it broke something that the domain has words for."""
        return any(self.finding.breaches.values()) or (bool(self.says) and not self.finding.broken)

    @property
    def choices(self) -> list[Choice]:
        """What was chosen, one after the other."""
        return [event.choice for event in self.events if event.choice.kind != "time"]

    @property
    def steps(self) -> list[Step]:
        """All that was done, in its order."""
        return [step for event in self.events for step in event.steps]

    def explanation(self) -> Explanation:
        """As data that can be drawn."""
        return explain(self.evidence, self.steps, self.finding)


@dataclass(slots=True)
class Exploration:
    """What exploring found.

    `caps` are the reasons why it is no proof; `outcomes` all that could be seen from outside.
    """

    verdict: Verdict
    reason: str
    exhausted: bool
    schedules: int
    pruned: int
    violated: int
    elapsed_s: float
    first: Schedule | None = None
    caps: tuple[str, ...] = ()
    outcomes: set[Any] = field(default_factory=set)
    complete: bool = True

    def lost(self, why: str) -> Exploration:
        """The same, where a store was lost meanwhile: nothing that was seen after that counts."""
        return replace(self, verdict=Verdict.INCONCLUSIVE, reason=f"a store was lost: {why}", exhausted=False)


class Explorer:
    """Runs schedules of one cell, as an async context: it holds the connections."""

    def __init__(self, bound: Bound, stores: Stores, options: Options) -> None:
        """The stores must be open."""
        scenario = bound.scenario
        self.bound = bound
        self.options = options
        self.items = scenario.burst(Random(f"{options.seed}:0"), options.size)
        keys = list(dict.fromkeys(key for item in self.items for key in item.keys))
        rule = scenario.all_rules()[bound.cell.rule]
        # Where time can move it matters when a clock is read.
        clock_steps = bool({"pause", "crash"} & set(options.faults))
        self.cell = Cell(scenario, bound.strategy, rule, processes=options.processes, clock_steps=clock_steps)
        self.world = World(stores, bound.strategy.store, scenario, keys)
        self.invariants = scenario.invariants()
        self.caps: set[str] = set()

    async def __aenter__(self) -> Self:
        await self.world.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.world.close()

    async def explore(
        self, search: Search, progress: Callable[[int, int], None] = lambda _n, _broken: None
    ) -> Exploration:
        """Until the search is at its end, or the first violation, or the budget."""
        options = self.options
        began = time.monotonic()
        schedules = violated = since = 0
        first: Schedule | None = None
        reason = ""
        outcomes = set()
        complete = True
        while not reason:
            try:
                found = await self.play(search)
            except asyncio.CancelledError:  # Ctrl-C: what was found before stands
                reason, complete = "interrupted", False
                break
            more = search.finished(found.events if found is not None else self.abandoned)
            if found is not None:
                schedules += 1
                outcomes.add(signature(found))
                if found.says:
                    violated += 1
                    if first is None or (found.sharp and not first.sharp):
                        first, since = found, schedules
                if first is not None and not options.every and (first.sharp or schedules - since >= _SHARPER):
                    break
            if not more:
                break
            reason = self._stop(schedules, time.monotonic() - began)
            if schedules % _PROGRESS_EVERY == 0:
                progress(schedules, violated)
        verdict, why = _verdict(violated, search, schedules, self.caps, reason)
        return Exploration(
            verdict, why, search.exhausted and not reason, schedules, search.pruned, violated,
            time.monotonic() - began, first, tuple(sorted(self.caps)), outcomes, complete,
        )  # fmt: skip

    def _stop(self, schedules: int, elapsed_s: float) -> str:
        """Why no schedule begins any more; "" while there is no reason."""
        if schedules >= self.options.most_schedules:
            return f"stopped after {schedules:,} schedules"
        return f"stopped after {self.options.budget_s:g} s" if elapsed_s > self.options.budget_s else ""

    async def play(self, search: Search, without: Collection[str] = ()) -> Schedule | None:
        """One schedule, judged; None where the search gave it up: what happened is then in `abandoned`."""
        names = await self.world.fresh()
        cast = Cast(self.cell, self.items, names, self.world.prefix, self.world.base_ms, without)
        machine = Machine(self.world, cast, self.options.faults, self.options.most_faults)
        try:
            await machine.run(search)
            self.caps |= machine.caps
            if machine.abandoned:
                self.abandoned = machine.events
                return None
            found = await self._judged(machine)
            found.without = tuple(sorted(without))
            return found
        finally:
            await self._clean(machine)

    async def shrunk(self, schedule: Schedule) -> Schedule:
        """The smallest schedule that breaks, starting from this one."""

        async def again(choices: Sequence[Choice], without: frozenset[str]) -> Schedule:
            played = await self.play(Replay(choices, lenient=True), without)
            assert played is not None
            return played

        return await shrink(schedule, again)

    async def _judged(self, machine: Machine) -> Schedule:
        cast = machine.cast
        for caller in machine.callers:
            if caller.alive and caller.current is not None and caller.condition != "gone":
                caller.current.error = "stuck"
        rest = await self.world.rest(tuple(cast.names.values()))
        evidence = cast.evidence(rest, machine.now_ms)
        finding = judge_evidence(evidence, self.bound.spec, self.invariants, "burst")
        says = _says(finding) or cast.answered_differently() or ""
        events = list(machine.events)
        if not says and any(event.choice.kind in FAULTS or event.choice.kind == "crash-late" for event in events):
            says = await self._ask_again(machine)
        return Schedule(events, evidence, finding, says)

    async def _ask_again(self, machine: Machine) -> str:
        """Whether a new request gets its answer after a fault, once every lease has passed in silence."""
        machine.faults_left = 0
        for key in machine.cast.names.values():
            request = self._probe(key, machine.cast.names)
            if request is None:
                continue
            await machine.pass_time(self.cell.leases_ms + 1)
            before = len(machine.cast.operations)
            machine.cast.ask_again(request._replace(id="probe"))
            await machine.run(Replay([], lenient=True))
            asked = machine.cast.operations[before]
            if asked.reply is None or asked.reply == ABORTED:
                told = "never answered" if asked.reply is None and not asked.error else asked.error or "aborted"
                return f"a new request after every lease had passed was {told}"
            probes = [asked.operation()]
            for invariant in self.invariants:
                if "probe" in invariant.applies:
                    for breach in invariant.check(Evidence("probe", (key,), (), probes=probes)):
                        return breach.says
        return ""

    def _probe(self, key: str, names: Mapping[str, str]) -> Request | None:
        scenario = self.bound.scenario
        asked = scenario.probe(key)
        if asked is not None:
            return asked
        for item in self.items:
            if not isinstance(item, Attempt):
                return item._replace(keys=tuple(names[name] for name in item.keys))
        return None

    async def _clean(self, machine: Machine) -> None:
        """Leave nothing of a schedule behind: open transactions, watched keys, half-run programs."""
        leftover = Event(0, Choice("end", ""), machine)
        for caller in machine.callers:
            if caller.alive:
                await machine.remove(caller, leftover)
            if caller.condition == "gone":
                caller.bury()


def _says(finding: Finding) -> str:
    if not finding.broken:
        return ""
    for breaches in finding.breaches.values():
        if breaches:
            return breaches[0].says
    if finding.order == "illegal":
        return "no one-at-a-time order explains the answers and what was left behind"
    return f"{len(finding.stuck)} requests were never answered"


def signature(schedule: Schedule) -> Any:
    """What can be told apart from outside: replies, the state at rest, the verdict."""
    replies = tuple(
        sorted((one.request.id, str(one.status), one.error, repr(one.reply)) for one in schedule.evidence.operations)
    )
    rest = tuple(repr(value) for value in (schedule.evidence.rest or {}).values())
    return replies, rest, bool(schedule.says)


def _verdict(violated: int, search: Search, schedules: int, caps: set[str], reason: str) -> tuple[Verdict, str]:
    if violated:
        return Verdict.VIOLATED, f"{violated:,} of {schedules:,} schedules broke"
    if not schedules:
        return Verdict.INCONCLUSIVE, reason or "nothing ran"
    if reason or not search.exhausted:
        return Verdict.BOUNDED, reason or "the search does not cover every schedule"
    if caps:
        return Verdict.BOUNDED, "; ".join(sorted(caps))
    return (
        Verdict.PROVED,
        f"every schedule was run, or differs from one only in the order of independent steps: {schedules:,}",
    )


def searching(options: Options) -> Search:
    """The search that the options name."""
    match options.search:
        case "random":
            return RandomWalk(options.seed, options.most_schedules)
        case "pct":
            return Pct(options.seed, options.most_schedules)
        case _:
            return Exhaustive(most_switches=options.most_switches)
