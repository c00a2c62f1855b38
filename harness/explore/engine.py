"""Exploring a cell: schedule after schedule on fresh keys, each judged, until a verdict is earned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

from harness.burst.cells import Bound
from harness.burst.plan import drawn
from harness.explore.conclusion import Conclusion
from harness.explore.event import Choice, Event, differs
from harness.explore.exhaustive import Exhaustive
from harness.explore.in_vain import InVain, Vain
from harness.explore.machine import Machine
from harness.explore.memories import Memories
from harness.explore.options import FAULTS, Options
from harness.explore.outside import WATCHED, kept, may_take
from harness.explore.passing import pass_time
from harness.explore.pct import Pct
from harness.explore.persistence import went_on
from harness.explore.program import Cast, Cell
from harness.explore.random_walk import RandomWalk
from harness.explore.replay import Replay
from harness.explore.saying import broke, held_up, in_columns, locked_out, told, waits, what_failed
from harness.explore.scouting import EACH, OFTEN, Scouting
from harness.explore.search import Search
from harness.explore.shrink import shrink
from harness.explore.world import World, unusable
from harness.judge import Budget, Explanation, Finding, explain, judge_evidence, unanswered
from harness.judge.findings import breaches_of
from harness.model import (
    ABORTED,
    Attempt,
    Claim,
    Evidence,
    Operation,
    RaceError,
    Request,
    Step,
    StoreFault,
    UsageError,
    Verdict,
    described,
    where,
)
from harness.stores import Stores
from harness.strategy import Strategy

_TELL_S = 0.25
_TRIES = 4
"""A schedule in which something happened that nobody chose is run again, so often in all."""
_MOST_DIFFERED = 20
"""So often in a row a schedule is run again in which the server let another waiting statement go on first."""
_MOST_OVERTAKEN = 50
_OVERTAKES = "PostgreSQL lets a statement go on before one that has waited longer, again and again"
_VERDICT_ONLY = Budget(explain_s=0.0)
_LEAST_SHRINKING_S, _MOST_SHRINKING_S = 2.0, 20.0
_MOST_DRAWN = 50
"""So many bursts are drawn for each role that is to be in it."""
_SHARPER = 100
"""So many schedules more are run to find a violation that the domain has words for."""


@dataclass(slots=True)
class Schedule:
    """One schedule that was run. `says` is what broke, in one sentence, or ""; `without`: callers left out."""

    events: list[Event]
    evidence: Evidence
    finding: Finding
    says: str
    without: tuple[str, ...] = ()
    explained: Callable[[], Finding] | None = None
    """Judges it again, for the fewest requests that no order explains."""
    why: str = ""
    """Who waited for whom in the end."""
    told: Mapping[tuple[str, str], Operation] = field(default_factory=dict)
    """Each delivery of a request that came more than once: as `explain` wants it."""

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
        finding = self.finding if self.explained is None else self.explained()
        found = explain(self.evidence, self.steps, finding, self.told)
        why = in_columns(self.why, found.columns, self.evidence.operations)
        return replace(found, says=self.says or found.says, why=why or found.why or what_failed(found))


@dataclass(slots=True)
class Exploration:
    """What exploring found.

    `caps` are the reasons why it is no proof; `outcomes` all that could be seen from outside. `errors` counts the
    schedules in which a caller was shown each of them, `overruns` those in which work outlived its own lease.
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
    errors: dict[str, int] = field(default_factory=dict)
    overruns: int = 0
    order: Verdict = Verdict.INCONCLUSIVE
    """Of the order alone, where schedules that break were not the end of it."""

    def lost(self, why: str) -> Exploration:
        """The same, where a store was lost meanwhile: nothing that was seen after that counts."""
        return replace(
            self,
            verdict=Verdict.INCONCLUSIVE,
            reason=f"a store was lost: {why}",
            exhausted=False,
            order=Verdict.INCONCLUSIVE,
        )


class Disturbed(RaceError):
    """Something that no choice explains comes between, again and again: exit 3."""


