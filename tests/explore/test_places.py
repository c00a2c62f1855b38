"""The other rules of places, and an order that is locked or not by what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict

if TYPE_CHECKING:
    from tests.explore.conftest import Stage

TOO_MANY = "4 were let in, and there are 3 places"


@pytest.mark.parametrize(
    "strategy", ["lua", "actor", "pg-conditional:total", "pg-for-update:parent", "pg-serializable"]
)
def test_one_of_two_is_let_in(stage: Stage, strategy: str) -> None:
    """In every order; the other one is told that it is full."""
    found, _ = stage.explore("places", strategy, Exhaustive, Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    assert {(text.count("entered"), text.count("'full'")) for text in map(repr, found.outcomes)} == {(1, 1)}


@pytest.mark.parametrize("strategy", ["lua", "pg-conditional:total", "pg-for-update:parent", "redis-lock:whole-flow"])
def test_a_look_is_no_claim(stage: Stage, strategy: str) -> None:
    """A look claims nothing, whatever it is locked by, as long as the lock ends before the use."""
    found, smallest = stage.explore("places", strategy, Exhaustive, Options(), rule="look-only", shrink=True)
    if "whole-flow" in strategy:
        assert found.verdict is Verdict.PROVED, found.reason
    else:
        assert smallest is not None
        assert (smallest.says, smallest.finding.order) == (TOO_MANY, "legal")


@pytest.mark.parametrize(
    ("carts", "says"), [("pg-read-committed", TOO_MANY), ("pg-advisory", ""), ("pg-conditional:total", "")]
)
def test_an_order_for_which_the_lock_is_skipped(stage: Stage, carts: str, says: str) -> None:
    """For a cart that is fresh, for speed: it has to take the lock that all take, or something that needs none."""
    strategy = carts if ":" in carts else f"cart={carts},*=pg-advisory"
    found, smallest = stage.explore("places", strategy, Exhaustive, Options(), shrink=True)
    assert ("" if smallest is None else smallest.says) == says, found.reason
