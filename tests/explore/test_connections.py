"""What stays with a connection when a transaction is over, and goes with its caller, and with its schedule."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict
from tests.explore.conftest import Stage
from tests.explore.test_outside import written

pytestmark = pytest.mark.stores
UNLOCK = "SELECT pg_advisory_unlock(hashtext($1))"
LOCKED = f"""
        await session.sql("SELECT pg_advisory_lock(hashtext($1))", request.keys[0])
        async with session.transaction("read committed") as tx:
            state = await self.rows.load(tx, request.keys)
            outcome = await session.decide(rule, state, request)
            {{early}}
            await self.rows.save(tx, state, outcome.changes)
        await session.sql("{UNLOCK}", request.keys[0])
        return outcome.reply"""
FLAGGED = """
        {flag}
        async with session.transaction("read committed") as tx:
            state = await self.rows.load(tx, request.keys, lock="none" if first else "rows")
            outcome = await session.decide(rule, state, request)
            await self.rows.save(tx, state, outcome.changes)
        return outcome.reply"""


@pytest.mark.parametrize("faults", [(), pytest.param(("crash",), marks=pytest.mark.long)])
def test_a_lock_of_a_session(stage: Stage, tmp_path: Path, faults: tuple[str, ...]) -> None:
    """It is gone with the process that held it, and with nothing else."""
    path = written(tmp_path, LOCKED.format(early="pass"), "postgres")
    found, _ = stage.explore("counter", path, Exhaustive, Options(faults=faults))
    assert found.verdict is Verdict.PROVED, found.reason


def test_a_lock_of_a_session_that_is_given_back_too_early(stage: Stage, tmp_path: Path) -> None:
    """Before COMMIT."""
    early = f'await tx.sql("{UNLOCK}", request.keys[0])'
    body = LOCKED.format(early=early).replace(f'await session.sql("{UNLOCK}"', "(0")
    found, _ = stage.explore("counter", written(tmp_path, body, "postgres"), Exhaustive, Options())
    assert found.verdict is Verdict.VIOLATED, found.reason


@pytest.mark.parametrize(
    "flag",
    [
        """first = not (await session.sql("SELECT current_setting('my.flag', true)")).rows[0][0]
        await session.sql("SELECT set_config('my.flag', 'x', false)")""",
        """put = "INSERT INTO counters VALUES ('once', 1) ON CONFLICT DO NOTHING RETURNING 1"
        first = (await session.sql(put)).rows""",
        """first = (await session.sql("SELECT pg_try_advisory_lock(4715)")).rows[0][0]""",
    ],
    ids=["setting", "row", "lock"],
)
def test_every_schedule_finds_it_as_the_first_did(stage: Stage, tmp_path: Path, flag: str) -> None:
    """Whoever comes first does not lock: were it left, no schedule but the first would have one that comes first."""
    found, _ = stage.explore("counter", written(tmp_path, FLAGGED.format(flag=flag), "postgres"), Exhaustive, Options())
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert found.first is not None
    assert found.first.says == "2 adds were acknowledged but the counter shows 1"


def test_a_snapshot_that_is_waited_for(stage: Stage, tmp_path: Path) -> None:
    """READ ONLY DEFERRABLE waits for those who write, and for no lock of theirs."""
    body = """
        async with session.transaction("serializable") as tx:
            await tx.sql("SET TRANSACTION READ ONLY DEFERRABLE")
            await tx.sql("SELECT value FROM counters WHERE key = $1", request.keys[0])
        async for _ in session.retries():
            try:
                async with session.transaction("serializable") as tx:
                    state = await self.rows.load(tx, request.keys)
                    outcome = await session.decide(rule, state, request)
                    await self.rows.save(tx, state, outcome.changes)
                return outcome.reply
            except StatementRefused:
                pass
        return ABORTED"""
    found, _ = stage.explore("counter", written(tmp_path, body, "postgres"), Exhaustive, Options(budget_s=20))
    assert found.verdict is Verdict.BOUNDED, found.reason


def test_a_wait_that_the_server_gives_up(stage: Stage, tmp_path: Path) -> None:
    """By its own clock, which no schedule moves: it is said that this was not tried."""
    body = """
        async with session.transaction("read committed") as tx:
            await tx.sql("SET LOCAL lock_timeout = '2s'")
            state = await self.rows.load(tx, request.keys, lock="rows")
            outcome = await session.decide(rule, state, request)
            await self.rows.save(tx, state, outcome.changes)
        return outcome.reply"""
    found, _ = stage.explore("counter", written(tmp_path, body, "postgres"), Exhaustive, Options())
    assert found.verdict is Verdict.BOUNDED, found.reason
    assert "may be given up by the server's clock" in found.reason
