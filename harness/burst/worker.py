"""A worker process: an event loop with warm connections that carries out its parent's orders.

Orders arrive as lines of JSON on stdin, answers leave on stdout, the record lies in files
that the parent made. When stdin ends the parent is dead, and so is the worker at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import time
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from random import Random
from typing import Any

from harness.burst.child import CarryOut, pin, serve
from harness.burst.closed_loop import callers
from harness.burst.kills import request_from
from harness.burst.owner import OwnerClient
from harness.burst.perform import BrokenScript, Performer
from harness.burst.plan import Cell, Load, Orders, draw, orders_from, rename
from harness.burst.record import PROBE, Recorder, write_whole
from harness.burst.rendezvous import Rendezvous, spin
from harness.burst.serving import Cells, connected
from harness.burst.serving import serve as serving
from harness.burst.session import LoadSession, VirtualProcess
from harness.burst.state import at_rest, seed
from harness.model import ConnectionLost, StoreFault, UsageError
from harness.stores import RedisConnection, Targets
from harness.strategy import Strategy

Door = tuple[str, bool]
"""A store, and whether with the login of callers who may not write."""

_PATIENCE_S = 0.005
_SUSPICIOUS_S = 2.0
_GIVE_UP_S = 2.0
_AT_WORK = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = $1::text AND pid <> pg_backend_pid() AND state IN ('active', 'idle in transaction')
"""


