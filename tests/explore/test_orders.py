"""The order of a rule that is wrong in every order: a question of its own, told by all schedules."""

from __future__ import annotations

import asyncio

import pytest

from harness.burst import Cell, Load, StoresOptions
from harness.burst.cells import bind
from harness.explore import Brief, explore_briefly, wrong_in_order
from harness.model import Verdict

pytestmark = pytest.mark.stores


@pytest.mark.parametrize(
    ("strategy", "rule", "every", "order"),
    [
        ("lua", "blind", True, Verdict.PROVED),
        ("lua", "blind", False, Verdict.INCONCLUSIVE),  # the first that broke was the end
        ("naive", "blind", True, Verdict.VIOLATED),
        ("lua", "cancel-wins", False, Verdict.PROVED),
    ],
)
def test_the_order_alone(strategy: str, rule: str, every: bool, order: Verdict) -> None:
    """It is proved where the rule breaks, broken where nothing protects, and not known where the search was cut."""
    bound = bind(Cell("subscription", strategy, rule), Load())

    async def explored() -> Brief:
        async with StoresOptions().stores({bound.strategy.store}) as stores:
            return await explore_briefly(bound, stores, Load(), 10, sizes=(2,), every=every)

    found = asyncio.run(explored())
    assert found.order is order
    assert wrong_in_order(bound) == (rule == "blind")
    assert found.verdict is (Verdict.VIOLATED if rule == "blind" else Verdict.PROVED)
