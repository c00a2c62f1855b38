"""The other rules of places, and an order that is locked or not by what is in it."""

from __future__ import annotations

from ast import literal_eval
from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from tests.explore.conftest import Stage

TOO_MANY = "4 were let in, and there are 3 places"
ONE_LEAVES = """
from harness import *
from harness.strategy.loader import find_scenario
class OneLeaves(find_scenario("places")):
    name = "one-leaves"
    def burst(self, rng, size):
        enters = Request("enter", ("room",))
        return [enters, enters, Request("leave", ("room",), {"who": "y"}), enters][:size]
"""
COUPON = """
from harness import *
from harness.strategy.loader import find_scenario
class Coupon(find_scenario("places")):
    name = "coupon"
    def burst(self, rng, size):
        return [Attempt(("room",))] * size
"""


def inside(rest: tuple[str, ...]) -> int:
    """How many are in at rest."""
    (room,) = map(literal_eval, rest)
    return len(room["in"])


@pytest.mark.parametrize(
    "strategy", ["lua", "actor", "pg-conditional:total", "pg-for-update:parent", "pg-serializable"]
)
def test_one_of_two_is_let_in(stage: Stage, strategy: str) -> None:
    """In every order; the other one is told that it is full."""
    found, _ = stage.explore("places", strategy, Exhaustive, Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    assert {(text.count("entered"), text.count("'full'")) for text in map(repr, found.outcomes)} == {(1, 1)}


@pytest.mark.parametrize(
    "strategy", ["multi:look-first", "watch:no-watch", "pg-for-update", "pg-read-committed", "pg-repeatable-read"]
)
def test_one_too_many(stage: Stage, strategy: str) -> None:
    """Counted first, and then entered: in one EXEC, or with those locked who are in already."""
    found, smallest = stage.explore("places", strategy, Exhaustive, Options(), shrink=True)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == TOO_MANY


def test_enter_count_and_leave_again(stage: Stage) -> None:
    """Of two one is let in, and the other one leaves again."""
    found, _ = stage.explore("places", "multi", Exhaustive, Options(every=True), rule="in-doubt")
    assert found.verdict is Verdict.PROVED, found.reason
    assert {(text.count("entered"), text.count("'full'")) for text in map(repr, found.outcomes)} == {(1, 1)}
    assert {inside(rest) for _told, rest, _violated in found.outcomes} == {3}


@pytest.mark.parametrize(
    ("strategy", "rule", "faults", "says"),
    [
        ("multi:no-multi", "in-doubt", (), "2 were turned away, and a place was free that nobody took"),
        ("multi:look-first", "in-doubt", (), TOO_MANY),
        ("multi", "in-doubt", ("crash",), TOO_MANY),
        ("multi:look-first", "unsigned", (), TOO_MANY),
        ("naive", "unsigned", (), TOO_MANY),
    ],
)
def test_what_breaks_who_leaves_again(
    stage: Stage, strategy: str, rule: str, faults: tuple[str, ...], says: str
) -> None:
    """Two commands, a look first, a death before the end."""
    found, smallest = stage.explore("places", strategy, Exhaustive, Options(faults=faults), rule=rule, shrink=True)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == says


def test_who_is_about_to_leave_turns_one_away(stage: Stage, tmp_path: Path) -> None:
    """A place stays empty that somebody wanted, and nobody is in who is too many: which `in-doubt` accepts."""
    script = tmp_path / "one_leaves.py"
    script.write_text(ONE_LEAVES, encoding="utf-8")
    options = Options(size=4, every=True)
    found, _ = stage.explore(str(script), "multi", Exhaustive, options, rule="in-doubt")
    assert found.verdict is Verdict.PROVED, found.reason
    assert {inside(rest) for _told, rest, _violated in found.outcomes} == {2, 3}


@pytest.mark.parametrize("strategy", ["lua", "pg-conditional:total", "pg-for-update:parent", "redis-lock:whole-flow"])
def test_a_look_is_no_claim(stage: Stage, strategy: str) -> None:
    """A look claims nothing, whatever it is locked by, as long as the lock ends before the use."""
    found, smallest = stage.explore("places", strategy, Exhaustive, Options(), rule="look-only", shrink=True)
    if "whole-flow" in strategy:
        assert found.verdict is Verdict.PROVED, found.reason
    else:
        assert smallest is not None
        assert (smallest.says, smallest.finding.order) == (TOO_MANY, "legal")


@pytest.fixture
def coupon(tmp_path: Path) -> str:
    """Orders that look, as under `look-only`, and then have to claim a use, as under `cap`."""
    script = tmp_path / "coupon.py"
    script.write_text(COUPON, encoding="utf-8")
    return str(script)


@pytest.mark.parametrize(
    ("strategy", "size"),
    [("lua", 2), ("lua", 3), ("watch", 2), ("pg-conditional:total", 2), ("pg-for-update:parent", 2)],
)
def test_who_has_looked_claims_when_it_completes(stage: Stage, coupon: str, strategy: str, size: int) -> None:
    """All may have found a use left, and one order is completed with it: never more uses than the coupon has."""
    found, _ = stage.explore(coupon, strategy, Exhaustive, Options(size=size, every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    assert {inside(rest) for _told, rest, _violated in found.outcomes} == {3}
    assert {text.count("'entered'") for text in map(repr, found.outcomes)} == {1}
    assert {text.count("'free'") for text in map(repr, found.outcomes)} == {*range(1, size + 1)}


@pytest.mark.parametrize("strategy", ["pg-read-committed", "pg-conditional", "pg-for-update", "pg-repeatable-read"])
def test_a_claim_that_counts_what_is_completed(stage: Stage, coupon: str, strategy: str) -> None:
    """Counted in the completing transaction, or statement, and the other's use is not there yet."""
    found, smallest = stage.explore(coupon, strategy, Exhaustive, Options(), shrink=True)
    assert smallest is not None, found.reason
    assert (found.verdict, smallest.says) == (Verdict.VIOLATED, TOO_MANY)


@pytest.mark.parametrize(
    ("carts", "says"), [("pg-read-committed", TOO_MANY), ("pg-advisory", ""), ("pg-conditional:total", "")]
)
def test_an_order_for_which_the_lock_is_skipped(stage: Stage, carts: str, says: str) -> None:
    """For a cart that is fresh, for speed: it has to take the lock that all take, or something that needs none."""
    strategy = carts if ":" in carts else f"cart={carts},*=pg-advisory"
    found, smallest = stage.explore("places", strategy, Exhaustive, Options(), shrink=True)
    assert ("" if smallest is None else smallest.says) == says, found.reason
