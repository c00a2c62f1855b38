"""One caller after the other, where check-then-act cannot hide it: a copy that is behind lets too many through."""

from __future__ import annotations

import asyncio

import pytest

from harness.burst import Cell, Load, StoresOptions, run
from harness.burst.plan import slow
from harness.burst.session import LoadSession, VirtualProcess
from harness.model import Outcome, Reply, Request, UsageError, Verdict

ALONE = Load(mode="sustained", processes=1, connections=1, keys=2, duration_s=0.5)


@pytest.mark.load
@pytest.mark.xdist_group("load")
def test_one_caller_after_the_other() -> None:
    """Nobody overlaps anybody. Who looks at the truth lets 60 through, who looks at a copy far more."""
    behind, looked = (
        asyncio.run(run(Cell("rate-limit", strategy), ALONE, control=False))
        for strategy in ("replica-lag:200-ms", "naive")
    )
    assert (behind.verdict, behind.invariants["at most the limit"]) == (Verdict.VIOLATED, Verdict.VIOLATED)
    assert behind.invariants["at most 120 %"] is Verdict.VIOLATED
    assert behind.amounts["at most the limit"] > 2 * 12
    assert looked.verdict is Verdict.INCONCLUSIVE, looked.reason
    assert "no two requests overlapped" in looked.reason


def test_of_another_server_there_is_no_replica() -> None:
    """The cell does not apply there, and says why; before anything is started."""
    options = StoresOptions(redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(UsageError, match="does not apply to rate-limit: a replica that lags is started beside the"):
        asyncio.run(run(Cell("rate-limit", "replica-lag"), ALONE, stores_options=options))


@pytest.mark.parametrize(
    ("key", "first"), [("user:h7-0", True), ("user:h7-10", False), ("user:h-h:h0-0", True), ("user:0", False)]
)
def test_which_key_may_be_slow(key: str, first: bool) -> None:
    """The first hot one."""
    assert slow(key) is first


def test_a_decision_about_it_takes_longer() -> None:
    """By as much as the load says, and no other does."""

    async def work() -> list[bool]:
        session = LoadSession("one", "race:0:", VirtualProcess())
        session.slow_ms = 40.0
        loop, waited = asyncio.get_running_loop(), []
        for key in ("user:h0-0", "user:h0-1"):
            began = loop.time()
            await session.decide(lambda _state, _request, _now: Outcome({}, Reply("done")), {}, Request("add", (key,)))
            waited.append(loop.time() - began >= 0.035)
        return waited

    assert asyncio.run(work()) == [True, False]
