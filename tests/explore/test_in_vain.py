"""Tries that are all in vain, since whoever is waited for is slow: what a caller does then, it does in his middle."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.explore import Exhaustive, Options, searching
from harness.explore.replay import Replay
from harness.model import Verdict
from tests.explore.conftest import Stage
from tests.explore.test_outside import RACY, written

pytestmark = pytest.mark.stores
LOCK = 'await redis("SET", key + ":lock", session.token(), "NX", "PX", 2_000)'
FREE = 'await redis("DEL", key + ":lock")'
ANYWAY = f"""
        async for _ in session.retries():
            if {LOCK}:
                break
        {RACY}
        {FREE}"""
ABORTS = ANYWAY.replace(f"        {RACY}", f"        else:\n            return ABORTED\n        {RACY}", 1)
TIDIES = ABORTS.replace("return ABORTED", "await redis('INCR', key + ':tired'); return ABORTED")
UNLOCKS = ABORTS.replace("return ABORTED", f"{FREE}; return ABORTED")
THIRD = f"""
        async for number in session.retries():
            if number == 3 or {LOCK}:
                break
        {RACY}
        {FREE}"""
COUNTED = f"""
        tries = []
        async for _ in session.polls():
            tries.append(1)
            if len(tries) == 5 or {LOCK}:
                break
        {RACY}
        {FREE}"""
LATE = f"""
        end = await session.now_ms() + 100
        async for _ in session.retries():
            if {LOCK} or await session.now_ms() > end:
                break
        {RACY}
        {FREE}"""
OLD = f"""
        async for _ in session.retries():
            if {LOCK} or await redis("PTTL", key + ":lock") < 1_500:
                break
        {RACY}
        {FREE}"""


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (ANYWAY, Verdict.VIOLATED),
        (ABORTS, Verdict.PROVED),
        (TIDIES, Verdict.PROVED),  # that it goes on does no harm
        pytest.param(
            UNLOCKS, Verdict.VIOLATED, marks=pytest.mark.long
        ),  # what is not its own, so that a third one comes in
        (THIRD, Verdict.VIOLATED),
        (COUNTED, Verdict.VIOLATED),
        (LATE, Verdict.VIOLATED),
        (OLD, Verdict.VIOLATED),
    ],
    ids=["anyway", "aborts", "tidies", "unlocks", "third", "counted", "late", "old"],
)
def test_who_tries_in_vain(stage: Stage, tmp_path: Path, body: str, verdict: Verdict) -> None:
    """No proof but where it does nothing that matters."""
    size = 3 if body == UNLOCKS else 2
    found, smallest = stage.explore("counter", written(tmp_path, body), Exhaustive, Options(size=size), shrink=True)
    assert found.verdict is verdict, found.reason
    if smallest is not None:
        assert "persist" in {choice.kind for choice in smallest.choices}


@pytest.mark.parametrize(("most", "verdict"), [(0, Verdict.BOUNDED), (20, Verdict.VIOLATED)])
def test_a_bound_on_switches(stage: Stage, tmp_path: Path, most: int, verdict: Verdict) -> None:
    """What it leaves out is no proof; where it leaves out nothing, tries in vain come after it."""
    options = Options(most_switches=most)
    found, _ = stage.explore("counter", written(tmp_path, ANYWAY), lambda: searching(options), options)
    assert found.verdict is verdict, found.reason


def test_it_is_one_row_and_played_again(stage: Stage, tmp_path: Path) -> None:
    """However many tries they were: the same each time."""
    path, options = written(tmp_path, ANYWAY), Options()
    _, smallest = stage.explore("counter", path, Exhaustive, options, shrink=True)
    assert smallest is not None
    told = [" ".join(step.command) for step in smallest.steps if step.kind == "effect"]
    assert told == ["(tries 98 times more, in vain)"]
    for again in stage.play("counter", path, options, [Replay(smallest.choices) for _ in range(5)]):
        assert again is not None
        assert (again.says, [event.did for event in again.events]) == (
            smallest.says, [event.did for event in smallest.events],
        )  # fmt: skip


def test_a_statement_that_does_not_wait(stage: Stage, tmp_path: Path) -> None:
    """NOWAIT, and on without the lock once the tries have run out."""
    body = """
        async for _ in session.retries():
            try:
                async with session.transaction("read committed") as tx:
                    await tx.sql("SELECT value FROM counters WHERE key = $1 FOR UPDATE NOWAIT", request.keys[0])
                    state = await self.rows.load(tx, request.keys)
                    outcome = await session.decide(rule, state, request)
                    await self.rows.save(tx, state, outcome.changes)
                return outcome.reply
            except StatementRefused:
                pass
        rows = (await session.sql("SELECT value FROM counters WHERE key = $1", request.keys[0])).rows
        value = (rows[0][0] or 0) + 1
        await session.sql("UPDATE counters SET value = $2 WHERE key = $1", request.keys[0], value)"""
    found, _ = stage.explore("counter", written(tmp_path, body, "postgres"), Exhaustive, Options())
    assert found.verdict is Verdict.VIOLATED, found.reason
