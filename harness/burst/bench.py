"""The bench: stores and fleet kept warm while one cell after the other is loaded and judged."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.burst.anew import ask_anew, shut_out
from harness.burst.cells import Bound
from harness.burst.evidence import (
    BurstRecord,
    Clock,
    Groups,
    by_burst,
    monotonic_to_unix_ns,
    released_apart_us,
    steps_from,
)
from harness.burst.fleet import Backing, Fleet, Round
from harness.burst.kills import Kills, answers_both, as_order, left_by, merged
from harness.burst.measurement import Progress
from harness.burst.observer import Observer
from harness.burst.others import Others
from harness.burst.parts import Parts
from harness.burst.plan import Load, Orders, draw, is_control, keys_of
from harness.burst.tally import Tally
from harness.judge import NO_ORDER, Budget, Finding, Kind, attributed, contradict, explain, judge_evidence
from harness.model import Effect, Evidence, Invariant, RaceError, Step, UsageError
from harness.stores import Stores
from harness.strategy import disordered

CHUNK_REQUESTS = 2000
"""Requests judged at a time at most, so that a trace of all their steps stays small."""
CHUNK_S = 0.5
"""Seconds that one chunk of bursts may take: long enough to keep workers busy, short enough to show progress."""
FIRST_CHUNK = 40
FEWEST_CHUNK = 6
MAX_PROBES = 60
MOST_APART = 3
"""So many times the bursts asked for are made at most, where the machine keeps pulling requests apart."""
_ENOUGH_IN_VAIN = 3
"""Bursts in which somebody waits for ever: each takes all the patience there is, and more of them tell nothing new."""
_JUDGE_S = 20.0
_DOUBTFUL_S, _LEAST_S, _SHARE = 20.0, 0.1, 8
"""In all so long what nothing more can be held of is searched, each for a share of what is left; that long at least."""
_SHOW_S = 8.0
_ASKING = ("probe", "resume")
"""What the first worker is told to do that asks owners and daemons."""
_SPARE_S = 30.0
_TICK_S = 0.5
_LOOK_S = 1.0
"""So often it is asked in a long judging whether the stores are still what they were: else it is all for nothing."""


class Bench:
    """Runs loads on a fleet and adds what it finds to tallies."""

    def __init__(
        self,
        stores: Backing,
        fleet: Fleet,
        progress: Callable[[Progress], None],
        first: int = 0,
        *,
        observer: Observer | None = None,
    ) -> None:
        """Both must be open already. `first` numbers the first burst: keys of a store are used once."""
        self.stores = stores
        self.fleet = fleet
        self.interrupted = False
        self.blind = False
        """Whether there is no way to read the state at rest: every lease is then waited for."""
        self._clock = Clock()
        self._others = Others()
        self._progress = progress
        self._observer = observer
        self._next_burst = first
        self._probed: dict[int, int] = {}
        self._kills: Kills | None = None
        self._until: float | None = None
        self.most_probes = MAX_PROBES
        self._doubtful_s = _DOUBTFUL_S

    def others(self) -> float | None:
        """The share of the processors that other programs used so far; None where our server may be one of them."""
        return self._others.share() if all(info.embedded for info in self.stores.infos) else None

    async def bursts(self, tally: Tally, load: Load, count: int, until: float | None = None) -> None:
        """`count` bursts of the cell under test, with its control's among them; fewer past `until` (monotonic s)."""
        # Where each burst takes long, as its scenario says, a few of them are a chunk already.
        least = chunk = self.least(tally.bound)
        self._until = until
        self._kills = Kills(load) if load.kills else None
        wanted = tally.judged + count
        tally.parts.append(Parts(tally.judged + tally.apart, wanted + tally.apart))
        at_most = tally.judged + tally.apart + count * MOST_APART
        while tally.judged < wanted and not tally.failures and not self.interrupted:
            if until is not None and time.monotonic() > until:
                break
            number = self._enough(tally, chunk, wanted - tally.judged)
            number = self._kills.most(number) if self._kills is not None else number
            before, killed, expired = tally.judged + tally.apart, tally.killed, tally.expired
            began = time.monotonic()
            try:
                await self._chunk(tally, load, number)
            except asyncio.CancelledError:  # Ctrl-C between two orders: what was judged before stands
                self.interrupted = True
                break
            pace = number / (time.monotonic() - began)
            left_s = CHUNK_S if until is None else min(CHUNK_S, until - time.monotonic())
            chunk = min(max(least, int(pace * left_s)), CHUNK_REQUESTS // load.size or 1)
            self._progress(Progress(tally.bound.strategy.title, tally.judged, wanted, "bursts", tally.broken))
            nothing = tally.judged + tally.apart == before and (tally.killed, tally.expired) == (killed, expired)
            if nothing and not (tally.failures or self.interrupted):
                tally.failures.append("no burst could be carried out")
            if tally.judged + tally.apart >= at_most or tally.in_vain >= _ENOUGH_IN_VAIN:
                break
        if load.kills and not (tally.failures or self.interrupted) and (why := tally.seen_again()):
            tally.failures.append(why)

    async def meet(self, tally: Tally, load: Load, count: int) -> None:
        """At once `count` bursts of the cell under test, and its control's among them, for somebody who waits for them.

        Fewer where that would be more than are judged at a time.
        """
        await self._chunk(tally, load, self._enough(tally, CHUNK_REQUESTS // load.size or 1, count))

    def least(self, bound: Bound) -> int:
        """How many bursts are a chunk at least."""
        return min(FIRST_CHUNK, max(FEWEST_CHUNK, bound.scenario.bursts * FIRST_CHUNK // 1000))

    def _left_s(self) -> float | None:
        """For how long bursts may begin; None where that is not for workers to mind."""
        return None

    def _enough(self, tally: Tally, most: int, missing: int) -> int:
        """How many bursts to order: at most `most`, and no more than give `missing` of the cell under test."""
        if tally.control is None:
            return min(most, missing)
        number = 0
        while number < most and missing:
            missing -= not is_control(self._next_burst + number)
            number += 1
        return number

    async def _chunk(self, tally: Tally, load: Load, number: int) -> None:
        bounds = [tally.bound] if tally.control is None else [tally.bound, tally.control]
        first = self._next_burst
        self._next_burst += number
        if self._observer is not None:
            self._observer.ordered(first, number)
        orders = Orders(
            cells=tuple(bound.cell for bound in bounds), load=load, first=first, count=number,
            deadline_s=number * load.timeout_s + _SPARE_S, budget_s=self._left_s(),
        )  # fmt: skip
        keys = {
            burst: keys_of(draw(tally.bound.scenario, load.seed, burst, load.size))
            for burst in range(first, first + number)
        }
        owned = [
            (bound, [key for burst, names in keys.items() if orders.cell_of(burst) == place for key in names])
            for place, bound in enumerate(bounds)
        ]
        for bound, mine in owned:
            if not await self.seed(tally, bound, load, mine):
                return
        self._set_lag(tally.bound)
        started = time.monotonic()
        kills, control = self._kills, tally.control is not None
        kill = kills.draw(first, number, control=control) if kills is not None else None
        done = await self.fleet.load(orders, tally.bound.cell if tally.bound.strategy.serving else None, kill)
        tally.elapsed_s += time.monotonic() - started
        tally.in_vain += done.in_vain
        await self.account(tally, done)
        records = by_burst(self.fleet.readings, done.spans)
        if done.killed is not None and not tally.failures and not await self._replace(tally, orders, done, records):
            return
        rest: dict[str, object] | None = {}
        rest_ms = 0
        for bound, mine in owned:
            left, rest_ms = await self._rest(tally, bound, load, mine)
            rest = None if rest is None or left is None else rest | left
        if await self._lost(tally):
            return
        if done.interrupted or done.stopped:  # a burst cut off in the middle is no burst
            whole = {burst for burst, at in done.releases.items() if len(at) == self.fleet.processes}
            whole -= {burst for burst, _who in done.expired}  # nor is one that the service did not let in
            records = {burst: record for burst, record in records.items() if burst in whole}
        self._judge(tally, bounds, orders, records, keys, rest, rest_ms)

    async def _replace(self, tally: Tally, orders: Orders, done: Round, records: Mapping[int, BurstRecord]) -> bool:
        """Put a new worker in the place of the killed one, and have it ask again what that was not told."""
        slot = done.killed
        assert slot is not None
        assert self._kills is not None
        tally.killed += 1
        left = left_by(self.fleet.readings[slot], done.spans[slot], sorted(records))
        self._kills.struck(sum(map(len, left.open.values())))
        tally.cut |= left.cut
        try:
            await self.fleet.replace(slot)
        except RaceError as error:
            tally.failures.append(str(error))
            return False
        for place, cell in enumerate(orders.cells):
            mine = {burst: found for burst, found in left.open.items() if orders.cell_of(burst) == place}
            bound = tally.bound if place == 0 or tally.control is None else tally.control
            requests = [one for found in mine.values() for one in found]
            # One after the other, each until it has lost its patience.
            patience_s = orders.load.timeout_s * (len(requests) + 1)
            asked = as_order(requests)
            answer = await self.one(tally, bound, "resume", orders.load, patience_s=patience_s, requests=asked)
            if answer is None:
                return False
            tally.resumed += len(requests) if cell == tally.bound.cell else 0
            tally.struck |= mine.keys() if cell == tally.bound.cell else set()
            tally.shut += shut_out(mine, answer["told"]) if cell == tally.bound.cell else []
            final = answers_both(bound.strategy)
            for burst in mine:
                merged(records[burst], answer["told"], monotonic_to_unix_ns(), final)
        return True

    def _judge(
        self,
        tally: Tally,
        bounds: Sequence[Bound],
        orders: Orders,
        records: Mapping[int, BurstRecord],
        keys: Mapping[int, tuple[str, ...]],
        rest: Mapping[str, Any] | None,
        rest_ms: int,
    ) -> None:
        """Judge each burst of a chunk, and count it for the cell that it belongs to."""
        offset = monotonic_to_unix_ns()
        broken: dict[int, Evidence] = {}
        sharp: set[int] = set()
        for burst in sorted(records):
            record = records[burst]
            names = keys[burst]
            evidence = Evidence(
                name=str(burst),
                keys=names,
                operations=tuple(record.operations),
                effects=record.effects,
                initial=dict.fromkeys(names, tally.bound.scenario.initial_value),
                rest=None if rest is None else {key: rest[key] for key in names},
                rest_ms=rest_ms,
                monotonic_to_unix_ns=offset,
            )
            bound = bounds[orders.cell_of(burst)]
            evidence = self.understood(bound, evidence)
            if (spread_us := released_apart_us(record.operations, tally.sent_ns)) is not None:
                tally.spreads_us.append(spread_us)
            finding = self._judged(tally, bound, evidence, bound.scenario.invariants(), "burst")
            if bound is tally.bound:
                tally.add(evidence, finding, burst)
                if finding.broken:
                    broken[burst] = evidence
                if any(finding.breaches.values()):
                    sharp.add(burst)
            else:
                tally.add_control(evidence, finding)
            if self._observer is not None:
                self._observer.burst(burst, evidence, finding, control=bound is not tally.bound)
        if broken and tally.counterexample is None:
            self._explain(tally, {burst: one for burst, one in broken.items() if burst in sharp} or broken)
        self.fleet.forget_steps()
        for burst in records:
            if bounds[orders.cell_of(burst)] is tally.bound:
                tally.last_bursts[burst] = keys[burst], records[burst].effects
        tally.silent_since_s = time.monotonic()

    def _judged(
        self, tally: Tally, bound: Bound, evidence: Evidence, invariants: Sequence[Invariant], kind: Kind
    ) -> Finding:
        """Judge one piece; an explanation is made for the one violation that is shown.

        Once one has no verdict, or somebody no answer, the others can only be broken: that mostly shows at once, while
        many outcomes that nobody knows would take each of them all of its time.
        """
        doubtful = tally.unjudged > 0 or tally.unanswered > 0
        seconds = max(_LEAST_S, self._doubtful_s / _SHARE) if doubtful else _JUDGE_S
        began = time.monotonic()
        finding = judge_evidence(evidence, bound.spec, invariants, kind, Budget(seconds=seconds, explain_s=0.0))
        if doubtful and finding.order == "unknown":
            self._doubtful_s -= time.monotonic() - began
        return finding

    def understood(self, bound: Bound, evidence: Evidence) -> Evidence:  # noqa: ARG002 - of race's own stores
        """The evidence in the scenario's own words."""
        return evidence

    def _explain(self, tally: Tally, broken: Mapping[int, Evidence]) -> None:
        """The violated burst with the fewest steps, as data."""
        numbers = set(itertools.islice(broken, 50))
        steps: dict[int, list[Step]] = {}
        for burst, step in steps_from(self.fleet.steps_of(numbers.__contains__)):
            steps.setdefault(burst, []).append(step)
        if not steps:
            return
        burst = min(steps, key=lambda number: len(steps[number]))
        if self._observer is not None:
            self._observer.shown(burst, steps[burst])
        self.show(tally, broken[burst], "burst", steps[burst])

    @staticmethod
    def show(tally: Tally, evidence: Evidence, kind: Kind, steps: Sequence[Step] = ()) -> None:
        """Look at what broke again, for as little as possible that shows it."""
        spec, invariants = tally.bound.spec, tally.bound.scenario.invariants()
        found = contradict(
            evidence, lambda again, budget: judge_evidence(again, spec, invariants, kind, budget), _SHOW_S
        )
        finding = found.finding
        if finding.unordered:  # the fewest requests that no order explains tell the story
            steps = [step for step in attributed(steps) if step.request in finding.unordered] or steps
        explained = explain(evidence, steps, finding)
        if explained.says == NO_ORDER:
            explained = replace(explained, says=disordered(tally.bound.scenario, evidence, NO_ORDER))
        tally.contradiction, tally.counterexample = found, explained

    async def sustained(self, tally: Tally, load: Load) -> None:
        """A closed loop on a hot key set for `load.duration_s`, judged afterwards. Nothing where a store was lost."""
        try:
            if await self.stores.lost() is None:
                await self._sustained(tally, load)
        except asyncio.CancelledError:  # Ctrl-C between two orders: what was judged before stands
            self.interrupted = True

    async def _sustained(self, tally: Tally, load: Load) -> None:
        first = self._next_burst
        self._next_burst += 1
        orders = Orders(
            cells=(tally.bound.cell,), load=load, first=first, count=1, deadline_s=load.timeout_s + _SPARE_S
        )
        names = keys_of(draw(tally.bound.scenario, load.seed, first, 1))
        hot = [f"{key.rsplit(':', 1)[0]}:h{first}-{number}" for key in names for number in range(load.keys)]
        if not await self.seed(tally, tally.bound, load, hot):
            return
        self._set_lag(tally.bound)
        ticking = asyncio.create_task(self._tick(tally, load))
        try:
            with self._apart(bool(tally.bound.strategy.serving)):
                done = await self.fleet.load(orders, tally.bound.cell if tally.bound.strategy.serving else None)
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
        await self.account(tally, done)
        for instants in done.releases.values():
            tally.elapsed_s += max(0, done.ended_ns - min(instants)) / 1e9
        begin_ns = min((at for instants in done.releases.values() for at in instants), default=0)
        tally.parts.append(Parts.of_time(begin_ns, load.duration_s))
        groups = Groups(self.fleet.readings, done.spans)
        rest, rest_ms = await self._rest(tally, tally.bound, load, groups.keys)
        lost = await self._lost(tally)
        invariants = [one for one in tally.bound.scenario.invariants() if "sustained" in one.applies]
        every = groups.evidence(tally.bound.scenario.initial_value, rest, rest_ms)
        shown: tuple[tuple[bool, int], Evidence] | None = None
        looked_s = time.monotonic()
        for judged, evidence in enumerate(every, start=1):
            if lost:  # what a store forgot would be judged as a violation; counted it is all the same
                tally.count(evidence.operations)
            else:
                finding = self._judged(tally, tally.bound, evidence, invariants, "sustained")
                tally.add(evidence, finding)
                if finding.broken:  # rather in the domain's words, then rather a small one
                    rank = (not any(finding.breaches.values()), len(evidence.operations))
                    shown = (rank, evidence) if shown is None or rank < shown[0] else shown
            if judged % 8 == 0:
                self._progress(Progress("counting" if lost else "judging", judged, len(groups), "keys", tally.broken))
            await asyncio.sleep(0)  # let Ctrl-C through
            if time.monotonic() - looked_s > _LOOK_S and not lost:
                if await self.stores.lost() is not None:  # no more can be said; what was judged until now stands
                    break
                looked_s = time.monotonic()
        if shown is not None and tally.counterexample is None:
            self.show(tally, shown[1], "sustained")

    @contextlib.contextmanager
    def _apart(self, owned: bool) -> Iterator[None]:
        """Meanwhile a server of ours has a core of its own, where the workers and an owner leave one free."""
        if not isinstance(self.stores, Stores):
            yield
            return
        self.stores.keep_apart(self.fleet.processes + owned)
        try:
            yield
        finally:
            self.stores.let_go()

    async def _tick(self, tally: Tally, load: Load) -> None:
        """Tell how long the load has lasted, until cancelled.

        A clock that was set, and set back before the end, is seen only meanwhile: what befell the stores is remembered.
        """
        began = time.monotonic()
        while True:
            passed_s = min(time.monotonic() - began, load.duration_s)
            self._progress(Progress(tally.bound.strategy.title, passed_s, load.duration_s, "s"))
            await asyncio.sleep(_TICK_S)
            if isinstance(self.stores, Stores):
                await self.stores.lost()

    async def probe(self, tally: Tally, load: Load) -> None:
        """Ask a sample of keys whether they still work, once every lease has passed: rather those of killed workers."""
        await ask_anew(self, tally, load)
        scenario = tally.bound.scenario
        last = dict(sorted(tally.last_bursts.items(), key=lambda each: each[0] in tally.cut))
        tally.last_bursts.clear()
        sample = [(burst, key) for burst, (keys, _effects) in last.items() for key in keys][-self.most_probes :]
        if not sample or scenario.probe(sample[0][1]) is None or tally.failures or self.interrupted:
            return
        if tally.undecided >= tally.judged:  # whoever gave up all the time is no news when giving up once more
            return
        keys = [key for _burst, key in sample]
        try:
            rest, _rest_ms = await self._rest(tally, tally.bound, load, keys)
            if rest is None and not self.blind:  # nobody knows which leases still run: a refusal would say nothing
                return
            # What has passed in silence already is not waited for again.
            if rest is None or any(map(scenario.running, rest.values())):
                await asyncio.sleep(tally.silent_since_s + scenario.leases_ms / 1000 - time.monotonic())
            bursts = [burst for burst, _key in sample]
            answer = await self.one(tally, tally.bound, "probe", load, keys=keys, bursts=bursts)
        except asyncio.CancelledError:
            self.interrupted = True
            return
        if answer is not None and not await self._lost(tally):
            effects = {burst: effects for burst, (_keys, effects) in last.items()}
            self._judge_probes(tally, by_burst(self.fleet.readings[:1], [answer["span"]]), effects)

    def _judge_probes(
        self, tally: Tally, records: dict[int, BurstRecord], effects: Mapping[int, Sequence[Effect]]
    ) -> None:
        for burst, record in records.items():
            evidence = Evidence(
                name=str(burst), keys=(), operations=(), effects=effects.get(burst, ()), probes=record.probes
            )
            tally.add_probes(evidence, burst)
            if self._observer is not None:
                self._observer.probes(burst, evidence)

    async def _lost(self, tally: Tally) -> bool:
        """Whether a store, or the time, was lost meanwhile: what it forgot would be judged as a violation."""
        reason = self._clock.set_by() or await self.stores.lost()
        if reason is not None and reason not in tally.failures:
            tally.failures.insert(0, reason)
        return reason is not None

    def _set_lag(self, bound: Bound) -> None:
        """The replica is behind by as much as this strategy says."""
        if isinstance(self.stores, Stores) and self.stores.link is not None:
            self.stores.link.lag_ms = bound.strategy.lag_ms or 0.0

    async def seed(self, tally: Tally, bound: Bound, load: Load, keys: Sequence[str]) -> bool:
        """Ready the keys of a cell: the one under test, or its control, whose tables may be others."""
        if keys and (bound.strategy.store == "postgres" or bound.scenario.initial_value is not None):
            return await self.one(tally, bound, "seed", load, keys=list(keys)) is not None
        return True

    async def one(
        self, tally: Tally, bound: Bound, do: str, load: Load, *, patience_s: float | None = None, **more: object
    ) -> dict[str, Any] | None:
        """Let the first worker do something; None where a store or the worker is gone, which the tally then knows."""
        try:
            owned = do in _ASKING and bool(bound.strategy.serving)
            return await self.fleet.one(do, bound.cell, load, owned=owned, patience_s=patience_s, **more)
        except RaceError as error:
            await self._failed(tally, error)
            return None

    async def _failed(self, tally: Tally, error: RaceError) -> None:
        """Note why something was not done. Raises what a script did wrong.

        Not where a store has forgotten what was put there: no script reckons with that.
        """
        if not isinstance(error, UsageError):
            tally.failures.append(str(error))
        elif not await self._lost(tally):
            raise error

    async def _rest(
        self, tally: Tally, bound: Bound, load: Load, keys: Iterable[str]
    ) -> tuple[dict[str, object] | None, int]:
        if tally.failures:
            return None, 0
        answer = await self.one(tally, bound, "rest", load, keys=list(keys))
        return (None, 0) if answer is None else (answer["rest"], answer["rest_ms"])

    async def account(self, tally: Tally, done: Round) -> None:
        """Add what the workers told. Raises UsageError."""
        tally.commands += done.commands
        tally.retries += done.retries
        self.interrupted = self.interrupted or done.interrupted
        if done.failure is not None:
            await self._failed(tally, done.failure)
