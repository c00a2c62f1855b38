"""The flow table: one attempt under each flow and each fault, every fault really made."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from harness.burst.cells import Bound
from harness.burst.child import program
from harness.burst.measurement import Progress
from harness.flows.carrying import Ground
from harness.flows.claims import FAULTS, NO_DBOS, claimed
from harness.flows.outside import ask
from harness.model import Attempt, ConnectionLost, RaceError, StoreFault, UsageError
from harness.stores import Stores, Targets
from harness.strategy import End, Scenario

_PATIENCE_S = 30.0
_SETTLED_S = 0.3
"""So long after a second delivery was seen to wait for the first, it is taken to go on waiting."""


class FlowStep(NamedTuple):
    """What a process did, or what was done to it, at an instant of this machine's clock, and what it was told."""

    at_ns: int
    process: str
    what: str
    told: str = ""


@dataclass(frozen=True, slots=True)
class FlowCell:
    """One attempt under a flow and a fault; `end` is None where the fault could not be made: `reason` says why."""

    flow: str
    fault: str
    end: End | None
    reason: str = ""
    effects: dict[str, int] = field(default_factory=dict)
    value: Any = None
    steps: Sequence[FlowStep] = ()

    @property
    def claimed(self) -> End:
        """What it should come to; all well without a fault."""
        return claimed(self.flow, self.fault) if self.fault else "once"


class NotMade(Exception):
    """A fault that could not be made: the cell says nothing."""


def refuse(bound: Bound, flows: Sequence[str]) -> None:
    """Refuse what cannot be tried, before anything is started. Raises UsageError."""
    scenario = bound.scenario
    if type(scenario).became is Scenario.became:
        raise UsageError(
            f"{scenario.name} has no attempt with effects whose end it can tell (became): try subscription"
        )
    if bound.strategy.owned:
        raise UsageError(f"{bound.cell.strategy} needs an owner process, which flows have none of: choose another")
    if bound.claim.kind == "not-applicable":
        raise UsageError(f"{bound.cell.strategy} does not apply to {scenario.name}: {bound.claim.reason}")
    if any(flow.startswith("durable") for flow in flows) and importlib.util.find_spec("dbos") is None:
        raise UsageError(NO_DBOS)


class _Process:
    """A child that speaks lines of JSON."""

    def __init__(self, module: str, name: str = "") -> None:
        self.name = name
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.child = subprocess.Popen(  # noqa: S603 - our own module
            program(module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
        )
        self.events: list[dict[str, Any]] = []
        self._arrived = asyncio.Event()
        self._reading: asyncio.Task[None]
        self._transport: asyncio.ReadTransport

    async def open(self) -> None:
        reader = asyncio.StreamReader(limit=1 << 24)
        loop = asyncio.get_running_loop()
        self._transport, _protocol = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self.child.stdout
        )
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self.events.append(json.loads(line))
            self._arrived.set()
        self.events.append({"event": "died"})
        self._arrived.set()

    def order(self, order: dict[str, Any]) -> None:
        assert self.child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.write(json.dumps(order).encode() + b"\n")
            self.child.stdin.flush()

    def steps(self) -> Iterator[FlowStep]:
        """What it says that it did."""
        for one in self.events:
            if one["event"] == "did":
                yield FlowStep(one["at_ns"], self.name, one["what"], one["told"])
            elif one["event"] == "waits":
                yield FlowStep(one["at_ns"], self.name, "waits: another process has it")
            elif one["event"] == "ended" and one["error"]:
                yield FlowStep(one["at_ns"], self.name, "gives up", one["error"])

    def seen(self, event: str) -> bool:
        return any(one["event"] == event for one in self.events)

    async def until(self, *events: str) -> dict[str, Any]:
        """Wait for one of these. Raises NotMade where it failed or died."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while True:
                    for one in self.events:
                        if one["event"] in events:
                            return one
                        if one["event"] in {"failed", "died"}:
                            raise NotMade(one.get("error") or self._last_words())
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise NotMade(f"nothing came of it within {_PATIENCE_S:.0f} s") from None

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"a process of the flow died: {lines[-1] if lines else 'it said nothing'}"

    async def end(self) -> None:
        """Kill: there is nothing that it should still do."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
        self.child.wait()
        assert self.child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()
        self._reading.cancel()
        self._transport.close()
        self._stderr.close()


