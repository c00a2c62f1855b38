"""Loops of tries: what one carries to the next, and what a schedule leaves to the next one."""

# ruff: noqa: ARG002 - programs have the signatures of scenarios and strategies

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from harness import ABORTED, Claim, Conditions, Outcome, Reply, Request, Rule, Scenario, Session, State, Strategy
from harness.burst.cells import Bound
from harness.burst.plan import Cell
from harness.explore import Exhaustive, Exploration, Explorer, Options
from harness.model import Verdict
from harness.strategy.loader import find_strategy
from tests.explore.conftest import Stage

SWAP = """
local value = redis.call('GET', KEYS[1])
if value ~= ARGV[1] then return value end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class Once(Scenario):
    """So many may have it; who comes later is told that he has only seen it."""

    name = "once"
    initial_value = 0

    def __init__(self, most: int = 2) -> None:
        """How many may."""
        self.most = most

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """Each is told as which he has it."""
        taken = state[request.key]
        if taken == self.most:
            return Outcome({}, Reply("seen", {"taken": taken}))
        return Outcome({request.key: taken + 1}, Reply("taken", {"as": taken + 1}))

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Everybody takes it."""
        return [Request("take", ("it",))] * size


class Swaps(Strategy):
    """A compare-and-set that tells the value it has found instead; the next try goes on with that."""

    name = "swaps"
    family = "test"

    def claims(self, conditions: Conditions) -> Claim:
        """Holds."""
        return Claim("holds")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Read once, then only by what was found."""
        key = session.key(request.key)
        raw = await session.redis("GET", key)
        async for _ in session.retries():
            outcome = await session.decide(rule, {request.key: self.values.parse(raw)}, request)
            if not outcome.changes:
                return outcome.reply
            found = await session.script(SWAP, (key,), raw, self.values.encode(outcome.changes[request.key]))
            if found == 1:
                return outcome.reply
            raw = found
        return ABORTED


class Forces(Swaps):
    """Decides once; its second try writes whatever it finds."""

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Not what it read, but by the number of the try."""
        key = session.key(request.key)
        raw = await session.redis("GET", key)
        outcome = await session.decide(rule, {request.key: self.values.parse(raw)}, request)
        if not outcome.changes:
            return outcome.reply
        value = self.values.encode(outcome.changes[request.key])
        async for number in session.retries():
            if number:
                await session.redis("SET", key, value)
                return outcome.reply
            if await session.script(SWAP, (key,), raw, value) == 1:
                return outcome.reply
        return ABORTED


class Keeps(Swaps):
    """A lock for all that nobody gives back."""

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """The second one waits for ever."""
        async for _ in session.polls():
            if await session.redis("SET", session.key("lock"), "1", "NX"):
                break
        state = await self.values.load(session, request.keys)
        outcome = await session.decide(rule, state, request)
        await self.values.save(session, outcome.changes, session.now_at_ms)
        return outcome.reply


class LocksTwice(Swaps):
    """Takes a lock of its process, and once more within."""

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """It waits for itself."""
        async with session.mutex("it"), session.mutex("it"):
            return await super().apply(session, request, rule)


class Watches(Swaps):
    """WATCH without UNWATCH where nothing is to be written: the connection goes on watching."""

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Right all the same: at worst a later EXEC is refused once more."""
        async for _ in session.retries():
            await session.redis("WATCH", session.key(request.key))
            state = await self.values.load(session, request.keys)
            outcome = await session.decide(rule, state, request)
            if not outcome.changes:
                return outcome.reply
            await session.redis("MULTI")
            await self.values.save(session, outcome.changes, session.now_at_ms)
            if await session.redis("EXEC") is not None:
                return outcome.reply
        return ABORTED


class Same(Once):
    """A request that names its key twice: a transfer to oneself."""

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Both keys are one."""
        return [Request("take", ("it", "it"))] * size


def explored(stage: Stage, kind: type[Swaps], most: int = 2, size: int = 2) -> Exploration:
    """Every order."""
    scenario = Once(most)
    bound = Bound(Cell("once", "test", "default"), scenario, kind(scenario), Claim("holds"))

    async def go() -> Exploration:
        async with Explorer(bound, stage.stores, Options(size=size)) as explorer:
            return await explorer.explore(Exhaustive())

    return stage.run(go())


@pytest.mark.stores
def test_a_try_that_was_given_the_newer_value_goes_on_by_itself(stage: Stage) -> None:
    """Nobody has to change anything for that, and nobody's tries run out."""
    found = explored(stage, Swaps)
    assert (found.verdict, found.caps, found.errors) == (Verdict.PROVED, (), {})


@pytest.mark.stores
def test_a_second_try_that_does_something_else_is_tried(stage: Stage) -> None:
    """What it overwrites is found."""
    assert explored(stage, Forces).verdict is Verdict.VIOLATED


@pytest.mark.stores
def test_a_lock_that_is_left_is_no_part_of_the_next_schedule(stage: Stage) -> None:
    """Its name is the same in all: who waits for it is stuck in each, not in the first only."""
    found = explored(stage, Keeps)
    assert found.verdict is Verdict.VIOLATED
    assert found.first is not None
    assert found.first.says == "1 request was never answered"


@pytest.mark.stores
def test_a_lock_in_memory_is_not_taken_twice(stage: Stage) -> None:
    """Nor is it under a load."""
    found = explored(stage, LocksTwice)
    assert found.verdict is Verdict.VIOLATED
    assert found.first is not None
    assert found.first.explanation().why == "A waits for A."


@pytest.mark.stores
def test_a_connection_that_still_watches_is_no_part_of_the_next_schedule(stage: Stage) -> None:
    """The EXEC of its next request would be refused by what another schedule did."""
    assert explored(stage, Watches, most=1, size=3).verdict is Verdict.PROVED


@pytest.mark.stores
@pytest.mark.parametrize("name", ["mutex", "redis-lock", "redis-lock-fenced", "redis-lock-renewed"])
def test_who_names_a_key_twice_does_not_wait_for_itself(stage: Stage, name: str) -> None:
    """Its lock is taken once."""
    scenario, (kind, _variant) = Same(), find_strategy(name)
    bound = Bound(Cell("same", name, "default"), scenario, kind(scenario), Claim("holds"))

    async def go() -> Exploration:
        async with Explorer(bound, stage.stores, Options(processes=1)) as explorer:
            return await explorer.explore(Exhaustive())

    found = stage.run(go())
    assert (found.verdict, found.errors) == (Verdict.PROVED, {})
