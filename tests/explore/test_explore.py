"""What exploring finds: every mutant, no tricky-but-safe form, and nothing that it cannot know."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.explore import Exhaustive, Options, Replay, switches
from harness.explore.event import Choice
from harness.explore.pct import Pct
from harness.explore.random_walk import RandomWalk
from harness.explore.shrink import shrink
from harness.model import Verdict
from harness.strategy.loader import scenarios
from tests.cells import strategies_for
from tests.explore.conftest import Stage

LIBRARY = {"rate-limit", "idempotency-key", "token-rotation", "credits", "webhook"}
"""Tried in `test_library`, rule by rule."""
LOCKS = "lock-lease"
"""Tried in `test_lock_lease`."""
MANY = {"queue", "redis-lock-fenced", "redis-lock-renewed"}
"""Their daemons and numbers make many orders, and do the same under every rule."""
UNSEEN = {"pg-procedure", "pg-procedure:revoked"}
"""What its function does inside the server is no proof."""
GIVING_UP = {"pg-advisory:try"}
"""Nor is it what somebody would have come to who gave up."""
MINUTES = {("subscription", name) for name in ("pg-serializable", "pg-repeatable-read", "pg-version")}
"""What starts again when somebody was quicker, in attempts of three steps: a sixth of all cells' time, and long."""
CELLS = [
    (scenario.name, strategy.title)
    for scenario in scenarios()
    if scenario.name not in {*LIBRARY, LOCKS}
    for strategy in strategies_for(scenario)
    if strategy.name != "pg-queue"  # in a file of its own
    if strategy.name not in MANY or scenario.name in {"counter", "team-move"}
    # What `counter` shows of a transaction, too: its two steps are a tenth of an attempt's.
    if not (
        scenario.name == "double-submit" and strategy.variant and strategy.store == "postgres" and not strategy.form
    )
]


@pytest.mark.parametrize(
    ("scenario", "strategy"),
    [pytest.param(*cell, marks=[pytest.mark.long] if cell in MINUTES else []) for cell in CELLS],
)
def test_claims(stage: Stage, scenario: str, strategy: str) -> None:
    """Two requests in every order: what claims to break does, what claims to hold is proved."""
    claim = stage.explorer(scenario, strategy, Options()).bound.claim
    if claim.kind == "not-applicable":
        pytest.skip(claim.reason)
    found, _ = stage.explore(scenario, strategy, Exhaustive, Options())
    if claim.kind == "breaks":
        assert found.verdict is Verdict.VIOLATED, found.reason
    else:
        unclear = strategy in UNSEEN | GIVING_UP
        assert (found.verdict, bool(found.caps)) == (Verdict.BOUNDED if unclear else Verdict.PROVED, unclear)
        assert set(found.errors) <= set(claim.errors)


