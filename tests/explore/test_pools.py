"""Connections that callers of a process share: who waits for the last one, and for whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.explore import Exhaustive, Options
from harness.explore.pools import Pool, waiting
from harness.model import UsageError, Verdict

if TYPE_CHECKING:
    from harness.explore import Exploration
    from tests.explore.conftest import Stage

pytestmark = pytest.mark.stores
STRATEGIES = Path(__file__).resolve().parents[2] / "strategies"
TITLES = ("pg-for-update:second-connection", "pg-advisory:second-connection")
DEADLOCK = "a deadlock: 2 requests were never answered"
IN = "{'open': True, 'members': ['alice', 'bob', 'zed']}"
LOOKUP = "await self.rows.load(session.second(), sorted(request.keys))"


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., str]:
    """A bundled strategy in which something is written otherwise: its title."""

    def written(title: str, told: str, instead: str) -> str:
        name, _, variant = title.partition(":")
        source = (STRATEGIES / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
        assert source.count(told) == 1
        script = tmp_path / f"{name}.py"
        script.write_text(source.replace(told, instead), encoding="utf-8")
        return f"{script}:{variant}"

    return written


def ended(found: Exploration) -> tuple[Verdict, dict[str, int]]:
    """The verdict, and what callers were shown."""
    return found.verdict, found.errors


@pytest.mark.parametrize("title", TITLES)
def test_a_holder_that_needs_a_second_connection(stage: Stage, title: str) -> None:
    """Each has one of two, and whoever has the lock cannot go on: nobody is ended, since no server sees all of it."""
    options = Options(processes=1)
    found, smallest = stage.explore("roster", title, Exhaustive, options, shrink=True)
    assert ended(found) == (Verdict.VIOLATED, {}), found.reason
    assert smallest is not None
    drawn = smallest.explanation()
    assert (drawn.says, drawn.why) == (DEADLOCK, "A waits for a connection that B has, and B for A.")
    taken = [(row.letter, row.command) for row in drawn.rows if "connection" in row.command]
    assert taken == [
        ("A", "takes connection 1 of 2"),
        ("B", "takes connection 2 of 2"),
        ("A", "wants a connection: all 2 are taken"),
    ]
    assert {row.letter for row in drawn.rows if row.reply == "(waits)"} == {"A", "B"}


@pytest.mark.parametrize("title", TITLES)
def test_a_second_one_is_there(stage: Stage, changed: Callable[..., str], title: str) -> None:
    """Of a pool for each process, of one that is larger, or where nobody needs a second: everybody is in."""
    alone, two = Options(processes=1, every=True), Options(every=True)
    larger = changed(title, "POOL = 2\n", "POOL = 3\n")
    for strategy, options in ((title, two), (larger, alone)):
        found, _ = stage.explore("roster", strategy, Exhaustive, options)
        assert ended(found) == (Verdict.PROVED, {}), found.reason
        assert {rest for _told, rest, _violated in found.outcomes} == {(IN,)}
    same = changed(title, f"async with session.pooled(POOL):\n                    {LOOKUP}",
                   "await self.rows.load(tx, request.keys)")  # fmt: skip
    found, _ = stage.explore("roster", same, Exhaustive, alone)
    assert ended(found) == (Verdict.PROVED, {}), found.reason


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize(
    ("processes", "size", "faults"),
    [(2, 2, ()), (2, 3, ()), pytest.param(2, 2, ("duplicate",), marks=pytest.mark.long)],
)
def test_what_is_claimed(stage: Stage, title: str, processes: int, size: int, faults: tuple[str, ...]) -> None:
    """By how many meet in one process, of which a second delivery is one more."""
    claim = bind(Cell("roster", title), Load(processes=processes, size=size)).claim
    breaks = claim.kind == "breaks" or bool({*claim.breaks_under} & {*faults})
    options = Options(processes=processes, size=size, faults=faults)
    found, smallest = stage.explore("roster", title, Exhaustive, options, shrink=size > processes)
    assert found.verdict is (Verdict.VIOLATED if breaks else Verdict.PROVED), found.reason
    assert breaks == (size > processes or bool(faults))
    assert found.first is None or found.first.says.startswith("a deadlock: ")
    if smallest is not None:  # of A, B and C those are left that share a process: the columns are called A and B
        assert {row.letter for row in smallest.explanation().rows} == {"A", "B"}
        assert smallest.explanation().why in {
            "A waits for a connection that B has, and B for A.", "B waits for a connection that A has, and A for B.",
        }  # fmt: skip


BARE = """
from harness import *
class Bare(Strategy):
    name = "bare"
    def claims(self, conditions): return Claim("breaks")
    async def apply(self, session, request, rule):
        async with session.pooled(2):
            state = await self.values.load(session, request.keys)
            async with session.pooled(2):
                outcome = await session.decide(rule, state, request)
                await self.values.save(session, outcome.changes, session.now_at_ms)
        return outcome.reply
