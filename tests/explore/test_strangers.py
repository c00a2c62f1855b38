"""Who is no caller may hold a lock that callers wait for: an advisory lock is the whole database's."""

# ruff: noqa: ARG002, RUF012 - programs and classes are written as in scenarios and strategies

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from harness import Claim, Conditions, Outcome, Reply, Request, Rule, Scenario, Session, State, Strategy
from harness.burst.cells import Bound
from harness.burst.plan import Cell
from harness.explore import Exhaustive, Exploration, Explorer, Options
from harness.explore import waiting as waiting_module
from harness.model import Verdict
from harness.stores import PostgresConnection
from tests.explore.conftest import Stage

LOCK = "SELECT pg_advisory_xact_lock(4711)"


class Adds(Scenario):
    """Everybody adds one."""

    name = "adds"
    initial_value = 0

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """One more."""
        return Outcome({request.key: state[request.key] + 1}, Reply("added"))

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """On one key."""
        return [Request("add", ("number",))] * size


class Locks(Strategy):
    """An advisory lock whose number others may use, too; then read, decide, write."""

    name = "locks"
    family = "test"
    needs = {"postgres": "14"}

    def claims(self, conditions: Conditions) -> Claim:
        """Holds."""
        return Claim("holds")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """One after the other."""
        async with session.transaction("read committed") as tx:
            await tx.sql(LOCK)
            state = await self.rows.load(tx, request.keys)
            outcome = await session.decide(rule, state, request)
            await self.rows.save(tx, state, outcome.changes)
        return outcome.reply


def explored(stage: Stage, holds_s: float, rests_s: float) -> Exploration:
    """Every order, while somebody else takes the lock again and again, for so long each time."""

    async def strange(connection: PostgresConnection) -> None:
        while True:
            await connection.begin("read committed")
            await connection.sql(LOCK)
            await asyncio.sleep(holds_s)
            await connection.rollback()
            await asyncio.sleep(rests_s)

    async def go() -> Exploration:
        scenario = Adds()
        bound = Bound(Cell("adds", "locks", "default"), scenario, Locks(scenario), Claim("holds"))
        assert stage.stores.postgres is not None
        stranger = await PostgresConnection.open(stage.stores.postgres, stage.stores.schema)
        task = asyncio.create_task(strange(stranger))
        try:
            async with Explorer(bound, stage.stores, Options()) as explorer:
                return await explorer.explore(Exhaustive())
        finally:
            task.cancel()
            await asyncio.wait([task])
            await stranger.close()

    return stage.run(go())


@pytest.mark.stores
def test_a_stranger_who_lets_go_is_waited_for(stage: Stage) -> None:
    """He is no reason why a request should never be answered."""
    found = explored(stage, 0.03, 0.001)
    assert (found.verdict, found.schedules) == (Verdict.PROVED, 4)


@pytest.mark.stores
def test_a_stranger_who_does_not_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is said to be stuck."""
    monkeypatch.setattr(waiting_module, "_STRANGER_S", 0.05)
    found = explored(stage, 60.0, 0.0)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "another client of PostgreSQL (process " in found.reason