class Explorer:
    """Runs schedules of one cell, as an async context: it holds the connections."""

    def __init__(self, bound: Bound, stores: Stores, options: Options) -> None:
        """The stores must be open."""
        scenario = bound.scenario
        self.bound = bound
        self.options = options
        self.items = _burst(bound, options)
        keys = list(dict.fromkeys(key for item in self.items for key in item.keys))
        rule = scenario.all_rules()[bound.cell.rule]
        # Where time can move it matters when a clock is read.
        clock_steps = bool({"pause", "crash"} & set(options.faults)) or scenario.slow is not None
        self.cell = Cell(scenario, bound.strategy, rule, processes=options.processes, clock_steps=clock_steps)
        self.world = World(stores, bound.strategy, keys)
        self.invariants = scenario.invariants()
        self.caps: set[str] = set()
        self.disturbed = ""
        self.crowded = False
        self.overtaken = False
        self._differing = 0
        self.abandoned: list[Event] = []
        self._watched = WATCHED
        self._memories = Memories()
        self._doubtful = may_take(self._held())
        self._strays = False
        self.vain = Vain()

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().set_exception_handler(self._stray)  # for as long as the loop: tasks are told of late
        await self.world.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.world.close()

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A task that nobody waits for has failed: one of a script's own, whose steps the scheduler does not see."""
        if "bad yield" in str(context.get("exception")):
            self._strays = True
        else:
            loop.default_exception_handler(context)

    async def explore(
        self, search: Search, progress: Callable[[int, int], None] = lambda _n, _broken: None
    ) -> Exploration:
        """Until the search is at its end, or the first violation, or the budget."""
        began = told = time.monotonic()
        so_far, search = Conclusion(), InVain(search, self.vain)
        outcomes: set[Any] = set()
        first: Schedule | None = None
        found: Schedule | None = None
        since, more, complete = 0, True, True
        remembered: Mapping[str, str] = {}
        try:
            while more and not so_far.stopped and not (first is not None and self._enough(first, so_far, since)):
                counted = not search.persists
                found = await self.steady(search)
                remembered = remembered or self._remembered()
                more = self._more(search, found)
                so_far.uncontrolled = self._differed(search.diverged) if search.diverged else ""
                if found is not None and (found.says or counted):
                    outcomes.add(signature(found))
                    overrun = self.bound.scenario.overruns(found.evidence) > 0
                    so_far.add(
                        found.evidence, found.finding, broke=bool(found.says), overrun=overrun, steps=len(found.events)
                    )
                    if found.says and (first is None or (found.sharp and not first.sharp)):
                        first, since = found, so_far.schedules
                if more:
                    so_far.stopped = self._stop(so_far.schedules, time.monotonic() - began)
                if time.monotonic() - told > _TELL_S:
                    told = time.monotonic()
                    progress(so_far.schedules, so_far.violated)
            if first is not None and not await self._again(first):
                so_far.violated, first = 0, None
                so_far.uncontrolled = self._differed("a schedule that broke did not break when it was run again")
            if first is None and found is not None and not so_far.uncontrolled and (how := await self._changed(found)):
                so_far.uncontrolled = self._differed(how)
            self.caps |= kept(remembered, self._remembered())
        except asyncio.CancelledError:  # Ctrl-C: what was found before stands
            so_far.stopped, complete = "interrupted", False
        except Disturbed as disturbed:
            so_far.violated, first = 0, None
            so_far.uncontrolled = str(disturbed)
        so_far.caps |= self.caps
        exhausted = search.exhausted and not more
        verdict, why = so_far.verdict(exhausted=exhausted)
        order = so_far.order(exhausted=exhausted, every=self.options.every)
        return Exploration(
            verdict, why, exhausted, so_far.schedules, search.pruned, so_far.violated, time.monotonic() - began, first,
            tuple(sorted(so_far.caps)), outcomes, complete, dict(so_far.errors), so_far.overruns,
            order,
        )  # fmt: skip

    def _more(self, search: Search, found: Schedule | None) -> bool:
        """Whether there is another schedule; one that the server played in another way is run again."""
        more = search.finished(found.events if found is not None else self.abandoned)
        self._differing = self._differing + 1 if search.diverged else 0
        if search.diverged and self.crowded and self._differing < _MOST_DIFFERED:
            search.again()
            return True
        return more

    def _enough(self, first: Schedule, so_far: Conclusion, since: int) -> bool:
        """Whether the violation at hand will do."""
        return not self.options.every and (first.sharp or so_far.schedules - since >= _SHARPER)

    def _stop(self, schedules: int, elapsed_s: float) -> str:
        """Why no schedule begins any more; "" while there is no reason."""
        if schedules >= self.options.most_schedules:
            return f"stopped after {schedules:,} schedules"
        return f"stopped after {round(self.options.budget_s, 1):g} s" if elapsed_s > self.options.budget_s else ""

    def _differed(self, how: str) -> str:
        return f"{self.bound.strategy.title} does not do the same each time: {how}"

    async def _again(self, schedule: Schedule) -> bool:
        """Whether a schedule that broke does so once more: whatever nobody chose may have broken it."""
        for _ in range(_MOST_DIFFERED if self.crowded else 1):
            replay = Replay(schedule.choices)
            played = await self.steady(replay)
            if played is not None and not replay.diverged and played.says:
                return True
        return False

    async def _changed(self, schedule: Schedule) -> str:
        """What is different when a schedule is run again; "" where nothing is."""
        how, self._watched = "", _MOST_DIFFERED
        for _ in range(_MOST_DIFFERED if self.crowded else 1):
            how = await self._difference(schedule)
            if not how:
                break
        return how

    def _held(self) -> list[Any]:
        held = [value for value in vars(self.bound.strategy).values() if isinstance(value, Strategy)]
        return [self.bound.strategy, self.bound.scenario, *held]

    def _remembered(self) -> Mapping[str, str]:
        """What strategy and scenario hold in this process, and so keep from one schedule to the next."""
        return self._memories.texts(self._held())

    async def _difference(self, schedule: Schedule) -> str:
        replay = Replay(schedule.choices)
        played = await self.steady(replay)
        if played is None:
            return replay.diverged
        for before, after in zip(schedule.events, played.events, strict=False):
            if before.did != after.did:
                return differs(before.did, after.did)
        return "" if signature(played) == signature(schedule) else "the same steps had other answers"

    async def steady(self, search: Search, without: Collection[str] = ()) -> Schedule | None:
        """One schedule, as by `play`, run again where something came between. Raises Disturbed where it always does."""
        why = ""
        for _ in range(_TRIES):
            try:
                found = await self._in_order(search, without)
                if not self.disturbed:
                    return found
                why = self.disturbed
            except StoreFault as fault:
                why = unusable(fault)
            search.again()
            try:
                await self.world.reconnect()
            except (StoreFault, RaceError) as fault:
                raise Disturbed(unusable(fault)) from None
        raise Disturbed(why)

    async def _in_order(self, search: Search, without: Collection[str]) -> Schedule | None:
        """One schedule in which no statement overtook one that had asked before it. Raises Disturbed."""
        for _ in range(_MOST_OVERTAKEN):
            found = await self.play(search, without)
            if not self.overtaken and not self._begun_late():
                return found
            search.again()
        raise Disturbed(_OVERTAKES)

    def _begun_late(self) -> bool:
        """Whether programs looked at their memory before their first step: from now on they begin with one."""
        late, self.cell.begins = self.cell.remembers and not self.cell.begins, self.cell.remembers
        return late

    async def play(self, search: Search, without: Collection[str] = ()) -> Schedule | None:
        """One schedule, judged; None where the search gave it up: what happened is then in `abandoned`.

        `disturbed` says afterwards whether something happened in it that nobody chose: it then shows nothing.
        """
        self.disturbed = ""
        await asyncio.sleep(0)  # let Ctrl-C through: direct connections never give way
        if self._strays:
            what = "a strategy that is explored may not begin tasks of its own"
            raise UsageError(f"{where(self.bound.strategy.apply)}{what}: nobody sees what they do")
        names = await self.world.fresh()
        cast = Cast(self.cell, self.items, names, self.world, without)
        machine = Machine(self.world, cast, self.options.faults, self.options.most_faults)
        machine.outside = set() if self._watched > 0 or self._doubtful else None
        machine.held = (
            self._remembered if self._watched > 0 and self._watched != WATCHED else None
        )  # what the first one makes may stay
        self._watched -= 1
        try:
            await machine.run(search)
            self.caps |= machine.caps
            self.caps |= {f"a program {what}, which is no choice of a schedule" for what in machine.outside or ()}
            if machine.abandoned:
                self.abandoned = machine.events
                return None
            found = await self._judged(machine)
            self.vain.add(found.choices, machine.loops, went_on=went_on(machine), broke=bool(found.says))
            found.without = tuple(sorted(without))
            return found
        finally:
            self.disturbed = machine.disturbed or _too_slow(machine)
            self.overtaken = machine.overtaken
            if machine.crowded:
                self.crowded = True
            await machine.clean()

    async def smallest(self, found: Exploration) -> tuple[Exploration, Schedule | None]:
        """The smallest schedule that breaks, if one does; cancelled, the first, and what was found is not complete."""
        if found.first is None:
            return found, None
        try:
            return found, await self.shrunk(found.first)
        except asyncio.CancelledError:  # Ctrl-C: what was found before stands
            return replace(found, complete=False), found.first

    async def shrunk(self, schedule: Schedule) -> Schedule:
        """The smallest schedule that breaks, starting from this one."""

        async def again(choices: Sequence[Choice], without: frozenset[str]) -> Schedule:
            played = await self.steady(Replay(choices, lenient=True), without)
            assert played is not None
            return played

        return await shrink(
            schedule, again, min(max(self.options.budget_s, _LEAST_SHRINKING_S), _MOST_SHRINKING_S)
        )  # fmt: skip

    async def _judged(self, machine: Machine) -> Schedule:
        cast = machine.cast
        for caller in machine.callers:
            # Of whoever had not come to its turn yet when a schedule was cut, nobody knows whether it would.
            if caller.alive and caller.current is not None and caller.condition != "gone" and not machine.cut:
                caller.current.error = "stuck"
        rest = await self.world.rest(tuple(cast.names.values()))
        evidence = cast.evidence(rest, machine.now_ms)
        judged = partial(judge_evidence, evidence, self.bound.spec, self.invariants, "burst")
        finding = judged(_VERDICT_ONLY)
        ring = () if machine.cut else tuple(machine.deadlock())
        said = broke(finding, self.bound.scenario, evidence)
        says = cast.answered_differently(decisions=True) or said or cast.answered_differently() or ""
        says = locked_out(finding) if ring else says
        why = (
            waits(ring, machine.pooled)
            if ring
            else held_up(machine.callers)
            if says and says == unanswered(finding)
            else ""
        )
        events = list(machine.events)
        if not says and any(event.choice.kind in FAULTS or event.choice.kind == "crash-late" for event in events):
            says = await self._ask_again(machine, evidence)
        return Schedule(events, evidence, finding, says, explained=judged, why=why, told=told(cast.operations))

    async def _ask_again(self, machine: Machine, before_it: Evidence) -> str:
        """Whether a new request gets its answer after a fault, once every lease has passed in silence."""
        machine.faults_left = 0
        for key in machine.cast.names.values():
            refused = ""
            for request in self._probes(key, machine.cast):
                await pass_time(machine, self.cell.leases_ms + 1)
                before = len(machine.cast.operations)
                machine.cast.ask_again(request._replace(id="probe"))
                await machine.run(Replay([], lenient=True))
                if machine.cut:
                    return ""
                asked = machine.cast.operations[before]
                if asked.error and asked.error in self.bound.claim.errors:
                    refused = asked.error  # on purpose, it may be: somebody else is asked
                    continue
                refused = ""
                if asked.reply is None or asked.reply == ABORTED:
                    told = "never answered" if asked.reply is None and not asked.error else asked.error or "aborted"
                    return f"a new request after every lease had passed was {told}"
                probed = Evidence("probe", (key,), (), before_it.effects, probes=[asked.operation()])
                for invariant in self.invariants:
                    if "probe" in invariant.applies:
                        for breach in breaches_of(invariant, probed):
                            return breach.says
                break
            if refused:
                return f"a new request after every lease had passed was {refused}"
        return ""

    def _probes(self, key: str, cast: Cast) -> Iterator[Request]:
        """What may be asked of a key that was touched: the first that is not refused on purpose tells."""
        if (asked := self.bound.scenario.probe(key)) is not None:
            yield asked
            return
        for item in self.items:
            if not isinstance(item, Attempt):
                yield item._replace(keys=tuple(cast.names[name] for name in item.keys))
        # An attempt is no request: what was asked in one is asked by another.
        for request in [done.request for done in cast.operations if done.request.attempt and key in done.request.keys]:
            yield request._replace(attempt="probe")