class FlowBench:
    """Stores, an outside service, and processes that carry attempts. Use as an async context."""

    def __init__(self, bound: Bound, stores: Stores, seed: int) -> None:
        """The stores are open: PostgreSQL among them, where steps are written down."""
        self.bound = bound
        self.stores = stores
        (first, *_others) = bound.scenario.burst(Random(f"{seed}:0"), 1)
        if not isinstance(first, Attempt):
            raise UsageError(f"{bound.scenario.name} has no attempts: flows carry requests with effects")
        self._attempt = first
        self._number = 0
        self._outside: _Process
        self._port = 0
        self._ground: Ground
        self._first = ""
        self._running: list[_Process] = []
        self._steps: list[FlowStep] = []

    async def __aenter__(self) -> Self:
        self._outside = _Process("harness.flows.outside")
        await self._outside.open()
        try:
            self._port = (await self._outside.until("serving"))["port"]
        except NotMade as why:
            await self._outside.end()
            raise RaceError(f"the outside service did not start: {why}") from None
        targets = Targets.from_description(self.stores.describe())
        rule = self.bound.scenario.all_rules()[self.bound.cell.rule]
        self._ground = Ground(self.bound.scenario, self.bound.strategy, rule, targets, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end_all()
        await self._ground.close()
        await self._outside.end()

    async def cell(self, flow: str, fault: str) -> FlowCell:
        """One attempt under a flow and a fault, "" for none. Raises StoreFault where a store is lost."""
        self._number += 1
        self._steps = []
        attempt = self._attempt._replace(
            keys=tuple(f"{key}:{self._number}" for key in self._attempt.keys), id=f"f{self._number}"
        )
        making = {"": self._alone, "twice": self._twice, "lost": self._lost, "killed": self._killed, "gone": self._gone}
        try:
            await self._seed(attempt)
            await making[fault](flow, attempt)
            await self._end_all()
            return await self._became(flow, fault, attempt)
        except NotMade as why:
            return FlowCell(flow, fault, None, str(why))
        finally:
            await self._end_all()
            await ask(self._port, do="release")

    async def _end_all(self) -> None:
        while self._running:
            ending = self._running.pop()
            self._steps += ending.steps()
            await ending.end()

    def _note(self, process: str, what: str) -> None:
        self._steps.append(FlowStep(time.monotonic_ns(), process, what))

    # What is made

    async def _alone(self, flow: str, attempt: Attempt) -> None:
        worker = await self._start(flow, "one")
        await self._perform(worker, attempt)

    async def _twice(self, flow: str, attempt: Attempt) -> None:
        """The second delivery comes while the first waits for the outside, and is seen to do something."""
        first, second = await asyncio.gather(self._start(flow, "one"), self._start(flow, "two"))
        held, count = await self._hold(attempt)
        self._deliver(first, attempt)
        await self._reached(held, count)
        self._deliver(second, attempt)
        give_up = time.monotonic() + _PATIENCE_S
        while await self._count() == count + 1 and not second.seen("ended"):
            if second.seen("waits"):
                await asyncio.sleep(_SETTLED_S)
                break
            if time.monotonic() > give_up or second.seen("failed") or second.seen("died"):
                raise NotMade("the second delivery did nothing")
            await asyncio.sleep(0.01)
        await ask(self._port, do="release")
        await first.until("ended")
        await second.until("ended")

    async def _lost(self, flow: str, attempt: Attempt) -> None:
        worker = await self._start(flow, "one")
        await self._trouble("lose")
        await self._perform(worker, attempt)

    async def _killed(self, flow: str, attempt: Attempt) -> None:
        await self._kill(flow, attempt)
        await self._take_over(flow, "one", others=False)

    async def _gone(self, flow: str, attempt: Attempt) -> None:
        await self._kill(flow, attempt)
        await self._take_over(flow, "two", others=True)

    async def _kill(self, flow: str, attempt: Attempt) -> None:
        """SIGKILL between the deed and the news of it."""
        worker = await self._start(flow, "one")
        held, count = await self._hold(attempt)
        self._deliver(worker, attempt)
        await self._reached(held, count)
        self._note("one", "is killed before it hears of it")
        worker.child.send_signal(signal.SIGKILL)
        if worker.child.wait() != -signal.SIGKILL:
            raise NotMade("the process ended before it was killed")
        await ask(self._port, do="release")

    async def _take_over(self, flow: str, executor: str, *, others: bool) -> None:
        self._note(executor, "looks for what the other left" if others else "is started again")
        worker = await self._start(flow, executor)
        worker.order({"do": "recover", "others": others})
        await worker.until("ended")
        self._note(executor, "has nothing left to do")

    # Its parts

    async def _start(self, flow: str, executor: str) -> _Process:
        worker = _Process("harness.flows.worker", executor)
        await worker.open()
        self._running.append(worker)
        cell = self.bound.cell
        worker.order(
            {
                "flow": flow,
                "executor": f"{executor} {self._number}",
                "scenario": cell.scenario,
                "strategy": cell.strategy,
                "rule": cell.rule,
                "stores": self.stores.describe(),
                "port": self._port,
            }
        )
        await worker.until("ready")
        return worker

    def _deliver(self, worker: _Process, attempt: Attempt) -> None:
        self._note(worker.name, "the attempt is delivered")
        worker.order({"do": "perform", "attempt": [attempt.keys, dict(attempt.args), attempt.id, attempt.role]})

    async def _perform(self, worker: _Process, attempt: Attempt) -> None:
        self._deliver(worker, attempt)
        await worker.until("ended")

    async def _trouble(self, kind: str) -> None:
        if not self._first:
            raise NotMade("without a fault no effect was seen")
        await ask(self._port, do="trouble", kind=kind, name=self._first)

    async def _hold(self, _attempt: Attempt) -> tuple[int, int]:
        """Have the next such deed held back: how many are, and how many were done."""
        told = await ask(self._port, do="held")
        await self._trouble("hold")
        return told["held"], told["counts"].get(self._first, 0)

    async def _count(self) -> int:
        told = await ask(self._port, do="held")
        return int(told["counts"].get(self._first, 0))

    async def _reached(self, held: int, count: int) -> None:
        try:
            await ask(self._port, do="await", held=held + 1, count=count + 1, name=self._first)
        except ConnectionLost:
            raise NotMade("the effect was never begun") from None

    async def _seed(self, attempt: Attempt) -> None:
        session = await self._ground.session()
        scenario, strategy = self.bound.scenario, self.bound.strategy
        if strategy.store == "postgres":
            await strategy.make_tables(session.sql)
            await strategy.rows.seed(session.sql, attempt.keys, scenario.initial_value)
        elif scenario.initial_value is not None:
            changes = dict.fromkeys(attempt.keys, scenario.initial_value)
            await scenario.values.save(session, changes, time.time_ns() // 1_000_000)

    async def _became(self, flow: str, fault: str, attempt: Attempt) -> FlowCell:
        """Read the state at rest and the service's ledger."""
        session = await self._ground.session()
        (key, *_others) = attempt.keys
        if self.bound.strategy.store == "postgres":
            value = (await self.bound.strategy.rows.at_rest(session.sql, [key])).get(key)
        else:
            (value,) = await self.bound.strategy.values.all(session.redis, [session.key(key)])
        told = await ask(self._port, do="ledger")
        mine = [one["name"] for one in told["ledger"] if one["attempt"] == attempt.id]
        self._steps += [_seen_outside(one) for one in told["log"] if one["attempt"] == attempt.id]
        effects = dict(Counter(mine))
        if not fault and mine:
            self._first = mine[0]
        end = self.bound.scenario.became(value, effects)
        return FlowCell(flow, fault, end, "", effects, value, tuple(sorted(self._steps)))


def _seen_outside(one: Mapping[str, Any]) -> FlowStep:
    """An effect that was asked for, as the outside service has it."""
    told = "done" if one["done"] else "known, not done again"
    key = f", key {one['key']}" if one["key"] else ", no key"
    lost = ", but the answer is lost" if one["trouble"] == "lose" else ""
    return FlowStep(one["at_ns"], one["by"].partition(" ")[0], f"{one['name']}{key}", told + lost)


async def flow_table(
    bound: Bound, stores: Stores, flows: Sequence[str], seed: int, progress: Callable[[Progress], Any]
) -> tuple[list[FlowCell], bool]:
    """Every flow under every fault, after one attempt of each without any; whether it was whole. Raises RaceError."""
    return await played(bound, stores, [(flow, fault) for flow in flows for fault in ("", *FAULTS)], seed, progress)


async def played(
    bound: Bound, stores: Stores, asked: Sequence[tuple[str, str]], seed: int, progress: Callable[[Progress], Any]
) -> tuple[list[FlowCell], bool]:
    """A cell for each flow and fault that is asked for; whether that was all of them. Raises RaceError."""
    cells: list[FlowCell] = []
    async with FlowBench(bound, stores, seed) as bench:
        for number, (flow, fault) in enumerate(asked):
            progress(Progress(flow, number, len(asked), "cells"))
            try:
                cells.append(await bench.cell(flow, fault))
            except asyncio.CancelledError:
                return cells, False
            except StoreFault as lost:
                cells.append(FlowCell(flow, fault, None, f"a store was lost: {lost}"))
    return cells, True
