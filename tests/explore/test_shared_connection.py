"""A connection to Redis that the callers of a process share, and one that the client opens anew by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.explore.random_walk import RandomWalk
from harness.model import Verdict

if TYPE_CHECKING:
    from tests.explore.conftest import Stage

pytestmark = pytest.mark.stores
SHARED = "watch:shared-connection"
LOST = "2 adds were acknowledged but the counter shows 1"


@pytest.mark.parametrize("strategy", ["watch:no-watch", "watch:two-connections", "watch:reconnect"])
def test_what_is_watched_belongs_to_a_connection(stage: Stage, strategy: str) -> None:
    """EXEC guards nothing where another one has watched, or none."""
    found, smallest = stage.explore("counter", strategy, Exhaustive, Options(), shrink=True)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == LOST


def test_exec_of_one_ends_the_watch_of_all(stage: Stage) -> None:
    """Two requests of one process: both are told that they were alone."""
    found, smallest = stage.explore("counter", SHARED, Exhaustive, Options(processes=1), shrink=True)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == LOST


def test_nobody_else_is_on_the_connection(stage: Stage) -> None:
    """Each of two processes has one caller; a third has to share."""
    found, _ = stage.explore("counter", SHARED, Exhaustive, Options())
    assert found.verdict is Verdict.PROVED, found.reason
    found, _ = stage.explore("counter", SHARED, Exhaustive, Options(size=3))
    assert found.verdict is Verdict.VIOLATED, found.reason


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("fault", ["", "crash", "lost-reply"])
def test_nothing_is_left_out(stage: Stage, processes: int, fault: str) -> None:
    """What comes of every order, with the reduction and without it."""
    options = Options(processes=processes, faults=(fault,) if fault else (), every=True)
    reduced, _ = stage.explore("counter", SHARED, Exhaustive, options)
    full, _ = stage.explore("counter", SHARED, lambda: Exhaustive(reduce=False), options)
    assert (reduced.exhausted, full.exhausted) == (True, True)
    assert reduced.outcomes == full.outcomes


def test_what_a_schedule_watched_is_gone_with_it(stage: Stage) -> None:
    """A caller that dies between WATCH and EXEC leaves a connection that watches nothing for the next schedule."""
    for size in (1, 2):
        found, _ = stage.explore("roster", SHARED, Exhaustive, Options(size=size, faults=("crash",), every=True))
        assert found.verdict is Verdict.PROVED, found.reason


def test_who_fails_by_what_another_watched_tries_again(stage: Stage) -> None:
    """Nobody gives up: of three, two share, and the third one changes what one of them had watched before."""
    options = Options(size=3, every=True, search="random", most_schedules=300)
    for scenario in ("counter", "roster"):
        found, _ = stage.explore(scenario, SHARED, lambda: RandomWalk(1, 300), options)
        assert not any("aborted" in repr(told) for told, _rest, _violated in found.outcomes)