class Worker:
    """One process of the fleet."""

    def __init__(self, hello: dict[str, Any]) -> None:
        """`hello` is the first line: number, stores and file descriptors."""
        self.number: int = hello["worker"]
        self.processes: int = hello["processes"]
        self.targets = Targets.from_description(hello["stores"])
        self.recorder = Recorder(hello["id"], hello["entries_fd"], hello["words_fd"])
        self.steps_fd: int = hello["steps_fd"]
        self.rendezvous = Rendezvous(hello["meeting_fd"], self.number, self.processes)
        self.owner_ends = [socket.socket(fileno=fd) for fd in hello["owner_fds"]]
        self.owners: list[OwnerClient] = []
        self.cells = Cells()
        self.process = VirtualProcess()
        self.sessions: dict[Door, list[LoadSession]] = defaultdict(list)

    async def open(self) -> None:
        """Connect to the owners."""
        self.owners = [await OwnerClient().open(end) for end in self.owner_ends]

    # Sessions

    async def _new_session(self, door: Door, index: int) -> LoadSession:
        redis, postgres = await connected(self.targets, *door)
        name = f"{self.number}.{index}"
        replica = None
        if redis is not None and self.targets.replica is not None:
            replica = await RedisConnection.open(self.targets.replica)
        # No seed: who takes the place of a killed worker, or of a lost connection, would draw the tokens of that one
        # again, and take for its own what was left there under them.
        return LoadSession(name, self.targets.prefix, self.process, redis=redis, postgres=postgres, replica=replica)

    async def ready_sessions(
        self, strategy: Strategy, count: int, load: Load, *, owner: bool = False
    ) -> list[LoadSession]:
        """At least `count` warm sessions on the strategy's store, armed for it: the list that `renew` mends.

        `owner`: of who may write in any case.
        """
        door = strategy.store, strategy.guarded and not owner
        sessions = self.sessions[door]
        while len(sessions) < count:
            sessions.append(await self._new_session(door, len(sessions)))
        for session in sessions:
            self._arm(session, strategy, load)
        return sessions

    def _arm(self, session: LoadSession, strategy: Strategy, load: Load) -> None:
        session.think_ms, session.slow_ms = load.think_ms, load.slow_ms
        session.serve(strategy.scenario)
        session.steps = None
        session.connects = strategy.connects
        session.asks = self.owners[self.number % strategy.owners].ask if strategy.owned else None

    async def renew(self, strategy: Strategy, index: int) -> None:
        """Replace a session whose connection is lost or in an unknown state. Raises StoreFault."""
        door = strategy.store, strategy.guarded
        sessions = self.sessions[door]
        old = sessions[index]
        fresh = await self._new_session(door, index)
        fresh.think_ms, fresh.slow_ms, fresh.asks, fresh.steps = old.think_ms, old.slow_ms, old.asks, old.steps
        fresh.commands, fresh.retried = old.commands, old.retried
        sessions[index] = fresh
        await old.close()

    def performer(self, cell: Cell, load: Load) -> Performer:
        """A cell ready to be performed."""
        scenario, strategy, rule = self.cells.load(cell)
        return Performer(scenario, strategy, rule, self.recorder, load.work_us)

    # Orders

    async def bursts(self, orders: Orders) -> dict[str, Any]:
        """One burst after the other: meet, release, wait for all answers."""
        load = orders.load
        performers = [self.performer(cell, load) for cell in orders.cells]
        share = -(-load.size // self.processes)
        ready = [await self.ready_sessions(performer.strategy, share, load) for performer in performers]
        tracing = orders.count * load.size <= 5000
        trace: list[tuple[int, Any]] = []
        released: list[tuple[int, int]] = []
        before, in_vain = self._totals(), False
        give_up = time.monotonic() + orders.deadline_s
        self.rendezvous.begin()
        for burst in range(orders.first, orders.first + orders.count):
            which = orders.cell_of(burst)
            performer = performers[which]
            sessions = ready[which]
            items = draw(performer.scenario, load.seed, burst, load.size)
            mine = [item for i, item in enumerate(items) if (i + burst) % self.processes == self.number]
            for session in sessions:
                self._arm(session, performer.strategy, load)
                session.steps = [] if tracing else None
            at = await self._meet(give_up)
            if not at:
                break
            released.append((burst, at))
            tasks = [
                asyncio.create_task(_released(at, performer.item(sessions[i], i, burst, item)))
                for i, item in enumerate(mine)
            ]
            if tasks:
                in_vain = await self._finish(performer, tasks, load.timeout_s)
                await self._renew_lost(performer, sessions)
            if performer.broken:
                self.rendezvous.stop()
                raise UsageError(performer.broken)
            if tracing:
                trace.extend((burst, step) for session in sessions for step in session.steps or ())
            if in_vain:  # the next ones, too, might wait until they lose their patience
                self.rendezvous.stop()
                break
        self._dump(trace)
        return {"released": released, "in_vain": in_vain, **self._counts(before)}

    async def _meet(self, give_up: float) -> int:
        self.rendezvous.arrive()
        while not (at := self.rendezvous.wait(_PATIENCE_S)):
            if self.rendezvous.stopped or time.monotonic() > give_up:
                return 0
            await asyncio.sleep(0)  # let the loop see that the parent died
        return at

    async def _finish(self, performer: Performer, tasks: Sequence[asyncio.Future[None]], timeout_s: float) -> bool:
        """Wait for answers; whether some were waited for in vain.

        Raises ConnectionLost where they are missing because the store does not answer.
        """
        give_up = time.monotonic() + timeout_s
        late, lost = set(tasks), None
        while late and lost is None and (left_s := give_up - time.monotonic()) > 0:
            begun = self.recorder.count
            _done, late = await asyncio.wait(late, timeout=min(left_s, _SUSPICIOUS_S))
            if late and self.recorder.count == begun:  # nobody got on
                lost = await self._silent(performer.strategy.store)
        if lost is not None:  # a request is stuck only while its store lives
            performer.unanswered = lost.code
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_GIVE_UP_S)
        if lost is not None:
            raise lost
        for task in tasks:
            error = task.exception() if task.done() and not task.cancelled() else None
            if error is not None and not isinstance(error, BrokenScript):
                raise error
        return bool(late)

    async def _silent(self, store: str) -> ConnectionLost | None:
        """Why a store does not answer somebody new; None where it does."""
        try:
            fresh = await self._new_session((store, False), 0)
        except ConnectionLost as lost:
            return lost
        except StoreFault:  # it refuses, so it answers
            return None
        await fresh.close()
        return None

    async def _renew_lost(self, performer: Performer, sessions: list[LoadSession]) -> None:
        for index, session in enumerate(sessions):
            if session.lost:
                await self.renew(performer.strategy, index)

    async def sustained(self, orders: Orders) -> dict[str, Any]:
        """A closed loop: every caller makes one attempt after the other on a hot set of keys."""
        load = orders.load
        performer = self.performer(orders.cells[0], load)
        first, extra = divmod(load.connections, self.processes)
        count = first + (1 if self.number < extra else 0)
        sessions = await self.ready_sessions(performer.strategy, count, load)
        before = self._totals()
        self.rendezvous.begin()
        started = await self._meet(time.monotonic() + orders.deadline_s)
        if not started:
            return {"released": [], **self._counts(before)}
        spin(started)
        until = started + int(load.duration_s * 1e9)
        hot: dict[tuple[tuple[str, ...], int], tuple[tuple[str, ...], int]] = {}

        def heat(keys: tuple[str, ...], number: int) -> tuple[tuple[str, ...], int]:
            names = rename(keys, f"h{orders.first}-{number}")
            named = hot[keys, number] = names, performer.recorder.place(names)
            return named

        async def call(index: int) -> None:
            rng = Random(f"{load.seed}:{self.number}:{index}")
            draw_one, begun, clock, random, known = (
                performer.scenario.burst, performer.begun, time.monotonic_ns, rng.random, hot.get,
            )  # fmt: skip
            who, words, session, count = (
                performer.recorder.who(index, orders.first), self.rendezvous.words, sessions[index], load.keys,
            )  # fmt: skip
            while (now_ns := clock()) < until and not words[0]:
                item = draw_one(rng, 1)[0]
                number = int(random() * count)
                keys, place = known((item.keys, number)) or heat(item.keys, number)
                try:
                    await begun(session, who, item, keys, place, now_ns)
                except BaseException as error:
                    performer.ended_by(error)
                if session.lost:
                    await self.renew(performer.strategy, index)
                    session = sessions[index]

        # Nothing in the loop makes cycles; a collection in the middle would be measured as latency.
        gc.disable()
        with callers(sessions[:count]) as begin:
            calls = begin([call(index) for index in range(count)])
            await self._finish(performer, calls, load.duration_s + load.timeout_s)
        ended = time.monotonic_ns()
        gc.enable()
        with contextlib.suppress(StoreFault):
            await self._renew_lost(performer, sessions)
        if performer.broken:
            raise UsageError(performer.broken)
        return {"released": [(orders.first, started)], "ended": ended, **self._counts(before)}

    async def seed(self, cell: Cell, load: Load, keys: list[str]) -> dict[str, Any]:
        """Give every key its initial value, and every key of PostgreSQL its row."""
        _scenario, strategy, _rule = self.cells.load(cell)
        (session, *_) = await self.ready_sessions(strategy, 1, load, owner=True)
        await seed(session, strategy, keys)
        return {}

    async def rest(self, cell: Cell, load: Load, keys: list[str]) -> dict[str, Any]:
        """Read the state at rest."""
        _scenario, strategy, _rule = self.cells.load(cell)
        (session, *_) = await self.ready_sessions(strategy, 1, load, owner=True)
        return {"rest": await at_rest(session, strategy, keys), "rest_ms": time.time_ns() // 1_000_000}

    async def probe(self, cell: Cell, load: Load, keys: list[str], burst_of: list[int]) -> dict[str, Any]:
        """Ask each key whether it still works, with a request that an idle key must grant."""
        performer = self.performer(cell, load)
        sessions = await self.ready_sessions(performer.strategy, 1, load)
        for key, burst in zip(keys, burst_of, strict=True):
            request = performer.scenario.probe(key)
            if request is None:
                continue
            self.recorder.attempts = number = self.recorder.attempts + 1
            asking = asyncio.ensure_future(
                performer.request(
                    sessions[0], self.recorder.who(0, burst), request.operation, request.keys, request.args,
                    f"{self.recorder.prefix}a{number}", request.role, self.recorder.place(request.keys), number, PROBE,
                )
            )  # fmt: skip
            done, _late = await asyncio.wait([asking], timeout=load.timeout_s)
            if not done:
                asking.cancel()
                await asyncio.wait([asking])
            if asking.cancelled() or asking.exception() is not None:
                await self.renew(performer.strategy, 0)
        if performer.broken:
            raise UsageError(performer.broken)
        return {"entries": self.recorder.count}

    async def resume(self, cell: Cell, load: Load, requests: list[list[Any]]) -> dict[str, Any]:
        """Ask again, with the same ids, what a killed worker was not told: an answer for each."""
        _scenario, strategy, _rule = self.cells.load(cell)
        if strategy.store == "postgres":
            await self._quiet(cell, load)
        performer = self.performer(cell, load)
        told = {}
        for data in requests:
            sessions = await self.ready_sessions(strategy, 1, load)
            request = request_from(data)
            told[request.id] = await performer.again(sessions[0], request, load.timeout_s)
            await self._renew_lost(performer, sessions[:1])
        if performer.broken:
            raise UsageError(performer.broken)
        return {"told": told}

    async def _quiet(self, cell: Cell, load: Load) -> None:
        """Until no statement of a killed worker waits for its turn any more: it would be done later."""
        _scenario, strategy, _rule = self.cells.load(cell)
        (session, *_) = await self.ready_sessions(strategy, 1, load)
        give_up = time.monotonic() + load.timeout_s
        while time.monotonic() < give_up and (await session.sql(_AT_WORK, self.targets.schema)).rows[0][0]:
            await session.sleep_ms(5)

    # Accounts

    def _totals(self) -> tuple[int, int]:
        everyone = [session for sessions in self.sessions.values() for session in sessions]
        return sum(session.commands for session in everyone), sum(session.retried for session in everyone)

    def _counts(self, before: tuple[int, int]) -> dict[str, Any]:
        commands, retried = self._totals()
        return {
            "commands": commands - before[0],
            "retries": retried - before[1],
            "entries": self.recorder.count,
        }

    def _dump(self, trace: list[tuple[int, Any]]) -> None:
        if trace:
            text = "".join(f"{json.dumps([burst, *step], default=str)}\n" for burst, step in trace)
            write_whole(self.steps_fd, text.encode())

    async def carry_out(self, line: str) -> dict[str, Any]:
        """One order, and what came of it."""
        data = json.loads(line)
        match data["do"]:
            case "bursts":
                return await self.bursts(orders_from(data))
            case "sustained":
                return await self.sustained(orders_from(data))
            case order:
                cell, load = Cell(**data["cell"]), Load(**data["load"])
                if order == "seed":
                    return await self.seed(cell, load, data["keys"])
                if order == "resume":
                    return await self.resume(cell, load, data["requests"])
                if order == "rest":
                    return await self.rest(cell, load, data["keys"])
                return await self.probe(cell, load, data["keys"], data["bursts"])


async def _released(deadline_ns: int, item: Awaitable[None]) -> None:
    """Spin as the last thing before the first command: the loop's own work comes before the release."""
    spin(deadline_ns)
    await item


async def _begun(hello: dict[str, Any]) -> CarryOut:
    """Become an owner or a worker, as the first line says."""
    if "owner" in hello:
        carrying: CarryOut = await serving(hello)
        return carrying
    pin(hello["worker"], hello["processes"])
    worker = Worker(hello)
    await worker.open()
    return worker.carry_out


if __name__ == "__main__":
    serve(_begun)
