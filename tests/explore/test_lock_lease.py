"""Work under a lease: what each kind of lock still allows, and daemons that renew or stop in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.explore import Exhaustive, Options
from harness.explore.random_walk import RandomWalk
from harness.model import Verdict
from harness.strategy.loader import find_strategy, strategies

if TYPE_CHECKING:
    from tests.explore.conftest import Stage

LOCKS = {"redis-lock", "redis-lock-fenced", "redis-lock-renewed"}
TITLES = [kind.name for kind in strategies() if kind.name != "pg-queue"] + [
    f"{kind.name}:{variant}"
    for kind in strategies()
    for variant in kind.variants
    if kind.name in LOCKS and variant not in {"whole-flow", "outlives"}
]


@pytest.mark.parametrize("strategy", TITLES)
def test_every_claim(stage: Stage, strategy: str) -> None:
    """One of two is slow: every order, with time moving on whenever it may."""
    claim = bind(Cell("lock-lease", strategy), Load()).claim
    if claim.kind == "not-applicable":
        pytest.skip(claim.reason)
    found, _ = stage.explore("lock-lease", strategy, Exhaustive, Options())
    expected = Verdict.PROVED if claim.kind == "holds" else Verdict.VIOLATED
    assert found.verdict is expected, found.reason
    assert found.errors == {}


@pytest.mark.parametrize("strategy", ["redis-lock-fenced", "redis-lock-renewed"])
def test_a_pause_past_the_lease(stage: Stage, strategy: str) -> None:
    """Time moves from one deadline to the next: a renewal comes in time, and what comes late is refused."""
    options = Options(faults=("pause",), budget_s=30, most_schedules=200)
    found, _ = stage.explore("counter", strategy, Exhaustive, options)
    assert found.verdict in {Verdict.PROVED, Verdict.BOUNDED}, found.reason  # renewals make many: all in the table
    assert found.schedules > 100


@pytest.mark.parametrize(
    ("strategy", "fault", "says"),
    [
        ("redis-lock-fenced:unchecked", "pause", "2 adds were acknowledged but the counter shows 1"),
        ("redis-lock-fenced:last-write", "pause", "2 adds were acknowledged but the counter shows 1"),
        ("redis-lock-renewed:too-late", "pause", "2 adds were acknowledged but the counter shows 1"),
        ("redis-lock-renewed:outlives", "crash", "a new request after every lease had passed was aborted"),
    ],
)
def test_without_a_part_of_the_protection(stage: Stage, strategy: str, fault: str, says: str) -> None:
    """Each mutant is caught."""
    found, smallest = stage.explore("counter", strategy, Exhaustive, Options(faults=(fault,)), shrink=True)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == says


def test_two_take_over_what_a_dead_one_held(stage: Stage) -> None:
    """Of three, one dies with the lock: the others both find its time over, and both put theirs in its place."""
    for faults, verdict in ((("crash",), Verdict.VIOLATED), ((), Verdict.BOUNDED)):
        options = Options(size=3, faults=faults)
        found, _ = stage.explore("counter", "redis-lock:steal", lambda: RandomWalk(4, 200), options)
        assert found.verdict is verdict, found.reason


def test_two_who_wait_for_the_lease_of_a_dead_one(stage: Stage) -> None:
    """A script that finds the lock taken has changed nothing: neither wakes the other until their tries run out."""
    options = Options(size=3, faults=("crash",))
    found, _ = stage.explore("counter", "redis-lock-fenced", lambda: RandomWalk(1, 120), options)
    assert (found.verdict, found.errors) == (Verdict.BOUNDED, {}), found.reason


def test_a_renewer_dies_with_its_caller(stage: Stage) -> None:
    """And so the lock is free after one lease."""
    found, _ = stage.explore("counter", "redis-lock-renewed", Exhaustive, Options(faults=("crash",)))
    assert found.verdict is Verdict.PROVED, found.reason


@pytest.mark.parametrize(
    ("strategy", "fault", "verdict"),
    [
        ("queue", "", Verdict.PROVED),
        ("queue:two-consumers", "", Verdict.VIOLATED),
        ("queue:ack-first", "", Verdict.PROVED),
        ("queue:ack-first", "crash", Verdict.VIOLATED),
        ("queue:ack-first", "lost-reply", Verdict.VIOLATED),
        ("queue:no-dedupe", "", Verdict.PROVED),
        ("queue:no-dedupe", "crash", Verdict.VIOLATED),
        ("queue:no-dedupe", "lost-reply", Verdict.VIOLATED),
        ("queue:no-dedupe", "duplicate", Verdict.VIOLATED),
    ],
)
def test_a_consumer(stage: Stage, strategy: str, fault: str, verdict: Verdict) -> None:
    """A successor begins where a dead one stopped, unless a message ends too early or too late."""
    options = Options(faults=(fault,) if fault else (), budget_s=30)
    found, _ = stage.explore("counter", strategy, Exhaustive, options)
    assert found.verdict is verdict, found.reason


def test_other_names() -> None:
    """As people look for them."""
    for name, title in (("mutex-ordered", "mutex"), ("actor-per-process", "actor:per-process")):
        kind, variant = find_strategy(name)
        assert f"{kind.name}:{variant}".rstrip(":") == title


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(one, marks=[] if one == "steal" else pytest.mark.long)
        for one in ("no-token", "constant-token", "steal")
    ],
)
def test_a_lock_that_is_anothers(stage: Stage, variant: str) -> None:
    """That the slow one is late is its own risk; that a third is let in beside the second is not."""
    options = Options(size=3, budget_s=60)
    found, smallest = stage.explore(
        "lock-lease", f"redis-lock:{variant}", lambda: RandomWalk(1, 5000), options, shrink=True, rule="overrun"
    )
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == "2 reports were built, and the last one is version 1"
    assert len({step.caller for step in smallest.steps}) == 3


@pytest.mark.parametrize("strategy", ["redis-lock", "redis-lock-renewed:too-late", "pg-advisory"])
def test_a_token_keeps_strangers_out(stage: Stage, strategy: str) -> None:
    """Every order of two, and some of three."""
    found, _ = stage.explore("lock-lease", strategy, Exhaustive, Options(budget_s=60), rule="overrun")
    assert found.verdict is Verdict.PROVED, found.reason
    options = Options(size=3, most_schedules=150, budget_s=60)
    found, _ = stage.explore("lock-lease", strategy, Exhaustive, options, rule="overrun")
    assert found.verdict in {Verdict.PROVED, Verdict.BOUNDED}, found.reason
