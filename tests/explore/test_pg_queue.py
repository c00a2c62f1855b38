"""A queue in a table: one consumer holds, and what is taken from it is missed."""

from __future__ import annotations

import pytest

from harness.explore import Exhaustive, Options
from harness.explore.random_walk import RandomWalk
from harness.model import Verdict
from tests.explore.conftest import Stage

LOST, TWICE = "2 adds were acknowledged but the counter shows 1", "2 adds were acknowledged but the counter shows 3"
UNANSWERED = "1 request was never answered"


@pytest.mark.parametrize(
    ("variant", "faults", "says"),
    [
        ("skip-locked", (), LOST),
        ("first-row", (), LOST),
        ("two-transactions", ("crash",), TWICE),
        ("two-transactions", ("lost-reply",), TWICE),
        pytest.param("ack-first", ("crash",), UNANSWERED, marks=pytest.mark.long),
        ("ack-first", ("lost-reply",), UNANSWERED),
    ],
)
def test_what_lacks_a_part_breaks(stage: Stage, variant: str, faults: tuple[str, ...], says: str) -> None:
    """In the words of the domain."""
    options = Options(faults=faults, budget_s=60)
    found, _ = stage.explore("counter", f"pg-queue:{variant}", lambda: RandomWalk(1, 400), options)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert found.first is not None
    assert found.first.says == says


@pytest.mark.long
@pytest.mark.parametrize(
    ("title", "faults"),
    [
        *(("pg-queue", (fault,)) for fault in ("crash", "pause", "lost-reply", "duplicate")),
        ("pg-queue:spare", ()),
        ("pg-queue:spare", ("crash",)),
        ("pg-queue:two-transactions", ()),
        ("pg-queue:two-transactions", ("duplicate",)),
        ("pg-queue:ack-first", ()),
        ("pg-queue:credentials", ()),
    ],
)
def test_what_claims_to_hold_is_not_broken(stage: Stage, title: str, faults: tuple[str, ...]) -> None:
    """In some orders: all would take minutes, under a fault many of them."""
    options = Options(faults=faults, budget_s=60)
    found, _ = stage.explore("counter", title, lambda: RandomWalk(2, 20), options)
    assert found.verdict is Verdict.BOUNDED, (found.verdict, found.reason)
    assert found.schedules == 20


def test_one_consumer_is_proved(stage: Stage) -> None:
    """Every order of two requests: who looks in vain is left out, and rows of the queue change places."""
    found, _ = stage.explore("counter", "pg-queue", Exhaustive, Options(budget_s=60))
    assert found.verdict is Verdict.PROVED, found.reason
    assert found.schedules < 100  # without the reductions thousands


@pytest.mark.parametrize(("strategy", "errors"), [("*=pg-queue", set()), ("*=pg-queue:credentials", {"42501"})])
def test_who_writes_past_the_queue(stage: Stage, strategy: str, errors: set[str]) -> None:
    """Breaks it; where the consumer alone has the credentials, the database refuses."""
    cell = f"admin=pg-read-committed,{strategy}"
    options = Options(every=True, budget_s=60)
    found, _ = stage.explore("six-writers", cell, lambda: RandomWalk(1, 60), options, rule="bypass")
    assert found.verdict is (Verdict.BOUNDED if errors else Verdict.VIOLATED), found.reason
    assert set(found.errors) == errors
