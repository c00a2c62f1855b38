"""One schedule: programs on real stores, one step at a time, in the order that a search chooses."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.explore.blocking import foreseen
from harness.explore.caller import Caller, Open, Performed
from harness.explore.event import WAITS, Choice, Event
from harness.explore.faults import DELIVERED_TWICE, PAUSED, crash, possible, start_again
from harness.explore.leases import Leases
from harness.explore.outside import shared, watching
from harness.explore.passing import TIME_MOVES, later, let_time_pass, pause, sleep_on, touched
from harness.explore.persistence import PERSIST, can_persist, loop_of, may_persist, persist
from harness.explore.pools import Pool, waiting
from harness.explore.program import REPLICA, Cast
from harness.explore.redis_steps import finish_redis, redis_step
from harness.explore.search import Search
from harness.explore.session import CARRIED, FOUND, Pending
from harness.explore.shared_connection import forget_shared
from harness.explore.statement import kind_of
from harness.explore.steps import end_reading, finish_sql, grant, take_step
from harness.explore.touch import EVERYTHING, LOCAL, NOWHERE, Touch, disturbs, writes
from harness.explore.turns import Turn
from harness.explore.waiting import answered, wake_statements
from harness.explore.world import World
from harness.model import ConnectionLost, RaceError, StoreFault, UsageError, described

_MOST_EVENTS = 2_000


class Machine:
    """Runs one schedule. `events` is what happened, `caps` is what keeps it from being a proof.

    `disturbed` says what happened that nobody chose: the schedule then shows nothing. `crowded`: several statements
    waited for rows at once; `overtaken`: one that asked later went on first, so that the schedule is another one.
    """

    def __init__(self, world: World, cast: Cast, faults: Sequence[str], most_faults: int) -> None:
        """`cast` makes the callers; `faults` may happen, `most_faults` of them in one schedule."""
        self.world = world
        self.cast = cast
        self.faults = faults
        self.faults_left = most_faults if faults else 0
        self.events: list[Event] = []
        self.now_ms = world.base_ms
        self.stored: dict[str, str] = {}
        self.mutexes: dict[tuple[int, str], list[Caller]] = {}
        self.pools: dict[tuple[int, str], Pool] = {}
        self.watched: dict[int, Touch] = {}
        """What the connection that a virtual process shares has watched since it last forgot, by process."""
        self.caps: set[str] = set()
        self.abandoned = False
        self.disturbed = ""
        self.crowded = False
        self.overtaken = False
        self.loops: dict[object, tuple[int, str]] = {}
        """After how many events somebody first had to wait between two tries, in each loop of tries, and who."""
        self._asked: dict[str, Event] = {}
        """The last event that each caller chose to take."""
        self.rows_moved = False
        self.strayed = False
        """Whether a statement may have written rows under names that the next schedule has, too."""
        self.leases = Leases(world.base_ms)
        self.stranger_since = 0.0
        """Since when somebody who is no caller has kept a lock that callers wait for; of the machine's clock."""
        self._began = time.monotonic()
        self.rows_ran_out = False
        self.idle_ms = 0
        self.outside: set[str] | None = None
        """What programs take from outside their sessions, where they are watched."""
        self.held: Callable[[], Mapping[str, str]] | None = None
        """What they keep outside of it, where it is looked whether they change that."""

    @property
    def callers(self) -> list[Caller]:
        """All, in the order of their columns."""
        return self.cast.callers

    def at_ns(self, index: int) -> int:
        """The time of an event on the schedule's own monotonic clock."""
        return (self.now_ms - self.world.base_ms) * 1_000_000 + index * 1_000

    async def run(self, search: Search) -> None:
        """Until nobody can move any more, or the search gives up."""
        start = Event(0, Choice("start", ""), self)
        for caller in list(self.callers):
            await self.settle(caller, start)
        while True:
            choices = self._choices(persists=search.persists)
            if not choices:
                if await let_time_pass(self):
                    continue
                self._show_waits()
                return
            if self.cut:
                self.caps.add(f"a schedule was cut after {_MOST_EVENTS:,} steps")
                return
            choice = search.choose(choices, self.events)
            if choice is None:
                self.abandoned = True
                return
            await self.take(choice)
            if self.overtaken:
                self.abandoned = True
                return

    def _show_waits(self) -> None:
        """What those who wait for ever have asked for: nothing else would show it."""
        for caller in self.callers:
            pending, asked = caller.pending, self._asked.pop(caller.name, None)
            if caller.condition != "blocked" or caller.serves or pending is None or asked is None:
                continue
            plain = self.cast.plain
            words = tuple(plain(str(word)) for word in (pending.words or (f"lock {pending.name}",)))
            asked.show(caller, pending.kind, words, WAITS)

    # Choices

    def _choices(self, *, persists: bool) -> list[Choice]:
        cycle = self.cycle()
        if cycle:  # the server ends one where it sees all of it, and nothing of it is in a process's memory
            seen = all(caller.task is not None for caller in cycle)
            return [Choice("victim", caller.name) for caller in cycle if seen]
        ready = [caller for caller in self.callers if caller.condition == "ready"]
        # Who would only wait is sent late: as soon as it is served, or once nobody else can go on.
        willing = [caller for caller in ready if not caller.unserved] or ready
        found = [Choice("step", caller.name) for caller in willing]
        if self.faults_left and found:
            found += possible(self)
        if persists and found:
            found += [Choice(PERSIST, caller.name) for caller in may_persist(self)]
        return found + later(self)

    @property
    def cut(self) -> bool:
        """Whether it goes on for too long."""
        return len(self.events) > _MOST_EVENTS

    async def take(self, choice: Choice) -> None:
        """What was chosen happens, with all that it brings about."""
        caller = self.cast.named(choice.caller)
        if not caller.serves and choice.kind not in TIME_MOVES:
            self.idle_ms = 0
        event = Event(len(self.events) + 1, choice, self)
        self.events.append(event)
        self.faults_left -= choice.kind not in {"step", "victim", "later", PERSIST}
        self._asked[caller.name] = event
        match choice.kind:
            case "step" | "lost-reply":
                await take_step(self, caller, event, lost=choice.kind == "lost-reply")
            case "crash" | "crash-late":
                await crash(self, caller, event, late=choice.kind == "crash-late")
            case "pause":
                event.show(caller, "fault", (PAUSED,))
                await pause(self, caller, event)
            case "persist":
                await persist(self, caller, event)
            case "later":
                await sleep_on(self, event)
            case "duplicate":
                event.show(caller, "fault", (DELIVERED_TWICE,))
                twin = self.cast.duplicate(caller)
                event.woke.append(twin.name)
                await self.settle(twin, event)
            case "victim":
                await self._end_victim(caller, event)
        await self.wake(event)
        await self._let_fall_behind(event)

    async def _let_fall_behind(self, event: Event) -> None:
        """Whoever has written left the replica behind; once it has caught up there is nothing for it to do."""
        for caller in self.callers:
            if caller.name == REPLICA and caller.alive:
                written = any(name.startswith("redis:") for name in event.touch.writes)
                if event.choice.caller == REPLICA:
                    caller.condition = "idle"
                elif written and caller.condition == "idle":
                    caller.condition = "ready"
                    await self.settle(caller, event)

    # Going on

    async def resume(self, caller: Caller, event: Event, value: Any, *, throw: bool = False) -> None:
        """Let a program go on with a reply or an error, up to its next step."""
        caller.condition = "ready"
        self._advance(caller, event, value, throw=throw)
        await self.settle(caller, event)

    def _advance(self, caller: Caller, event: Event, value: Any, *, throw: bool = False) -> None:
        caller.now_ms = self.now_ms
        under_way, known = [caller.current] if caller.current is not None else [], len(self.cast.operations)
        held: Mapping[str, str] = self.held() if self.held is not None else {}
        try:
            with watching(self.outside) if self.outside is not None else contextlib.nullcontext():
                caller.pending = caller.program.throw(value) if throw else caller.program.send(value)
        except (StopIteration, StoreFault):
            caller.pending, caller.condition = None, "done"
        except RaceError:
            raise
        except Exception as error:
            raise UsageError(described(error)) from error
        under_way += self.cast.operations[known:]
        self._remember(caller, event, under_way)
        if self.held is not None:
            self.caps |= shared(held, self.held())
        if caller.pending is not None and not isinstance(caller.pending, Pending):
            raise UsageError("a strategy that is explored may await only its session: asyncio's own waits are not seen")
        for done in under_way:
            if done is not caller.current:
                event.add(Touch(returns=True, invokes=done.invoked_ns == 0))
                done.invoked_ns = done.invoked_ns or event.at + 200  # it has taken no step
                done.now_max_ms = max(done.now_ms, self.now_ms) if done.until_answered else done.now_ms
                if done.returned:
                    done.returned_ns = event.at + 300

    async def settle(self, caller: Caller, event: Event) -> None:
        """Take the steps that nobody else can notice, up to one that somebody can."""
        if caller.pending is None and caller.condition == "ready":
            self._advance(caller, event, None)
        while caller.condition == "ready" and caller.pending is not None:
            pending = caller.pending
            if pending.kind == "retry":
                self._try_again(caller, pending, event)
            elif pending.kind == "begin":
                await (await self.world.postgres(caller.place)).begin(pending.isolation)  # type: ignore[arg-type] # a session gave it
                caller.transaction = Open(pending.isolation)
                self._advance(caller, event, None)
            elif pending.kind == "commit" and not self.faults and caller.transaction and caller.transaction.only_read:
                await end_reading(self, caller, event)
                return  # which has settled it
            elif pending.kind in {"beside", "beside-end"}:
                await self._beside(caller, event, begins=pending.kind == "beside")
            elif pending.kind == "sleep" and caller.prompt:
                caller.condition, caller.due_ms = "sleeping", self.now_ms + int(pending.ms)
                return
            elif pending.kind == "redis" and (
                str(pending.words[0]).upper() in LOCAL
                or (caller.queued is not None and str(pending.words[0]).upper() not in {"EXEC", "DISCARD"})
            ):
                caller.last = event
                await redis_step(self, caller, pending, event, lost=False)
                return  # which has settled it
            else:
                caller.unserved = await self._unserved(caller, pending)
                return
        if caller.condition == "done":
            await self._over(caller, event)

    async def _unserved(self, caller: Caller, pending: Pending) -> bool:
        """Whether a step would only wait. A request that begins with it has begun with that: it is taken at once."""
        begins = caller.current is not None and caller.current.invoked_ns == 0
        if begins or self.faults:
            return False
        if pending.kind == "sql" and pending.name == FOUND and kind_of(pending.words[0]).only_looks:
            return not await self.world.finds(caller.place, pending.words)
        looks = foreseen(pending.words) if pending.kind == "redis" and caller.queued is None else None
        if looks is None:
            return False
        waits = await self.world.would_wait(caller.place, *looks)
        if waits is None:
            self.caps.add("a command waits for a key that holds something else")
        return bool(waits)

    def _try_again(self, caller: Caller, pending: Pending, event: Event) -> None:
        """Another try, once somebody has changed something since the last one."""
        if pending.name == "others":
            self._look_back(caller)
        caller.turn = pending.name == "others"
        caller.tries.loops += pending.name == "first"
        if pending.name not in {"first", CARRIED} and not caller.disturbed:
            caller.condition, caller.patience_ms = "parked", pending.ms
            if can_persist(caller) and (loop := loop_of(caller)) not in self.loops:
                self.loops[loop] = sum(one.choice.kind != "time" for one in self.events), caller.name
            return
        caller.tries.asked = []
        caller.tried, caller.disturbed, caller.tries_since = NOWHERE, False, len(self.events)
        if pending.name == "others":
            caller.looked_at, caller.tries.in_turn = len(self.events), []
        self._advance(caller, event, value=True)

    def _remember(self, caller: Caller, event: Event, under_way: Sequence[Performed]) -> None:
        """What a program has touched besides its step: its process's memory, variables that others see."""
        if caller.shares and not caller.owner:
            event.add(writes(f"memory:{caller.process}"))
            self.cast.cell.remembers |= any(done.invoked_ns == 0 for done in under_way)
        for variables in caller.variables:
            event.add(variables.touch())

    async def _beside(self, caller: Caller, event: Event, *, begins: bool) -> None:
        """A daemon of a caller's begins, or is needed no longer."""
        daemon = self.cast.beside(caller) if begins else self.cast.of(caller)
        self._advance(caller, event, None)
        if begins:
            await self.settle(daemon, event)
            return
        if daemon.alive:
            await self.remove(daemon, event)
        else:
            event.end_daemon(daemon)
        caller.variables = [one for one in caller.variables if one not in daemon.variables]

    def _look_back(self, caller: Caller) -> None:
        """An attempt waits: what it has touched since it last did, over all of its requests; and who came between."""
        caller.tried, caller.disturbed = NOWHERE, False
        turn = Turn(self.cast, caller)
        for event in self.events[caller.looked_at :]:
            if not turn.own(event) and disturbs(event.news, caller.tried):
                caller.disturbed = True
            caller.tried = caller.tried.with_(turn.touched(event))

    async def _over(self, caller: Caller, event: Event) -> None:
        """An owner's message is dealt with: its answer goes out, and the next one is taken up. Daemons never end."""
        if caller.answered:
            return
        if caller.name in self.cast.daemons:
            caller.answered = True
            if not event.steps:  # it would end again and again, and no time would pass
                raise UsageError(f"a daemon runs for ever, and {caller.name} of {self.cast.title} has ended")
            await start_again(self, caller, event)
        if caller.name not in self.cast.owners:
            return
        caller.answered = True
        asker, answer, following = self.cast.answered(caller)
        if asker is not None and asker.condition == "waiting":
            event.woke.append(asker.name)
            asker.last = event
            if isinstance(answer, tuple) and not asker.deaf:
                await self.resume(asker, event, answer)
            else:
                why = "the reply was lost" if asker.deaf else str(answer)
                asker.deaf = False
                await self.resume(asker, event, ConnectionLost(why), throw=True)
        if following is not None:
            following.last = event
            event.woke.append(following.name)
            await self.settle(following, event)

    # Those who wait

    async def answered(self, caller: Caller, event: Event) -> bool:
        """Whether a statement ends; False once the server says that it waits for somebody."""
        return await answered(self, caller, event)

    async def wake(self, event: Event) -> None:
        """After a step: polls that it disturbed, statements that waited for what it gave back."""
        touch, news = event.touch, event.news
        for caller in list(self.callers):
            if caller.name == event.choice.caller and event.choice.kind not in TIME_MOVES:
                if event.index > caller.tries_since:
                    caller.tried = caller.tried.with_(touch)
            elif caller.turn and caller.condition == "parked" and Turn(self.cast, caller).own(event):
                caller.tried = caller.tried.with_(touch)
            elif caller.alive and not caller.disturbed and disturbs(news, caller.tried):
                caller.disturbed = True
            if caller.condition == "parked" and caller.disturbed:
                caller.condition = "ready"
                event.woke.append(caller.name)
                await self.settle(caller, event)
        if self.world.store == "redis":
            await self._serve(event)
            await self._wake_commands(event)
        elif event.released or any(task.done() for _caller, task in self.inside()):
            await self._serve(event)
            await wake_statements(self, event)

    async def _serve(self, event: Event) -> None:
        """Those whose next step would only have waited, and those for whom it would now."""
        for caller in self.callers:
            pending = caller.pending
            if caller.condition == "ready" and pending is not None and caller.name != event.choice.caller:
                before, caller.unserved = caller.unserved, await self._unserved(caller, pending)
                if before and not caller.unserved:
                    event.woke.append(caller.name)

    async def _wake_commands(self, event: Event) -> None:
        for caller, task in self.inside():
            if not await self.world.waits_inside(caller.place, task):
                event.woke.append(caller.name)
                await finish_redis(self, caller, event)

    def inside(self) -> list[tuple[Caller, asyncio.Future[Any]]]:
        """Callers whose statement or command waits inside the server, and what will tell its end."""
        waiting = [caller for caller in self.callers if caller.condition == "blocked"]
        return [(caller, caller.task) for caller in waiting if caller.task is not None]

    def cycle(self) -> list[Caller]:
        """Callers that wait for each other, in a ring."""
        waits = waiting(self.pools.values(), self.callers)
        for start, first in waits.items():
            seen, at = [start], first
            while at:
                following = at[0]
                if following == start:
                    return [self.cast.named(name) for name in seen]
                if following in seen or following not in waits:
                    break
                seen.append(following)
                at = waits[following]
        return []

    @property
    def pooled(self) -> set[str]:
        """Those that wait for a connection."""
        return {caller.name for pool in self.pools.values() for caller in pool.queue}

    def deadlock(self) -> list[str]:
        """Those that wait for each other for ever: callers for what is in memory, owners for each other's answers."""
        cycle = self.cycle()
        found = [caller.name for caller in cycle] if any(caller.task is None for caller in cycle) else []
        waits = {
            caller.owner: caller.waits_for[0]
            for caller in self.callers
            if caller.condition == "waiting" and caller.name in self.cast.owners
        }
        for start, at in waits.items():
            ring = [start]
            while at in waits and at not in ring:
                ring.append(at)
                at = waits[at]  # noqa: PLW2901 - on to whom that one waits for
            if at == start and not found:
                found = ring
        return found

    async def _end_victim(self, caller: Caller, event: Event) -> None:
        """End the wait of one of those that wait for each other, as the server would."""
        assert caller.task is not None
        caller.victim = True
        event.add(EVERYTHING)
        await self.world.end_wait(caller.place)
        await asyncio.wait([caller.task])
        await finish_sql(self, caller, event)

    @property
    def elapsed_ms(self) -> float:
        """How long the schedule has really taken: leases in the store run out by that clock."""
        return (time.monotonic() - self._began) * 1_000

    async def remove(self, caller: Caller, event: Event) -> None:
        """A dead caller's connections close: what its transaction held is given back."""
        if caller.serves:
            event.end_daemon(caller)
        caller.condition, caller.pending = "gone", None
        if caller.task is not None:
            await self.world.end_wait(caller.place)
            with contextlib.suppress(StoreFault):
                await caller.task
            caller.task = None
        if caller.transaction is not None:
            event.end(caller.transaction, committed=False)
            await (await self.world.postgres(caller.place)).rollback()
            caller.transaction = None
        if caller.queued is not None or caller.watched != NOWHERE or caller.kept:
            event.add(EVERYTHING if caller.kept else NOWHERE)
            await self.world.renew(caller.place)
            caller.queued, caller.watched, caller.kept = None, NOWHERE, frozenset()
        for queue in self.mutexes.values():
            held = queue[:1] == [caller]
            if caller in queue:
                queue.remove(caller)
            if held and queue and queue[0].condition == "blocked" and queue[0].process != caller.process:
                await grant(self, queue[0], event)
        for pool in self.pools.values():
            pool.forget(caller)
        if caller.current is not None and not caller.current.error:
            caller.current.error = "crash"

    async def clean(self) -> None:
        """Leave nothing of a schedule behind: open transactions, watched keys, half-run programs."""
        leftover = Event(0, Choice("end", ""), self)
        try:
            for caller in self.callers:
                if caller.alive:
                    await self.remove(caller, leftover)
                elif caller.queued is not None or caller.watched != NOWHERE or "more" in caller.kept:
                    await self.world.renew(caller.place)  # answered between WATCH or MULTI and its end
                elif caller.kept:
                    await self.world.unlock(caller.place)
                elif caller.transaction is not None and caller.condition == "done":
                    await self.world.renew(caller.place)  # answered before COMMIT, which then never came
            for process, watched in self.watched.items():
                if watched != NOWHERE:
                    await forget_shared(self, process)
            await self.world.forget(touched(self), strayed=self.strayed)
        finally:
            for caller in self.callers:
                if caller.condition != "done":
                    caller.bury()