def _burst(bound: Bound, options: Options) -> Sequence[Request | Attempt]:
    """The first burst that the seed draws; where roles have strategies of their own, the first that they are all in."""
    named = bound.strategy.named_roles
    try:
        bursts = [
            drawn(bound.scenario, options.seed, number, options.size) for number in range(_MOST_DRAWN * len(named) + 1)
        ]
        return max(bursts, key=lambda items: len({one.role for one in items} & named))
    except RaceError:
        raise
    except Exception as error:  # the scenario is the user's
        raise UsageError(described(error)) from error


def signature(schedule: Schedule) -> Any:
    """What can be told apart from outside: replies, the state at rest, the verdict."""
    replies = tuple(
        sorted((one.request.id, str(one.status), one.error, repr(one.reply)) for one in schedule.evidence.operations)
    )
    rest = tuple(repr(value) for value in (schedule.evidence.rest or {}).values())
    return replies, rest, bool(schedule.says)


def _too_slow(machine: Machine) -> str:
    took_ms = machine.elapsed_ms
    return f"a schedule took {took_ms:,.0f} ms, and keys in the store live no longer" * (
        machine.leases.outlasted_by(took_ms)
    )


def searching(options: Options, claim: Claim | None = None) -> Search:
    """The search that the options name. Where the claim is to break, more of its schedules are drawn."""
    match options.search:
        case "random":
            return RandomWalk(options.seed, options.most_schedules)
        case "pct":
            return Pct(options.seed, options.most_schedules)
        case _ if options.every or options.most_switches is not None:
            return Exhaustive(most_switches=options.most_switches)
        case _:
            breaks = claim is not None and (claim.kind == "breaks" or bool({*claim.breaks_under} & {*options.faults}))
            scout = RandomWalk(options.seed, options.most_schedules)
            return Scouting(Exhaustive(), scout, OFTEN if breaks else EACH)
