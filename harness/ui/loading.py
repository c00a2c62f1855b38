"""The load of a test: stores, processes and bench of its own; bursts are made when they are asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from harness.burst import StoresOptions
from harness.burst.bench import Bench
from harness.burst.engine import ready
from harness.judge import Finding
from harness.model import Evidence, Operation, Step
from harness.stores import Stores
from harness.ui.judging import Trial
from harness.ui.wire import pack, pack_step, pack_store, tried

FAR_APART = 1 << 24
"""Bursts of one worker at most: their numbers are its own."""
_KEPT_KEYS = 200
_RENEW_S = 5.0
"""A violation is shown for so long at least, before a later one is."""
_FOR_EVER = float("inf")
_PATIENT_S = 0.2
"""Whatever takes longer to be explained is explained once."""

Tell = Callable[[Mapping[str, Any]], None]


class Loading:
    """Makes the bursts of a test. To be opened, and closed. With `tell`, somebody else judges: it is told all."""

    def __init__(self, test: Trial, options: StoresOptions, *, index: int = 0, tell: Tell | None = None) -> None:
        """`index` is the place of this worker among all: it has bursts, and so keys and draws, of its own."""
        self.test = test
        self._options = options
        self._index = index
        self._tell = tell
        self._stack = AsyncExitStack()
        self._stores: Stores
        self._bench: Bench
        self._alone = asyncio.Lock()
        self._seen: list[tuple[int, Evidence, Finding]] = []
        self._packed: list[dict[str, Any]] = []
        self._probed: list[dict[str, Any]] = []
        self._steps: dict[int, list[dict[str, Any]]] = {}
        self._first = 0
        self._shown_at = 0.0

    async def open(self) -> Self:
        """Start what is missing. Raises RaceError."""
        test = self.test
        try:
            self._stores, fleet = await ready(self._stack, self._options, [test.bound], test.load)
        except BaseException:
            await self._stack.aclose()
            raise
        test.stores = self._stores.infos
        first = self._index * FAR_APART
        self._bench = Bench(self._stores, fleet, lambda _progress: None, first, observer=self)
        self._say("begun", stores=[pack_store(info) for info in test.stores], tried=tried(test.bound))
        return self

    async def bursts(self, count: int) -> dict[str, Any]:
        """So many bursts: for each what its requests got, what broke in it, and whether that was enough for a test."""
        async with self._alone:
            tally = self.test.tally
            done: list[dict[str, Any]] = []
            while len(done) < count and not tally.failures:
                self._seen.clear()
                await self._some(count - len(done))
                done += [_answered(evidence, finding) for _number, evidence, finding in self._seen]
                if not self._seen:
                    break
            failure = tally.failures[0] if tally.failures else None
            enough = tally.judged + tally.apart >= self.test.load.bursts
            return {"bursts": done, "failure": failure, "enough": enough}

    async def _some(self, count: int) -> None:
        tally, before = self.test.tally, self._account()
        kept = None
        if tally.counterexample is not None and (
            time.monotonic() > self._shown_at + _RENEW_S or (self._wordless and self._shown_at != _FOR_EVER)
        ):
            kept = tally.counterexample, tally.contradiction
            tally.counterexample = tally.contradiction = None
        missing, began = tally.counterexample is None, time.monotonic()
        await self._bench.meet(tally, self.test.load, count)
        if kept is not None and tally.counterexample is None:
            tally.counterexample, tally.contradiction = kept
        elif missing and tally.counterexample is not None:
            self._shown_at = time.monotonic()
            if time.monotonic() - began > tally.elapsed_s - before[2] + _PATIENT_S:
                self._shown_at = _FOR_EVER
        while len(tally.last_bursts) > _KEPT_KEYS:
            del tally.last_bursts[next(iter(tally.last_bursts))]
        commands, retries, elapsed_s, spreads = self._account()
        spreads_us = tally.spreads_us[before[3] : spreads]
        self._say(
            "made", first=self._first, bursts=self._packed, steps=self._steps, commands=commands - before[0],
            retries=retries - before[1], elapsed_s=elapsed_s - before[2], spreads_us=spreads_us,
            failure=tally.failures[0] if tally.failures else None,
        )  # fmt: skip
        self._packed, self._steps = [], {}

    @property
    def _wordless(self) -> bool:
        """Whether what is shown breaks the order alone: one in the domain's words comes before it."""
        shown = self.test.tally.contradiction
        return shown is not None and not any(shown.finding.breaches.values())

    def _account(self) -> tuple[int, int, float, int]:
        tally = self.test.tally
        return tally.commands, tally.retries, tally.elapsed_s, len(tally.spreads_us)

    async def finish(self, *, probe: bool = True) -> str | None:
        """No burst any more: ask keys whether they still work, after their leases; why the store is not what it was."""
        async with self._alone:
            tally = self.test.tally
            if probe:
                await self._bench.probe(tally, self.test.load)
            lost = await self._stores.lost()
            if self._probed:
                self._say("probed", bursts=self._probed)
            self._say("done", failure=lost or (tally.failures[0] if tally.failures else None))
            return lost

    async def close(self) -> None:
        """End processes, and servers that were only for this test."""
        await self._stack.aclose()

    # What the bench tells

    def ordered(self, first: int, count: int) -> None:
        """These bursts are about to be made: whoever judges must know, should this worker die of it."""
        self._first = first
        self._say("ordered", first=first, count=count)

    def burst(self, number: int, evidence: Evidence, finding: Finding, *, control: bool) -> None:
        """One of them."""
        if not control:
            self._seen.append((number, evidence, finding))
        if self._tell is not None:
            signatures = self.test.bound.scenario.operations
            self._packed.append(pack(number, evidence, signatures, control=control))

    def shown(self, number: int, steps: Sequence[Step]) -> None:
        """The steps of one that broke."""
        if self._tell is not None:
            self._steps[number] = [pack_step(step) for step in steps]

    def probes(self, number: int, evidence: Evidence) -> None:
        """Questions put to the keys of a burst."""
        if self._tell is not None:
            self._probed.append(pack(number, evidence, self.test.bound.scenario.operations, control=False))

    def _say(self, what: str, **more: Any) -> None:
        if self._tell is not None:
            self._tell({"tell": what, "test": self.test.number, **more})


def _answered(evidence: Evidence, finding: Finding) -> dict[str, Any]:
    """What Locust counts: each request's name, milliseconds (null where nobody was answered) and error, as answered."""
    return {
        "requests": [_request(operation) for operation in sorted(evidence.operations, key=_answered_at)],
        "broken": _broken(finding),
    }


def _answered_at(operation: Operation) -> int:
    return operation.returned_ns or operation.invoked_ns


def _request(operation: Operation) -> list[Any]:
    took_ms = None if operation.returned_ns is None else (operation.returned_ns - operation.invoked_ns) / 1e6
    return [operation.request.operation, took_ms, operation.error or None]


def _broken(finding: Finding) -> list[str]:
    if not finding.broken:
        return []
    names = [name for name, breaches in finding.breaches.items() if breaches]
    names += ["no order explains the answers"] if finding.order == "illegal" else []
    return names + (["a request got no answer"] if finding.stuck else [])
