"""A test, from its start to its stop: what it was of, what was found so far, and the document of that."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.burst import Cell, Load, StoresOptions
from harness.burst.bench import Bench
from harness.burst.cells import control_of
from harness.burst.engine import bind_for, measured
from harness.burst.plan import draw, is_control
from harness.burst.tally import Tally
from harness.judge import Budget, judge_evidence
from harness.judge.history import MalformedError
from harness.results.build import Document, result_document
from harness.results.environment import environment
from harness.stores import StoreInfo
from harness.ui.wire import tried, unknown, unpack, unpack_step

_BUDGET = Budget(seconds=20.0, explain_s=0.0)


class Trial:
    """One test. `number` counts those of a session from 1."""

    def __init__(self, number: int, cell: Cell, load: Load, options: StoresOptions | None = None) -> None:
        """Raises UsageError for a cell that cannot be on these stores."""
        self.number = number
        self.bound = bind_for(cell, load, options)
        self.load = load
        self.tally = Tally(self.bound, control_of(self.bound, load))
        self.stores: list[StoreInfo] = []
        self.document: Document | None = None
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._started = time.monotonic()
        self._environment = environment()

    @property
    def over(self) -> bool:
        """Whether it has been concluded."""
        return self.document is not None

    def reproduce(self) -> str:
        """The command that makes the same bursts, alone and at once."""
        cell, load = self.bound.cell, self.load
        words = ["race", "run", cell.scenario, "--strategy", cell.strategy]
        words += ["--rule", cell.rule] if cell.rule != next(iter(self.bound.scenario.all_rules())) else []
        usual = Load()
        for option, value, default in (
            ("--size", load.size, usual.size), ("--processes", load.processes, usual.processes),
            ("--work", load.work_us, usual.work_us), ("--think", load.think_ms, usual.think_ms),
        ):  # fmt: skip
            words += [option, f"{value:g}"] if value != default else []
        return shlex.join([*words, "--seed", str(load.seed)])

    def now(self, *, complete: bool = True, lost: str | None = None) -> Document:
        """The `race.result/1` document of what is known so far."""
        tally, load = self.tally, dataclasses.replace(self.load, bursts=self.tally.judged + self.tally.apart)
        found = measured(
            tally, load, self.stores, lost, self._started_at, time.monotonic() - self._started, complete=complete
        )
        return result_document(found, reproduce=self.reproduce(), where=self._environment)

    def conclude(self, *, complete: bool, lost: str | None = None) -> Document:
        """Its last document."""
        if self.document is None:
            self.document = self.now(complete=complete, lost=lost)
        return self.document

    def doubt(self, reason: str) -> None:
        """Why nothing may be said to hold."""
        if reason not in self.tally.failures:
            self.tally.failures.append(reason)


@dataclasses.dataclass(slots=True)
class _Worker:
    """What a master knows of a worker."""

    open: dict[int, int] = dataclasses.field(default_factory=dict)
    done: bool = False
    lost: bool = False
    elapsed_s: float = 0.0


class Gathered:
    """A test whose bursts are made elsewhere: histories arrive, and are judged here.

    `refused`: why a worker is not heard at all, if one is not.
    """

    def __init__(self, test: Trial) -> None:
        """Nobody has said anything yet."""
        self.test = test
        self.workers: defaultdict[str, _Worker] = defaultdict(_Worker)
        self.refused = ""
        self._signatures = test.bound.scenario.operations

    @property
    def waiting(self) -> list[str]:
        """Workers that have begun, and have not said that they are done."""
        return [name for name, worker in self.workers.items() if not (worker.done or worker.lost)]

    def hear(self, name: str, message: Mapping[str, Any]) -> None:
        """What a worker tells of this test: `begun`, `ordered`, `made`, `probed` or `done`.

        One that was given up, and was only slow, is not heard: what it had open is counted as unknown already.
        """
        if self.test.over or self.workers[name].lost:
            return
        try:
            self._take(name, self.workers[name], message)
        except (KeyError, TypeError, ValueError, MalformedError) as error:
            self.test.doubt(f"worker {name} told something that makes no sense: {error}")

    def _take(self, name: str, worker: _Worker, message: Mapping[str, Any]) -> None:
        match message["tell"]:
            case "begun":
                mine, its = tried(self.test.bound), message.get("tried", {})
                if differs := [name for name, value in mine.items() if its.get(name) != value]:
                    self._refuse(name, worker, differs[0], mine, its)
                    return
                known = {store.title for store in self.test.stores}
                told = [StoreInfo(**store) for store in message["stores"]]
                self.test.stores += [store for store in told if store.title not in known]
            case "ordered":
                worker.open[int(message["first"])] = int(message["count"])
            case "made":
                self._made(worker, message)
            case "probed":
                for packed in message["bursts"]:
                    evidence = unpack(packed, self._signatures, None)
                    self.test.tally.add_probes(evidence, int(packed["burst"]))
            case "done":
                worker.done = True
                if message["failure"]:
                    self.test.doubt(f"worker {name}: {message['failure']}")

    def _refuse(self, name: str, worker: _Worker, what: str, mine: Mapping[str, str], its: Mapping[str, Any]) -> None:
        """A worker that tries something else would be judged by a rule that is not its own."""
        worker.lost = True
        versions = f": {its.get(what, 'an old one')}, and here {mine[what]}" if what == "race" else " than the master"
        self.refused = f"worker {name} has another version of {what}{versions}"
        self.test.doubt(self.refused)

    def _made(self, worker: _Worker, message: Mapping[str, Any]) -> None:
        test, tally = self.test, self.test.tally
        scenario = test.bound.scenario
        worker.open.pop(int(message["first"]), None)
        worker.elapsed_s += float(message["elapsed_s"])
        tally.elapsed_s = max(one.elapsed_s for one in self.workers.values())
        tally.commands += int(message["commands"])
        tally.retries += int(message["retries"])
        tally.spreads_us += map(float, message["spreads_us"])
        steps = {int(number): [*map(unpack_step, one)] for number, one in message["steps"].items()}
        for packed in message["bursts"]:
            evidence, number = unpack(packed, self._signatures, scenario.initial_value), int(packed["burst"])
            bound = tally.control if packed["control"] else test.bound
            if bound is None:
                raise MalformedError("a burst of a control that there is not")
            finding = judge_evidence(evidence, bound.spec, bound.scenario.invariants(), "burst", _BUDGET)
            if packed["control"]:
                tally.add_control(evidence, finding)
                continue
            tally.add(evidence, finding, number)
            if finding.broken and number in steps:
                Bench.show(tally, evidence, "burst", steps[number])
        if message["failure"]:
            test.doubt(message["failure"])

    def lose(self, name: str) -> None:
        """A worker is gone: what it had open is unknown, and nothing may be said to hold."""
        worker = self.workers.get(name)
        if self.test.over or worker is None or worker.lost or worker.done:
            return
        worker.lost = True
        test, tally, lost = self.test, self.test.tally, 0
        numbers = [number for first, count in worker.open.items() for number in range(first, first + count)]
        for number in numbers:
            if tally.control is None or not is_control(number):
                items = draw(test.bound.scenario, test.load.seed, number, test.load.size)
                # Not judged: that nobody got in, say, is not known of them.
                tally.count(unknown(number, name, items))
                lost += len(items)
        worker.open.clear()
        test.doubt(f"worker {name} was lost, {lost} of its requests are unknown")
