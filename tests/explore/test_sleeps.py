"""Programs that sleep: it costs nothing, and keeps nobody out. Others may still be at work when a caller wakes up."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict
from tests.explore.conftest import Stage
from tests.explore.test_outside import INCR, RACY, written

pytestmark = pytest.mark.stores
LETS_THE_FIRST_FINISH = f"""
        if not await redis("SETNX", key + ":first", 1):
            await session.sleep_ms(1_000)
        {RACY}"""
THREE_TRIES = f"""
        for _ in range(3):
            if await redis("SET", key + ":lock", 1, "NX"):
                break
            await session.sleep_ms(5)
        {RACY}
        await redis("DEL", key + ":lock")"""
POLLS = f"""
        while not await redis("SET", key + ":lock", 1, "NX", "PX", 2_000):
            await session.sleep_ms(10)
        {RACY}
        await redis("DEL", key + ":lock")"""
HOLDS = f"""
        async for _ in session.polls():
            if await redis("SET", key + ":lock", 1, "NX", "PX", 2_000):
                break
        await session.sleep_ms(300)
        {RACY}
        await redis("DEL", key + ":lock")"""
PAST_THE_LEASE = f"""
        if not await redis("SET", key + ":lock", 1, "NX", "PX", 2_000):
            await session.sleep_ms(3_000)
        {RACY}
        await redis("DEL", key + ":lock")"""
NAPS = "that others are still at work when a caller wakes up"


@pytest.mark.parametrize("reduce", [True, False])
@pytest.mark.parametrize(
    ("body", "verdict", "reason"),
    [
        (LETS_THE_FIRST_FINISH, Verdict.VIOLATED, "broke"),
        (THREE_TRIES, Verdict.VIOLATED, "broke"),
        (POLLS, Verdict.BOUNDED, NAPS),
        (HOLDS, Verdict.PROVED, "every schedule"),
        (f"await session.sleep_ms(3_000); {INCR}", Verdict.PROVED, "every schedule"),
        (PAST_THE_LEASE, Verdict.BOUNDED, NAPS),  # the other one would have to pause that long
    ],
    ids=["first", "tries", "polls", "holds", "atomic", "lease"],
)
def test_who_sleeps(stage: Stage, tmp_path: Path, body: str, verdict: Verdict, reason: str, *, reduce: bool) -> None:
    """May wake up before the others have got on, for as long as no lease runs out meanwhile."""
    found, _ = stage.explore("counter", written(tmp_path, body), lambda: Exhaustive(reduce=reduce), Options())
    assert found.verdict is verdict, found.reason
    assert reason in found.reason


def test_the_diagram_says_so(stage: Stage, tmp_path: Path) -> None:
    """Who sleeps, and wakes up in the middle of the other one's work."""
    path = written(tmp_path, LETS_THE_FIRST_FINISH)
    _, smallest = stage.explore("counter", path, Exhaustive, Options(), shrink=True)
    assert smallest is not None
    told = [(step.caller, " ".join(step.command)) for step in smallest.steps if step.kind == "effect"]
    assert told == [("B", "(sleeps for 1,000 ms)"), ("B", "(wakes up)")]
