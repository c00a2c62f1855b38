"""Commands that wait inside Redis: by the schedule's clock, woken by the step that brings what they wait for."""

# ruff: noqa: ARG002 - programs have the signatures of scenarios and strategies

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import pytest

from harness import Claim, Conditions, Outcome, Reply, Request, Rule, Scenario, Session, State, Strategy
from harness.burst.cells import Bound
from harness.burst.plan import Cell
from harness.explore import Exhaustive, Exploration, Explorer, Options
from harness.explore.blocking import foreseen, patience
from harness.explore.machine import Machine
from harness.model import UsageError, Verdict
from tests.explore.conftest import Stage


class Handed(Scenario):
    """Some take, some give; who takes is told what was given, or that there was nothing."""

    name = "handed"

    def __init__(self, *operations: str) -> None:
        """One request for each."""
        self.operations = operations

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """Nobody is judged by it."""
        return Outcome({}, Reply("done"))

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """Anything."""
        yield state

    def view(self, value: Any, now_ms: int) -> Any:
        """Nothing at rest counts."""
        return None

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """One caller for each operation."""
        return [Request(operation, ("list",)) for operation in self.operations]


class Takes(Strategy):
    """Commands as they are named."""

    name = "takes"
    family = "test"

    def claims(self, conditions: Conditions) -> Claim:
        """Nothing."""
        return Claim("holds")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """One command, or two."""
        name = session.key(request.keys[0])
        words: dict[str, tuple[Any, ...]] = {
            "take": ("BLPOP", name, 0),
            "wait a second": ("BLPOP", name, "1.0"),
            "move": ("BLMOVE", name, f"{name}:taken", "LEFT", "RIGHT", 0),
            "give": ("RPUSH", name, "it"),
            "give twice": ("RPUSH", name, "it", "more"),
            "read": ("XREAD", "COUNT", 1, "BLOCK", 0, "STREAMS", name, "0"),
            "write": ("XADD", name, "1-1", "it", "more"),
            "drop": ("DEL", name),
            "spoil": ("SET", name, "1"),
            "wait for replicas": ("WAIT", 1, 0),
        }
        if request.operation.startswith("look and "):
            await session.redis("GET", f"{name}:other")
        found = await session.redis(*words[request.operation.removeprefix("look and ")])
        if request.operation == "look and read":  # the key is called otherwise in every schedule
            found = found[0][1][0][1]
        return Reply("done", {"found": str(found[-1] if isinstance(found, list) else found)})


def explored(
    stage: Stage, *operations: str, faults: tuple[str, ...] = (), reduce: bool = True, processes: int = 2
) -> Exploration:
    """Every order of these operations."""

    async def go() -> Exploration:
        scenario = Handed(*operations)
        strategy = Takes(scenario)
        bound = Bound(Cell("handed", "takes", "default"), scenario, strategy, Claim("holds"))
        options = Options(size=len(operations), every=True, faults=faults, processes=processes, budget_s=60)
        async with Explorer(bound, stage.stores, options) as explorer:
            return await explorer.explore(Exhaustive(reduce=reduce))

    return stage.run(go())


def found(exploration: Exploration) -> set[tuple[str, ...]]:
    """What each was told, in every way that it came about; `stuck` and other errors as they are called."""
    return {
        tuple(error or reply.split("'found': ")[1].strip("\"'})b") for _, _, error, reply in told)
        for told, _rest, _ in exploration.outcomes
    }


def test_who_waits_is_served_by_the_step_that_brings_it(stage: Stage) -> None:
    """Whoever comes first."""
    for takes in ("take", "move"):
        both = explored(stage, takes, "give")
        assert (both.verdict, both.schedules, found(both)) == (Verdict.PROVED, 2, {("it", "1")})


def test_first_come_first_served(stage: Stage) -> None:
    """Two who wait, and two things that come at once."""
    three = explored(stage, "take", "take", "give twice")
    assert (three.verdict, found(three)) == (Verdict.PROVED, {("it", "more", "2"), ("more", "it", "2")})


def test_who_waits_for_ever_is_stuck(stage: Stage) -> None:
    """One thing for two."""
    three = explored(stage, "take", "take", "give")
    assert (three.verdict, found(three)) == (Verdict.VIOLATED, {("it", "stuck", "1"), ("stuck", "it", "1")})


