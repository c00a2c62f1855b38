"""The fleet: worker and owner processes, seen from the parent that starts, orders and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import IO, Any, Protocol, Self

from harness.burst.child import program
from harness.burst.kills import Kill
from harness.burst.plan import Cell, Load, Orders
from harness.burst.record import Reading
from harness.burst.rendezvous import LEAD_NS, Rendezvous, size, spin
from harness.model import RaceError, StoreUnavailable, UsageError
from harness.stores import StoreInfo
from harness.stores.replication import Link

_GRACE_S = 2.0
_DYING_S = 0.5
_LOOKS_S = 0.001
_LOOKS_SOON_S = 0.0001
"""Between two looks at where the burst is in which a worker is to be killed: before the one before it, and then."""


class Backing(Protocol):
    """What a load is made on: stores, or a service. The description goes through a worker's pipe only."""

    @property
    def infos(self) -> Sequence[StoreInfo]:
        """What there is."""
        ...

    @property
    def link(self) -> Link | None:
        """The way to a replica, where there is one."""
        ...

    async def lost(self) -> str | None:
        """Why what was measured cannot be trusted; None where it can."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a worker needs to reach it."""
        ...


class WorkerDied(RaceError):
    """A process of the fleet ended although nobody asked it to."""


class Process:
    """One child: orders go in as lines of JSON, answers come out."""

    def __init__(self, module: str, fds: Sequence[int]) -> None:
        """Start `python -m module`, which inherits these file descriptors."""
        self.stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.child = subprocess.Popen(  # noqa: S603 - our own module
            program(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            pass_fds=fds,
        )
        self.killed = False
        self._reader: asyncio.StreamReader | None = None
        self._transport: asyncio.ReadTransport | None = None

    async def open(self) -> None:
        """Listen to it."""
        self._reader = asyncio.StreamReader(limit=1 << 26)
        protocol = asyncio.StreamReaderProtocol(self._reader)
        loop = asyncio.get_running_loop()
        self._transport, _protocol = await loop.connect_read_pipe(lambda: protocol, self.child.stdout)

    def order(self, order: dict[str, Any]) -> None:
        """Tell it to do something."""
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps(order).encode() + b"\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer tells

    async def answer(self) -> dict[str, Any]:
        """The next answer. Raises what the process reported, WorkerDied where it is gone."""
        assert self._reader is not None
        line = await self._reader.readline()
        if not line:
            raise WorkerDied(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "lost" in answer:
            raise StoreUnavailable(f"the store was lost during the run: {answer['lost']}")
        if "error" in answer:
            raise (UsageError if answer["exit"] == 2 else RaceError)(answer["error"])
        return answer

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it closes its end a moment before it is gone
            self.child.wait(_DYING_S)
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").strip().splitlines()
        return f"a worker process died (exit {self.child.poll()}): {lines[-1] if lines else 'it said nothing'}"

    def kill(self) -> None:
        """SIGKILL, on purpose, unless it is gone already."""
        if self.child.poll() is None:
            self.killed = True
            self.child.kill()

    def end(self) -> None:
        """Let it end, or end it; wait for that."""
        assert self.child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()
        try:
            self.child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        # Closing the file under its transport would leave the loop watching a number that is soon another's.
        if self._transport is not None:
            self._transport.close()
        elif self.child.stdout is not None:
            self.child.stdout.close()
        self.stderr.close()


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one order to all workers.

    `spans` gives for each worker the entries that belong to it; `releases` the instants (ns)
    at which the processes left each meeting. `failure` says why it is not whole; `killed` is the worker that was
    killed on purpose. `handled` are what workers told of single requests beyond the record: lists that begin with the
    number of the burst and the id of the request. `expired` are bursts that were answered to a login that has run out,
    and whose. `stopped`: the workers ended before the last burst by themselves.
    `in_vain`: for the answers of a burst, which is the last then, somebody waited until they lost their patience.
    """

    spans: list[tuple[int, int]]
    releases: dict[int, list[int]]
    ended_ns: int
    commands: int
    retries: int
    failure: RaceError | None
    interrupted: bool
    killed: int | None = None
    handled: list[list[Any]] = field(default_factory=list)
    expired: list[tuple[int, str]] = field(default_factory=list)
    stopped: bool = False
    in_vain: bool = False


class Fleet:
    """All processes of a run. Use as an async context: leaving it ends every one of them."""

    def __init__(
        self,
        stores: Backing,
        processes: int,
        *,
        owners: int = 0,
        spares: int = 0,
        module: str = "harness.burst.worker",
    ) -> None:
        """`owners` is how many owner processes any strategy of the run will need; `module` is what workers run.

        `spares` is how many workers will have to be replaced.
        """
        self.processes = processes
        self.readings: list[Reading] = []
        self._stores = stores
        self._owners = owners
        self._spares = spares
        self._spare_ends: list[list[socket.socket]] = []
        self._module = module
        self._files: list[IO[bytes]] = []
        self._steps: list[IO[bytes]] = []
        self._workers: list[Process] = []
        self._owning: list[Process] = []
        self._bound: tuple[Cell, float, float] | None = None
        self._read_to = [0] * processes
        self._replaced = 0
        self._meeting_file: IO[bytes]
        self.meeting: Rendezvous

    def _file(self) -> IO[bytes]:
        file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the fleet
        self._files.append(file)
        return file

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    async def _start(self) -> None:
        description = self._description()
        self._meeting_file = self._file()
        self._meeting_file.truncate(size(self.processes))
        self.meeting = Rendezvous(self._meeting_file.fileno(), self.processes, self.processes)
        number_of_ends = self.processes + self._spares
        pairs = [[socket.socketpair() for _ in range(self._owners)] for _ in range(number_of_ends)]
        hellos: list[tuple[Process, dict[str, Any]]] = []
        for number, ends in enumerate(pairs[: self.processes]):
            process, reading, steps, hello = self._worker(number, number, [mine for mine, _theirs in ends])
            self.readings.append(reading)
            self._steps.append(steps)
            self._workers.append(process)
            hellos.append((process, hello))
        for number in range(self._owners):
            owner_fds = [ends[number][1].fileno() for ends in pairs]
            process = Process(self._module, owner_fds)
            self._owning.append(process)
            hellos.append((process, {"owner": number, "stores": description, "owner_fds": owner_fds}))
        self._spare_ends = [[mine for mine, _theirs in ends] for ends in pairs[self.processes :]]
        for place, ends in enumerate(pairs):
            for mine, theirs in ends:
                theirs.close()
                if place < self.processes:
                    mine.close()
        for process, hello in hellos:
            await process.open()
            process.order(hello)
        for process, _hello in hellos:
            await process.answer()

    def _description(self) -> dict[str, Any]:
        """What a process needs to reach the stores: those on which this load begins, whoever answers there later."""
        return {**self._stores.describe(), "incarnations": {info.kind: info.incarnation for info in self._stores.infos}}

    def _worker(
        self, slot: int, number: int, ends: Sequence[socket.socket]
    ) -> tuple[Process, Reading, IO[bytes], dict[str, Any]]:
        """Start a worker that takes a slot; `number` is part of every id that it gives."""
        entries, words, steps = self._file(), self._file(), self._file()
        owner_fds = [end.fileno() for end in ends]
        meeting_fd = self._meeting_file.fileno()
        fds = [entries.fileno(), words.fileno(), steps.fileno(), meeting_fd]
        process = Process(self._module, [*fds, *owner_fds])
        hello = {
            "worker": slot, "id": number, "processes": self.processes, "stores": self._description(),
            "entries_fd": fds[0], "words_fd": fds[1], "steps_fd": fds[2], "meeting_fd": fds[3], "owner_fds": owner_fds,
        }  # fmt: skip
        return process, Reading(number, entries.fileno(), words.fileno()), steps, hello

    async def replace(self, slot: int) -> None:
        """Put a new worker in the place of one that is gone; its record was read. Raises RaceError."""
        self._workers[slot].end()
        ends = self._spare_ends.pop() if self._spare_ends else []
        self._replaced += 1
        process, reading, steps, hello = self._worker(slot, self.processes + self._replaced - 1, ends)
        self._workers[slot], self.readings[slot], self._steps[slot] = process, reading, steps
        self._read_to[slot] = 0
        for end in ends:
            end.close()
        await process.open()
        process.order(hello)
        await process.answer()

    def _end(self) -> None:
        for ends in self._spare_ends:
            for end in ends:
                end.close()
        for process in (*self._workers, *self._owning):
            if process.child.stdin is not None and process.child.poll() is None:
                with contextlib.suppress(BrokenPipeError):
                    process.child.stdin.close()
        for process in (*self._workers, *self._owning):
            process.end()
        if hasattr(self, "meeting"):
            self.meeting.close()
        for file in self._files:
            file.close()

    @property
    def pids(self) -> list[int]:
        """The process ids of workers and owners."""
        return [process.child.pid for process in (*self._workers, *self._owning)]

    async def _ask_all(self, processes: Iterable[Process], order: dict[str, Any]) -> list[dict[str, Any]]:
        asked = list(processes)
        for process in asked:
            process.order(order)
        return list(await asyncio.gather(*(process.answer() for process in asked)))

    async def _bind(self, owned: Cell | None, load: Load) -> None:
        """Have owners and daemons serve this cell, if any: those of one strategy are not there for another."""
        if owned is not None and (wanted := (owned, load.think_ms, load.slow_ms)) != self._bound:
            await self._ask_all(self._owning, {"do": "own", "cell": asdict(owned), "load": asdict(load)})
            self._bound = wanted

    async def load(self, orders: Orders, owned: Cell | None, kill: Kill | None = None) -> Round:
        """Let every worker carry out orders. `owned` is the cell that owners and daemons serve; `kill` ends them early.

        Cancelled, it tells the workers to stop, and gives what they did until then.
        """
        await self._bind(owned, orders.load)
        self.meeting.reset()
        order = {
            "do": orders.load.mode if orders.load.mode == "sustained" else "bursts",
            "cells": [asdict(cell) for cell in orders.cells],
            "load": asdict(orders.load),
            "first": orders.first,
            "count": orders.count,
            "deadline_s": orders.deadline_s,
            "budget_s": orders.budget_s,
        }
        for process in self._workers:
            process.order(order)
        asking = {asyncio.create_task(process.answer()): number for number, process in enumerate(self._workers)}
        interrupted = False
        over = threading.Event()
        killing = asyncio.create_task(asyncio.to_thread(self._kill, kill, over)) if kill is not None else None
        owner = None
        try:
            owner = await self._first_failure(asking, self._owning if owned is not None else ())
        except asyncio.CancelledError:
            interrupted = True
        finally:
            over.set()
        killed = None
        if kill is not None and killing is not None:
            await killing
            killed = kill.slot if self._workers[kill.slot].killed else None
        self.meeting.stop()  # whoever still waits for a process that is gone
        answers, failure = await self._answers(asking, orders.load.timeout_s, killed)
        failure = owner or failure
        commands = 0
        if owned is not None and failure is None:
            commands = sum(answer["commands"] for answer in await self._ask_all(self._owning, {"do": "count"}))
        found = self._round(answers, failure, interrupted=interrupted, owner_commands=commands)
        return dataclasses.replace(found, killed=killed)

    @staticmethod
    async def _first_failure(
        asking: Iterable[asyncio.Task[dict[str, Any]]], owning: Sequence[Process]
    ) -> RaceError | None:
        """Wait until all workers have answered, or one says why it cannot; or an owner, unasked, why it is at its end.

        Else workers would go on asking an owner whom a script holds, or has ended, until each has lost its patience.
        """
        working = asyncio.ensure_future(asyncio.wait(asking, return_when=asyncio.FIRST_EXCEPTION))
        ends = [asyncio.create_task(process.answer()) for process in owning]
        try:
            await asyncio.wait([working, *ends], return_when=asyncio.FIRST_COMPLETED)
            failures = [end.exception() for end in ends if end.done()]
        finally:
            for task in (working, *ends):
                task.cancel()
            await asyncio.wait([working, *ends])
        return next((failure for failure in failures if isinstance(failure, RaceError)), None)

    async def _answers(
        self, asking: Mapping[asyncio.Task[dict[str, Any]], int], timeout_s: float, killed: int | None
    ) -> tuple[dict[int, dict[str, Any]], RaceError | None]:
        """What each worker answers, and why one does not; of the one that was killed nobody expects it."""
        answers: dict[int, dict[str, Any]] = {}
        failure: RaceError | None = None
        await asyncio.wait(asking, timeout=timeout_s + _GRACE_S)
        for task, number in asking.items():
            if not task.done():
                task.cancel()
                self._workers[number].child.kill()  # a late answer would be taken for that of a later order
                failure = failure or WorkerDied("a worker process does not answer")
            elif number == killed:
                task.exception()
            elif isinstance(error := task.exception(), RaceError):
                failure = error if failure is None or isinstance(error, UsageError) else failure
            elif error is not None:
                raise error
            else:
                answers[number] = task.result()
        return answers, failure

    def _kill(self, kill: Kill, over: threading.Event) -> None:
        """SIGKILL, so long after the requests were released. In a thread: a loop's timers are a burst too coarse."""
        while not (released_ns := self.meeting.release(kill.meeting)):
            soon = self.meeting.arrived(kill.slot) + 1 >= kill.meeting
            if over.wait(_LOOKS_SOON_S if soon else _LOOKS_S):
                return
        at_ns = released_ns + kill.delay_us * 1000
        time.sleep(max(0, at_ns - LEAD_NS - time.monotonic_ns()) / 1e9)
        spin(at_ns)
        if not over.is_set():
            self._workers[kill.slot].kill()

    def _round(
        self, answers: dict[int, dict[str, Any]], failure: RaceError | None, *, interrupted: bool, owner_commands: int
    ) -> Round:
        spans = []
        for number in range(self.processes):
            start = self._read_to[number]
            answer = answers.get(number)
            stop = answer["entries"] if answer else self.readings[number].end(start)
            spans.append((start, stop))
            self._read_to[number] = stop
        told = list(answers.values())
        releases: dict[int, list[int]] = {}
        for answer in told:
            for burst, at in answer["released"]:
                releases.setdefault(burst, []).append(at)
        return Round(
            spans=spans,
            releases=releases,
            ended_ns=max((answer.get("ended", 0) for answer in told), default=0),
            commands=sum(answer["commands"] for answer in told) + owner_commands,
            retries=sum(answer["retries"] for answer in told),
            failure=failure,
            interrupted=interrupted,
            handled=[one for answer in told for one in answer.get("handled", ())],
            stopped=any(answer.get("stopped") for answer in told),
            in_vain=any(answer.get("in_vain") for answer in told),
            expired=[(burst, who) for answer in told for burst, who in answer.get("expired", ())],
        )

    async def tell(self, order: dict[str, Any]) -> None:
        """Let every worker know something."""
        await self._ask_all(self._workers, order)

    async def one(
        self, do: str, cell: Cell, load: Load, *, owned: bool = False, patience_s: float | None = None, **more: Any
    ) -> dict[str, Any]:
        """Let the first worker do something: `seed`, `rest`, `probe`, `resume` or what else it knows.

        `owned`: it asks owners or daemons, who are to serve this cell. `patience_s`: how long that may take, where it
        is not a request's time-out.
        """
        await self._bind(cell if owned else None, load)
        order = {"do": do, "cell": asdict(cell), "load": asdict(load), **more}
        try:
            async with asyncio.timeout((load.timeout_s if patience_s is None else patience_s) + _GRACE_S):
                (answer,) = await self._ask_all(self._workers[:1], order)
        except TimeoutError:
            self._workers[0].child.kill()  # a late answer would be taken for that of a later order
            self._read_to[0] = self.readings[0].end(self._read_to[0])  # nor is what it wrote any later order's
            raise WorkerDied(f"the store or a worker process did not answer to '{do}'") from None
        if "entries" in answer:
            answer["span"] = (self._read_to[0], answer["entries"])
            self._read_to[0] = answer["entries"]
        return answer

    def steps_of(self, wanted: Callable[[int], bool]) -> list[list[Any]]:
        """The traced steps of the bursts that `wanted` picks: burst number, then a step's fields."""
        found = []
        for file in self._steps:
            with os.fdopen(os.dup(file.fileno()), "rb") as lines:
                lines.seek(0)
                for line in lines:
                    burst = int(line[1 : line.index(b",")])
                    if wanted(burst):
                        found.append(json.loads(line))
        return found

    def forget_steps(self) -> None:
        """Drop the traces of bursts that were judged."""
        for file in self._steps:
            os.ftruncate(file.fileno(), 0)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
