"""Who may write, and who knows the rule: every cell of six-writers in every order of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.explore import Exhaustive, Explorer, Options
from harness.model import Verdict
from harness.results.claims import explored_as_claimed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.explore import Exploration, Schedule
    from tests.conftest import Ended
    from tests.explore.conftest import Stage

FROM_FROZEN = "cron took 60 from an account that was frozen"
OVERDRAWN = "admin took 60 and left -20"
LOST = "admin and cron took 120 of 100"
"""Neither saw what the other did."""
REFUSED_BY_REDIS, REFUSED_BY_POSTGRES = {"NOPERM"}, {"42501"}

CELLS = [
    # Six complete copies behind locks.
    ("copies", "redis-lock", "proved", ""),
    ("copies", "pg-for-update", "proved", ""),
    # One clause is missing in one of them: no two overlap, and cron is wrong.
    ("cron-forgets", "redis-lock", "order held", FROM_FROZEN),
    ("cron-forgets", "pg-for-update", "order held", FROM_FROZEN),
    ("cron-forgets", "lua", "order held", FROM_FROZEN),
    ("cron-forgets", "lua-function", "proved", ""),
    ("cron-forgets", "cron=lua-function,*=lua", "proved", ""),
    ("cron-forgets", "cron=lua,*=lua-function", "order held", FROM_FROZEN),
    # One method that all call; and one who goes around it, with the lock and without.
    ("method", "pg-for-update", "proved", ""),
    ("bypass", "pg-for-update", "order held", OVERDRAWN),
    ("bypass", "admin=pg-read-committed,*=pg-for-update", "violated", LOST),
    # The rule has an owner: asked, it holds; around it anybody writes, unless nobody else may.
    ("bypass", "pg-procedure", "bounded", ""),
    ("bypass", "admin=pg-read-committed,*=pg-procedure", "violated", LOST),
    ("bypass", "admin=pg-read-committed,*=pg-procedure:revoked", "bounded", ""),
    ("bypass", "admin=pg-for-update,*=pg-procedure:revoked", "bounded", ""),
    ("bypass", "actor", "proved", ""),
    ("bypass", "admin=naive,*=actor", "violated", LOST),
    ("bypass", "admin=naive,*=actor:credentials", "proved", ""),
    # A queue is an owner with a mailbox in the store, and gone around just as easily.
    ("bypass", "queue", "proved", ""),
    ("bypass", "admin=naive,*=queue", "violated", LOST),
    ("bypass", "admin=naive,*=queue:credentials", "proved", ""),
    # The broken protection of what holds: without its lock, or by another strategy.
    ("bypass", "admin=pg-read-committed,*=pg-procedure:no-lock", "violated", LOST),
    ("copies", "cron=redis-lock,*=lua", "violated", FROM_FROZEN),
]


def explored(stage: Stage, cell: Cell, options: Options) -> tuple[Exploration, Schedule | None, bool | None]:
    """A cell in every order, a schedule that breaks, and whether it is as claimed."""

    async def go() -> tuple[Exploration, Schedule | None, bool | None]:
        bound = bind(cell, Load())
        async with Explorer(bound, stage.stores, options) as explorer:
            found = await explorer.explore(Exhaustive())
        return found, found.first, explored_as_claimed(bound.claim, found.verdict, found.errors, options.faults)

    return stage.run(go())


@pytest.mark.parametrize(("rule", "strategy", "verdict", "says"), CELLS)
def test_every_cell(stage: Stage, rule: str, strategy: str, verdict: str, says: str) -> None:
    """Its verdict, who is named, and whether the order of what was done explains it all the same."""
    seed = 2 if strategy.startswith("cron=redis-lock") else 1  # two who take, one of them cron
    found, first, as_claimed = explored(stage, Cell("six-writers", strategy, rule), Options(seed=seed, every=True))
    assert as_claimed, (found.verdict, found.reason)
    if first is None:
        assert (str(found.verdict), says) == (verdict, "")
        return
    assert str(found.verdict) == "violated"
    assert says in first.says
    # In order: what was applied, one after the other, gives these answers. It is the rule that was not kept.
    assert (first.finding.order == "legal") == (verdict == "order held"), first.finding.order


@pytest.mark.parametrize(
    ("strategy", "refused"),
    [
        ("admin=naive,*=actor:credentials", REFUSED_BY_REDIS),
        ("admin=naive,*=queue:credentials", REFUSED_BY_REDIS),
        ("admin=pg-read-committed,*=pg-procedure:revoked", REFUSED_BY_POSTGRES),
        ("admin=naive,*=actor", set()),
        ("admin=naive,*=queue", set()),
        ("admin=pg-read-committed,*=pg-procedure", set()),
    ],
)
def test_whether_the_bypass_is_refused(stage: Stage, strategy: str, refused: set[str]) -> None:
    """By the store, in every order; or by nobody."""
    found, _first, _claimed = explored(stage, Cell("six-writers", strategy, "bypass"), Options(every=True))
    assert set(found.errors) == refused
    assert all(count == found.schedules for count in found.errors.values())


def test_who_is_refused_on_purpose_is_not_asked_again_after_a_fault(stage: Stage) -> None:
    """Whether anybody gets in after a crash, one who may write there tells: to refuse the others is the protection."""
    cell = Cell("six-writers", "admin=naive,*=actor:credentials", "bypass")
    found, first, _claimed = explored(stage, cell, Options(faults=("crash",), budget_s=100))
    assert (found.verdict, first, set(found.errors)) == (Verdict.PROVED, None, REFUSED_BY_REDIS), found.reason


LOCKED_OUT = """
from harness import Claim, Strategy
class Forever(Strategy):
    name = "forever"
    def claims(self, conditions): return Claim("holds", "", errors=("WRONGTYPE",))
    async def apply(self, session, request, rule):
        lock = session.key(f"lock:{request.key}")
        if await session.redis("SET", lock, "1", "NX") is None:
            await session.redis("LPUSH", lock, "1")
        state = await self.values.load(session, request.keys)
        outcome = await session.decide(rule, state, request)
        await self.values.save(session, outcome.changes, session.now_at_ms)
        await session.redis("DEL", lock)
        return outcome.reply