"""


@pytest.mark.parametrize(
    ("processes", "fault"),
    [(1, ""), (2, ""), *(pytest.param(1, fault, marks=pytest.mark.long) for fault in ("crash", "lost-reply", "pause"))],
)
def test_nothing_is_left_out(stage: Stage, tmp_path: Path, processes: int, fault: str) -> None:
    """What comes of every order, with the reduction and without it: of two connections without any other lock."""
    script = tmp_path / "bare.py"
    script.write_text(BARE, encoding="utf-8")
    same_outcomes(stage, str(script), Options(processes=processes, faults=(fault,) if fault else (), every=True))


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_nothing_is_left_out_of_what_statements_wait_for(stage: Stage, processes: int) -> None:
    """And of two connections with a lock of PostgreSQL."""
    same_outcomes(stage, TITLES[0], Options(processes=processes, every=True))


def same_outcomes(stage: Stage, strategy: str, options: Options) -> None:
    """Assert that the reduced search comes to what the full one does."""
    reduced, _ = stage.explore("counter", strategy, Exhaustive, options)
    full, _ = stage.explore("counter", strategy, lambda: Exhaustive(reduce=False), options)
    assert (reduced.exhausted, full.exhausted) == (True, True)
    assert reduced.outcomes == full.outcomes
    assert reduced.schedules <= full.schedules


@pytest.mark.parametrize("fault", ["crash", "lost-reply", "pause"])
def test_what_a_fault_leaves(stage: Stage, fault: str) -> None:
    """A process that is gone has no connections, and whoever is told that one broke gives it back: others go on."""
    for processes, size in ((1, 1), (2, 2)):
        options = Options(processes=processes, size=size, faults=(fault,), every=True)
        found, _ = stage.explore("roster", TITLES[0], Exhaustive, options)
        assert found.verdict is Verdict.PROVED, found.reason


OWN = """
from harness import *
class Own(Strategy):
    name = "own"
    needs = {"postgres": "14"}
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        async with session.pooled(SIZE):
            async with session.transaction("read committed") as tx:
                state = await self.rows.load(tx, request.keys, "rows")
                MORE
                outcome = await session.decide(rule, state, request)
                await self.rows.save(tx, state, outcome.changes)
        return outcome.reply
"""


def own(folder: Path, size: int, more: str = "pass") -> str:
    """A strategy with a pool of its own."""
    script = folder / "own.py"
    script.write_text(OWN.replace("SIZE", str(size)).replace("MORE", more), encoding="utf-8")
    return str(script)


@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.long)])
def test_who_waits_is_served(stage: Stage, tmp_path: Path, size: int) -> None:
    """More callers than connections are no deadlock where nobody needs two."""
    options = Options(processes=1, size=3, every=True)
    found, _ = stage.explore("counter", own(tmp_path, size), Exhaustive, options)
    assert ended(found) == (Verdict.PROVED, {}), found.reason


def test_one_that_has_all_of_them(stage: Stage, tmp_path: Path) -> None:
    """A pool of one, and two are needed: whoever comes first waits for itself."""
    strategy = own(tmp_path, 1, "async with session.pooled(1): pass")
    found, smallest = stage.explore("counter", strategy, Exhaustive, Options(size=1), shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert smallest.explanation().why == "A waits for a connection that A has."


@pytest.mark.parametrize(
    "statement",
    ["UPDATE counters SET value = 1 WHERE key = $1", "SELECT value FROM counters WHERE key = $1 FOR UPDATE"],
)
def test_there_one_only_reads(stage: Stage, tmp_path: Path, statement: str) -> None:
    """What it would wait for might be the caller's own lock, which nobody would see."""
    strategy = own(tmp_path, 2, f"await session.second().sql({statement!r}, request.key)")
    with pytest.raises(UsageError, match="a caller may only read on its second connection, and not '"):
        stage.explore("counter", strategy, Exhaustive, Options(size=1))


def test_what_is_read_there_was_committed(stage: Stage, tmp_path: Path) -> None:
    """The caller's own transaction is somebody else's to it."""
    more = "await tx.sql('UPDATE counters SET value = 7 WHERE key = $1', request.key); "
    more += "state = await self.rows.load(session.second(), request.keys)"
    found, _ = stage.explore("counter", own(tmp_path, 2, more), Exhaustive, Options(size=1, every=True))
    ((_told, rest, _violated),) = found.outcomes
    assert rest == ("1",)


def test_a_connection_is_waited_for_until_any_is_given_back() -> None:
    """P waits for Q or S. Q waits for P, and S for R, who is at work: so P goes on once S does: there is no ring."""

    def caller(name: str, *waits_for: str) -> Any:
        return SimpleNamespace(name=name, waits_for=waits_for, condition="blocked" if waits_for else "ready")

    pool = Pool(2)
    p, q = caller("P", "Q", "S"), caller("Q", "P")
    pool.queue = [p]
    at_work, kept_out = caller("S", "R"), caller("S", "Q")
    assert waiting([pool], [p, q, at_work, caller("R")]) == {"Q": ("P",), "S": ("R",)}
    assert waiting([pool], [p, q, kept_out]) == {"P": ("Q", "S"), "Q": ("P",), "S": ("Q",)}