@pytest.mark.parametrize(
    ("scenario", "strategy", "fault"),
    [
        ("counter", "redis-lock", "pause"),
        ("double-submit", "redis-lock", "pause"),
        ("counter", "redis-lock:no-token", "pause"),
        ("counter", "redis-lock:constant-token", "pause"),
        ("counter", "redis-lock:set-then-expire", "crash"),
        ("counter", "atomic", "duplicate"),
    ],
)
def test_breaks_under_a_fault(stage: Stage, scenario: str, strategy: str, fault: str) -> None:
    """What only a fault shows; without it the same cell is proved."""
    found, smallest = stage.explore(scenario, strategy, Exhaustive, Options(faults=(fault,)), shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert any(choice.kind.startswith(fault) for choice in smallest.choices)


@pytest.mark.parametrize(
    ("scenario", "strategy", "fault"),
    [
        ("double-submit", "atomic", "crash"),
        ("double-submit", "atomic", "pause"),
        ("counter", "atomic", "lost-reply"),
        ("counter", "redis-lock", "crash"),
        ("counter", "pg-for-update", "crash"),
        ("counter", "pg-conditional", "lost-reply"),
        ("counter", "mutex", "crash"),
    ],
)
def test_holds_under_a_fault(stage: Stage, scenario: str, strategy: str, fault: str) -> None:
    """A fault that the protection survives is no violation."""
    options = Options(faults=(fault,), processes=1 if strategy == "mutex" else 2)
    found, _ = stage.explore(scenario, strategy, Exhaustive, options)
    assert found.verdict is Verdict.PROVED, found.reason


def test_mutex_holds_in_one_process(stage: Stage) -> None:
    """An in-process lock is one lock where there is one process."""
    found, _ = stage.explore("counter", "mutex", Exhaustive, Options(processes=1))
    assert found.verdict is Verdict.PROVED


def test_smallest(stage: Stage) -> None:
    """Of four callers two are left, and two switches between them."""
    found, smallest = stage.explore("counter", "naive", Exhaustive, Options(size=4), shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert len({choice.caller for choice in smallest.choices}) == 2
    assert switches(smallest.choices) == 2
    assert smallest.says == "2 adds were acknowledged but the counter shows 1"


def test_a_very_long_schedule_is_not_played_for_ever() -> None:
    """Callers that poll until they give up make thousands of steps: each try is as long, so there are few."""

    @dataclass
    class Long:
        choices: list[Choice]
        says: str = "nobody got in"
        sharp: bool = True

    played = 0

    async def play(_choices: Sequence[Choice], _without: frozenset[str]) -> Long:
        nonlocal played
        played += 1
        return first

    first = Long([Choice("step", "AB"[number % 2]) for number in range(4_000)])
    assert asyncio.run(shrink(first, play)) is first
    assert 2 <= played <= 10


def test_a_bound_is_no_proof(stage: Stage) -> None:
    """Whatever was left out keeps the verdict from being `proved`."""
    for options in (Options(most_schedules=1), Options(most_switches=0)):
        most = options.most_switches
        found, _ = stage.explore("counter", "watch", lambda most=most: Exhaustive(most_switches=most), options)  # type: ignore[misc]
        assert (found.verdict, found.exhausted) == (Verdict.BOUNDED, False)


@pytest.mark.parametrize(
    ("scenario", "strategy", "caps"),
    [("last-owner", "pg-for-update", 1), ("counter", "pg-for-update", 0), ("counter", "pg-advisory", 0)],
)
def test_a_choice_of_the_server_is_no_proof(stage: Stage, scenario: str, strategy: str, caps: int) -> None:
    """Of two that wait for several rows either may go on first; where each might have asked first, both are tried."""
    found, _ = stage.explore(scenario, strategy, Exhaustive, Options(size=3))
    assert (found.verdict, found.exhausted) == (Verdict.BOUNDED if caps else Verdict.PROVED, True), found.reason
    assert [cap for cap in found.caps if "the server decides" in cap] == list(found.caps)
    assert len(found.caps) == caps


@pytest.mark.parametrize("search", [RandomWalk, Pct])
def test_drawn_schedules(stage: Stage, search: type[RandomWalk | Pct]) -> None:
    """They find what is there, and never prove anything."""
    found, _ = stage.explore("counter", "naive", lambda: search(1, 200), Options())
    assert found.verdict is Verdict.VIOLATED
    found, _ = stage.explore("counter", "atomic", lambda: search(1, 20), Options())
    assert (found.verdict, found.schedules) == (Verdict.BOUNDED, 20)


def test_power_of_pct(stage: Stage) -> None:
    """A bug of depth 2 is found at least as often as 1 / (n * k): here n = 2, k = 4."""
    found, _ = stage.explore("counter", "naive", lambda: Pct(7, 400, depth=2), Options(every=True))
    assert found.violated / found.schedules >= 1 / 8


WITHIN = """
from harness import *
class Mine(Strategy):
    name = "mine"
    family = "test"
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        value, begun, over = (session.key(request.key) + end for end in ("", ":begun", ":over"))
        if request.id == "r2":
            await session.redis("SET", begun, 1)
            for _ in range(6):
                await session.redis("GET", value + ":own")
            await session.redis("SET", over, 1)
            return Reply("added", {"value": await session.redis("INCR", value)})
        before = await session.redis("GET", begun)
        within = before is None and await session.redis("GET", over) is not None
        for _ in range(6):
            await session.redis("GET", value + ":own")
        return Reply("added", {"value": await session.redis("INCR", value) + 7 * within})
"""


def test_power_of_pct_where_chance_has_none(stage: Stage, tmp_path: Path) -> None:
    """All of one caller's steps between two of the other's: of depth 2, and 1 / (n * k) is just what it comes to.

    Here n = 2, k = 18. Of 800 schedules 22 then are to find it, give or take twice their root.
    """
    path = tmp_path / "within.py"
    path.write_text(WITHIN)
    found = []
    for search in (Pct(3, 800, depth=2), RandomWalk(3, 800)):
        explored, _ = stage.explore("counter", str(path), lambda search=search: search, Options(every=True))  # type: ignore[misc]
        found.append(explored.violated)
    expected = 800 / (2 * 18)
    assert found[0] >= expected - 2 * expected**0.5
    assert found[1] < expected / 4


def test_replay(stage: Stage) -> None:
    """A schedule does the same, a hundred times out of a hundred."""
    options = Options(faults=("pause",))
    _found, smallest = stage.explore("counter", "redis-lock", Exhaustive, options, shrink=True)
    assert smallest is not None
    searches = [Replay(smallest.choices) for _ in range(100)]
    for played in stage.play("counter", "redis-lock", options, [*searches], smallest.without):
        assert played is not None
        assert (played.says, played.choices) == (smallest.says, smallest.choices)


def test_replay_that_does_not_fit(stage: Stage) -> None:
    """A choice that is not possible is no verdict."""
    found, _ = stage.explore("counter", "naive", Exhaustive, Options())
    assert found.first is not None
    ended = [choice for choice in found.first.choices if choice.caller == "A"]
    replay = Replay([*ended, ended[0]])
    assert stage.play("counter", "naive", Options(), [replay]) == [None]
    assert replay.diverged


def test_the_values_of_an_answer(stage: Stage) -> None:
    """Are shown where what is wrong depends on them: whom a start replaced, what an add came to."""
    for scenario, rule, shown in (("double-submit", "replace", {"replaced=a1"}), ("counter", "", {"value=1"})):
        _, smallest = stage.explore(scenario, "naive", Exhaustive, Options(), shrink=True, rule=rule)
        assert smallest is not None
        assert {row.values for row in smallest.explanation().rows} - {""} == shown
