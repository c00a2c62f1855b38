"""A probe is asked once every lease has run out in silence: not sooner, and not later than that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness.burst.bench
from harness.burst import Load
from harness.burst.bench import Bench
from harness.burst.evidence import BurstRecord
from harness.burst.record import Reading, Recorder
from harness.burst.worker import Worker
from harness.model import Effect
from harness.strategy.loader import find_scenario


@pytest.mark.parametrize(("silent_s", "wait_s"), [(0.0, 2.0), (1.5, 0.5), (2.0, 0.0), (9.0, 0.0)])
def test_what_is_left_of_a_lease_is_waited_for(silent_s: float, wait_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two seconds, those that have not passed since the last burst."""
    slept: list[float] = []
    asked: list[str] = []

    async def sleep(seconds: float) -> None:
        slept.append(max(0.0, seconds))

    async def rest(*_given: Any) -> tuple[dict[str, Any], int]:
        return {"user:1": {"attempt": "a1", "until_ms": 1}}, 0

    async def one(_tally: Any, _bound: Any, do: str, *_given: Any, **_more: Any) -> None:
        asked.append(do)

    scenario = find_scenario("double-submit")().under("drop")
    assert scenario.leases_ms == 2000
    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(harness.burst.bench, "time", SimpleNamespace(monotonic=lambda: 100.0))
    bench: Any = object.__new__(Bench)
    bench.most_probes = 8
    bench.interrupted, bench.blind, bench._rest, bench.one = False, False, rest, one
    tally: Any = SimpleNamespace(
        bound=SimpleNamespace(scenario=scenario), last_bursts={1: (("user:1",), ())}, failures=[], undecided=0,
        judged=1, cut=set(), shut=[], silent_since_s=100.0 - silent_s,
    )  # fmt: skip
    asyncio.run(bench.probe(tally, Load()))
    assert asked == ["probe"]
    assert slept == [wait_s]


def test_keys_of_killed_workers_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many bursts came after; and the answers are judged beside what these bursts have done outside."""
    asked: list[int] = []
    judged: dict[int, Any] = {}

    async def rest(*_given: Any) -> tuple[dict[str, Any], int]:
        return {}, 0

    async def one(*_given: Any, bursts: list[int], **_more: Any) -> dict[str, Any]:
        asked.extend(bursts)
        return {"span": (0, 0)}

    async def lost(_tally: Any) -> bool:
        return False

    monkeypatch.setattr(harness.burst.bench, "by_burst", lambda *_given: {3: BurstRecord()})
    bench: Any = object.__new__(Bench)
    bench.most_probes, bench.fleet, bench._observer = 4, SimpleNamespace(readings=[]), None
    bench.interrupted, bench.blind, bench._rest, bench.one, bench._lost = False, False, rest, one, lost
    charge = Effect("charge", "a1", ("key:3",), 1, None)
    tally: Any = SimpleNamespace(
        bound=SimpleNamespace(scenario=find_scenario("idempotency-key")()), failures=[], undecided=0, judged=1,
        last_bursts={burst: ((f"key:{burst}",), [charge] if burst == 3 else []) for burst in range(20)}, cut={3, 5},
        shut=[], add_probes=lambda evidence, burst: judged.update({burst: evidence.effects}),
    )  # fmt: skip
    asyncio.run(bench.probe(tally, Load()))
    assert asked == [18, 19, 3, 5]
    assert judged == {3: [charge]}


def test_a_probe_is_an_attempt_of_the_worker_that_asks(tmp_path: Path) -> None:
    """Not of the killed one in whose place it is, and who may have had an attempt of that number on the same key."""
    asked: list[tuple[Any, ...]] = []

    async def request(*given: Any) -> None:
        asked.append(given)

    async def sessions(*_given: Any) -> list[None]:
        return [None]

    worker: Any = object.__new__(Worker)
    performer = SimpleNamespace(
        scenario=find_scenario("double-submit")(), strategy=None, broken=None, request=request
    )  # fmt: skip
    worker.number, worker.performer, worker.ready_sessions = 0, lambda *_given: performer, sessions
    with (tmp_path / "entries").open("w+b") as entries, (tmp_path / "words").open("w+b") as words:
        worker.recorder = Recorder(2, entries.fileno(), words.fileno())
        asyncio.run(worker.probe(None, Load(), ["user:1"], [1]))
        recorded = Reading(2, entries.fileno(), words.fileno()).attempt(1)
    ((*_before, attempt, _role, _place, number, _kind),) = asked
    assert (attempt, number) == (recorded, 1) == ("2-a1", 1)
