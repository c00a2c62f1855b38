"""Programs nobody thought of: with and without the reduction they show the same, at every isolation level."""

# ruff: noqa: ARG002 - programs have the signatures of scenarios and strategies

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import Claim, Conditions, Outcome, Reply, Request, RowLayout, Rule, Scenario, Session, State, Strategy
from harness.burst.cells import Bound
from harness.burst.plan import Cell
from harness.explore import Exhaustive, Exploration, Explorer, Options
from harness.explore.caller import Open
from harness.explore.search import Search
from tests.explore.conftest import Stage

Op = tuple[str, str]
KEYS = ("x", "y")
LEVELS = ("read committed", "repeatable read", "serializable")
SET_IF_EQUAL = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('SET', KEYS[1], '9') end return 0"

some_key = st.sampled_from(KEYS)
redis_program = st.lists(
    st.tuples(
        st.sampled_from(
            ("get", "set", "incr", "setnx", "del", "set-read", "watched", "script", "other", "give", "take", "await")
        ),
        some_key,
    ),
    min_size=1,
    max_size=2,
)
MARK = ("beside", "")
beside_ops = st.lists(
    st.tuples(st.sampled_from(("get", "set", "incr", "del", "set-seen", "unless-seen")), some_key),
    min_size=1,
    max_size=2,
)
beside_program = st.builds(lambda own, others: [*own, MARK, *others], beside_ops, beside_ops)
sql_program = st.lists(
    st.tuples(st.sampled_from(("select", "update", "lock", "write-read", "add", "advisory", "alone", "all")), some_key),
    min_size=1,
    max_size=3,
)


class Two(Scenario):
    """As many requests as there are programs."""

    name = "two"
    rows = RowLayout({"value": "bigint"}, lambda value: (value,), lambda row: row[0], "numbers")

    def __init__(self, programs: Sequence[Sequence[Op]]) -> None:
        """One caller for each."""
        self.programs = programs

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """Nobody is judged here."""
        return Outcome({}, Reply("ran"))

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """Anything."""
        yield state

    def view(self, value: Any, now_ms: int) -> Any:
        """Anything."""
        return None

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """One request for each program, on both keys."""
        return [Request("run", KEYS, {"number": number}) for number in range(len(self.programs))]


class Runs(Strategy):
    """Does what the programs say; the reply is all that was seen."""

    name = "runs"
    family = "test"

    def claims(self, conditions: Conditions) -> Claim:
        """Nothing."""
        return Claim("holds")

    def program(self, request: Request) -> Sequence[Op]:
        """That of the request."""
        assert isinstance(self.scenario, Two)
        return self.scenario.programs[request.args["number"]]

    def named(self, request: Request) -> dict[str, str]:
        """The keys as they are called in this schedule."""
        return dict(zip(KEYS, request.keys, strict=True))


class RedisRuns(Runs):
    """On Redis."""

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """One command after the other."""
        named, seen, last = self.named(request), [], 0
        mine = 1 + request.args["number"]
        for op, name in self.program(request):
            key = session.key(named[name])
            if op == "get":
                answer = await session.redis("GET", key)
                last = int(answer or 0)
            elif op == "set-read":
                answer = await session.redis("SET", key, last + 10)
            elif op == "setnx":
                answer = await session.redis("SET", key, mine, "NX")
            elif op == "watched":
                await session.redis("WATCH", key)
                read = await session.redis("GET", key)
                await session.redis("MULTI")
                await session.redis("SET", key, int(read or 0) + 100)
                answer = await session.redis("EXEC")
            elif op == "script":
                answer = await session.script(SET_IF_EQUAL, (key,), "1")
            elif op == "give":
                answer = await session.redis("RPUSH", f"{key}:list", mine)
            elif op in {"take", "await"}:
                answer = await waits(session, op, key)
            elif op == "other":
                answer = await session.redis("GET", session.key(named["y" if name == "x" else "x"]))
            else:
                words: tuple[Any, ...] = {"set": ("SET", key, mine), "incr": ("INCR", key), "del": ("DEL", key)}[op]
                answer = await session.redis(*words)
            seen.append(str(answer))
        return Reply("ran", {"saw": tuple(seen)})


async def waits(session: Session, op: str, key: str) -> Any:
    """Inside the server for a second, or by looking for ever."""
    if op == "take":
        found = await session.redis("BLPOP", f"{key}:list", 1)
        return found and found[1]
    async for _ in session.polls():
        if answer := await session.redis("GET", key):
            break
    return answer


class BesideRuns(Runs):
    """What stands after the mark is done by a daemon, beside the rest. Both decide by what either has seen."""

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """The daemon is ended where its caller has done all of its own."""
        named, mine, seen = self.named(request), 1 + request.args["number"], []
        ops = [*self.program(request)]
        before, after = ops[: ops.index(MARK)], ops[ops.index(MARK) + 1 :]

        async def run(own: Session, ops: Sequence[Op]) -> None:
            for op, name in ops:
                key = own.key(named[name])
                words: tuple[Any, ...] = {
                    "get": ("GET", key), "set": ("SET", key, mine), "incr": ("INCR", key), "del": ("DEL", key),
                    "set-seen": ("SET", key, 10 + len(seen)), "unless-seen": ("INCR", key),
                }[op]  # fmt: skip
                if op != "unless-seen" or not seen:
                    seen.append(str(await own.redis(*words)))

        async with session.beside("daemon", lambda own: run(own, after)):
            await run(session, before)
        return Reply("ran", {"saw": tuple(seen)})