def test_patience_ends_by_the_schedule_s_clock(stage: Stage) -> None:
    """A second that costs nothing, and one that a pause lets pass."""
    began = time.monotonic()
    both = explored(stage, "wait a second", "wait a second")
    assert (both.verdict, found(both)) == (Verdict.BOUNDED, {("None", "None")})
    assert both.caps == ("a command that waits may give up before it is served",)
    assert ("None", "1") in found(explored(stage, "wait a second", "look and give", faults=("pause",)))
    assert time.monotonic() - began < 10 * both.schedules


def test_the_dead_are_served_nothing(stage: Stage) -> None:
    """Who crashes while it waits takes nothing away from who still does."""
    three = explored(stage, "take", "take", "give", faults=("crash",), processes=3)
    assert {("crash", "it", "1"), ("it", "crash", "1"), ("stuck", "it", "1")} <= found(three)


def test_a_lost_reply(stage: Stage) -> None:
    """What was handed over is gone, and nobody has it."""
    both = explored(stage, "take", "give", faults=("lost-reply",))
    assert any("lost" in told[0] for told in found(both)), found(both)


@pytest.mark.parametrize("operations", [("take", "take", "give twice"), ("wait a second", "move", "give")])
def test_reduction(stage: Stage, operations: tuple[str, ...]) -> None:
    """Fewer schedules, and all that the others show."""
    reduced, full = (explored(stage, *operations, reduce=reduce) for reduce in (True, False))
    assert found(reduced) == found(full)
    assert reduced.schedules <= full.schedules


@pytest.mark.parametrize(
    "operations",
    [
        ("look and take", "look and take", "give"),
        ("look and take", "look and take", "give twice"),
        ("look and take", "look and move", "look and give"),
        ("look and take", "give", "drop"),
        ("look and read", "look and read", "write", "drop"),
    ],
)
def test_who_would_only_wait_is_sent_late(
    stage: Stage, operations: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fewer schedules the same is seen as where it is sent at any time, and waits inside the server."""
    late = explored(stage, *operations)

    async def at_any_time(*_: object) -> bool:
        return False

    monkeypatch.setattr(Machine, "_unserved", at_any_time)
    full = explored(stage, *operations, reduce=False)
    assert found(late) == found(full)
    assert late.schedules < full.schedules


def test_a_key_that_becomes_something_else(stage: Stage) -> None:
    """Who waits already goes on waiting, who comes later is refused: no proof, since one of both is not run."""
    both = explored(stage, "look and take", "spoil", "drop", "give")
    assert "a command waits for a key that holds something else" in both.caps


def test_what_no_step_brings_about(stage: Stage) -> None:
    """Replicas are no callers: refused in one line."""
    with pytest.raises(UsageError, match="WAIT cannot be explored"):
        explored(stage, "wait for replicas", "give")


def test_patience() -> None:
    """Seconds or milliseconds, wherever the command says it."""
    assert patience(("BLPOP", "a", "b", "1.5")) == (("BLPOP", "a", "b", 0), 1_500)
    assert patience((b"blmpop", 2, "1", "a", "LEFT")) == ((b"blmpop", 0, "1", "a", "LEFT"), 2_000)
    assert patience(("XREAD", "BLOCK", "250", "STREAMS", "s", "$")) == (("XREAD", "BLOCK", 0, "STREAMS", "s", "$"), 250)
    for never in (("XREAD", "STREAMS", "s", "0"), ("GET", "a"), ("BLPOP", "a", "soon"), ("BLPOP",)):
        assert patience(never) is None


def test_what_is_foreseen() -> None:
    """Only where it does not matter when it is sent."""
    assert foreseen(("BLPOP", "a", 0)) == (("TYPE", "a"), b"list")
    assert foreseen(("XREAD", "BLOCK", 0, "STREAMS", "s", "0-0")) == (("XREAD", "STREAMS", "s", "0-0"), b"")
    for never in (
        ("BLPOP", "a", "b", 0), ("BLPOP", "a", 1), ("XREAD", "BLOCK", 0, "STREAMS", "s", "$"), ("GET", "a"),
        ("XREAD", "BLOCK", 0, "STREAMS", "s", "t", "0", "0"), ("BLMPOP", 0, 1, "a", "LEFT"),
    ):  # fmt: skip
        assert foreseen(never) is None