"""


def test_where_everybody_is_refused_after_a_fault(stage: Stage, tmp_path: Path) -> None:
    """An error that the claim names is no excuse where nobody gets in any more: the lock of a dead one stays."""
    script = tmp_path / "forever.py"
    script.write_text(LOCKED_OUT, encoding="utf-8")
    found, first, _claimed = explored(stage, Cell("counter", str(script)), Options(faults=("crash",)))
    assert first is not None, found.reason
    assert first.says == "a new request after every lease had passed was WRONGTYPE"


def test_the_same_schedule_again(stage: Stage) -> None:
    """A schedule of roles, with an owner and a login of their own, is the same when it is run again."""
    strategy = "admin=naive,*=actor"
    found, first, _claimed = explored(stage, Cell("six-writers", strategy, "bypass"), Options())
    again, second, _claimed = explored(stage, Cell("six-writers", strategy, "bypass"), Options())
    assert first is not None
    assert second is not None
    assert (found.schedules, first.choices) == (again.schedules, second.choices)


@pytest.mark.parametrize("seed", [1, 3])
def test_who_has_a_strategy_of_its_own_is_there(seed: int, race: Callable[..., Ended]) -> None:
    """Whatever the seed draws: two other writers would prove nothing of cron's."""
    strategy = "cron=pg-read-committed,*=pg-for-update"
    ended = race("explore", "six-writers", "--strategy", strategy, "--seed", str(seed))
    assert (ended.code, "cron" in ended.stdout.splitlines()[0]) == (1, True)