class SqlRuns(Runs):
    """On PostgreSQL, in one transaction."""

    needs: ClassVar[dict[str, str]] = {"postgres": "14"}
    isolation: ClassVar[Any] = LEVELS[0]

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """One statement after the other; some say what they touch, some do not."""
        named, seen, last = self.named(request), [], 0
        mine = 1 + request.args["number"]
        rows = self.rows
        async with session.transaction(self.isolation) as tx:
            for op, name in self.program(request):
                key = named[name]
                if op in {"select", "lock"}:
                    found = await tx.sql(rows.select("rows" if op == "lock" else "none"), key)
                    last = found.rows[0][0] or 0
                    seen.append(str(found.rows))
                elif op in {"update", "write-read"}:
                    found = await tx.sql(rows.update, key, mine if op == "update" else last + 10)
                elif op == "add":
                    found = await tx.sql("UPDATE numbers SET value = coalesce(value, 0) + 100 WHERE key = $1", key)
                    tx.note(writes={key: None})
                elif op == "advisory":
                    await tx.sql("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", key)
                elif op == "all":
                    found = await tx.sql(
                        "SELECT sum(coalesce(value, 0)) FROM numbers WHERE key = $1 OR key = $2", *named.values()
                    )
                    seen.append(str(found.rows))
                else:
                    found = await tx.sql("UPDATE numbers SET value = 5 WHERE key = $1 AND value IS NULL", key)
                    seen.append(str(found.count))
        return Reply("ran", {"saw": tuple(seen)})


def explored(stage: Stage, strategy: type[Runs], programs: Sequence[Sequence[Op]], search: Search) -> Exploration:
    """All schedules of these programs."""
    scenario = Two(programs)
    bound = Bound(Cell("two", strategy.name, "default"), scenario, strategy(scenario), Claim("holds"))
    options = Options(size=len(programs), every=True, budget_s=60)

    async def go() -> Exploration:
        async with Explorer(bound, stage.stores, options) as explorer:
            return await explorer.explore(search)

    return stage.run(go())


def same(stage: Stage, strategy: type[Runs], programs: Sequence[Sequence[Op]]) -> None:
    """Reduced and full search see the same; in the full one every COMMIT is a step of its own."""
    reduced = explored(stage, strategy, programs, Exhaustive())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Open, "only_read", False)
        full = explored(stage, strategy, programs, Exhaustive(reduce=False))
    assert (reduced.exhausted, full.exhausted) == (True, True), (reduced.reason, full.reason)
    assert reduced.outcomes == full.outcomes
    assert reduced.schedules <= full.schedules


def generated(number: int) -> settings:
    """The same programs in every run."""
    return settings(
        max_examples=number, deadline=None, derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )  # fmt: skip


@generated(300 if "RACE_MATRIX" in os.environ else 25)
@given(programs=st.lists(redis_program, min_size=2, max_size=2))
def test_redis_programs(stage: Stage, programs: list[list[Op]]) -> None:
    """Commands, scripts, WATCH: whatever the order shows is shown by the orders that are run."""
    same(stage, RedisRuns, programs)


@generated(100 if "RACE_MATRIX" in os.environ else 6)
@given(programs=st.lists(beside_program, min_size=2, max_size=2))
def test_programs_with_daemons(stage: Stage, programs: list[list[Op]]) -> None:
    """What one of them does after the other has seen something, or is ended before it does, is shown."""
    same(stage, BesideRuns, programs)


@pytest.mark.long
@pytest.mark.parametrize("isolation", LEVELS)
def test_sql_programs(stage: Stage, isolation: str) -> None:
    """Statements that lock, wait, deadlock and fail, at one level of isolation."""

    class AtLevel(SqlRuns):
        """At this one."""

        isolation: ClassVar[Any]

    AtLevel.isolation = isolation

    @generated(40 if "RACE_MATRIX" in os.environ else 8)
    @given(programs=st.lists(sql_program, min_size=2, max_size=2))
    def check(programs: list[list[Op]]) -> None:
        same(stage, AtLevel, programs)

    check()


def test_a_wrong_dependence_is_seen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a write taken for something that concerns nobody, fewer outcomes would be seen than there are."""
    from harness.explore import redis_steps
    from harness.explore.touch import NOWHERE

    # The last command of each concerns nobody: that requests overlap is not enough to see it.
    programs = [[("get", "x"), ("set-read", "x"), ("get", "y")]] * 2
    same(stage, RedisRuns, programs)
    monkeypatch.setattr(redis_steps, "command_touch", lambda *_: NOWHERE)
    monkeypatch.setattr(redis_steps, "command_touched", lambda *_: NOWHERE)
    with pytest.raises(AssertionError):
        same(stage, RedisRuns, programs)
