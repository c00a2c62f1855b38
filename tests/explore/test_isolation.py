"""The isolation table: right cell by cell, and not to be fooled by a level, an ending or a server that misbehaves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from harness.explore import ANOMALIES, LEVELS, Anomaly, Case, IsolationTable, isolation, play_anomalies
from harness.explore.anomalies import Ending
from harness.explore.world import World
from harness.stores import PostgresConnection, Stores
from tests.servers import PrivatePostgres

TABLE = Path(__file__).parents[2].parent / "shared" / "cases" / "isolation.md"
"""The table as others have it, beside the repository."""
BY_CODE = {anomaly.code: anomaly for anomaly in ANOMALIES}
Play = Callable[..., IsolationTable]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PrivatePostgres]:
    """A server of these tests."""
    server = PrivatePostgres()
    yield server
    server.close()


@pytest.fixture
def play(postgres: PrivatePostgres) -> Play:
    """Play anomalies; `meanwhile` is told how many cases of how many are over."""

    def played(
        anomalies: tuple[Anomaly, ...] = ANOMALIES, meanwhile: Callable[[int, int], None] = lambda _done, _total: None
    ) -> IsolationTable:
        async def go() -> IsolationTable:
            async with Stores(postgres_url=postgres.url, need={"postgres"}) as stores:
                table = await play_anomalies(stores, anomalies, meanwhile)
                lost = await stores.lost()
                return table if lost is None else table.lost(lost)

        return asyncio.run(go())

    return played


def ask(postgres: PrivatePostgres, statement: str) -> Any:
    """The rows of one statement."""

    async def go() -> Any:
        connection = await PostgresConnection.open(postgres.target)
        try:
            return (await connection.sql(statement)).rows
        finally:
            await connection.close()

    return asyncio.run(go())


def cells(table: IsolationTable) -> dict[tuple[str, str], bool | None]:
    """Level and anomaly to what was seen."""
    return {(level, one.code): table.prevents(level, one) for level in LEVELS for one in table.anomalies}


def test_every_cell(play: Play) -> None:
    """All thirty are as expected, and no case of them went otherwise."""
    table = play()
    assert cells(table) == {(level, one.code): one.expected(level) for level in LEVELS for one in ANOMALIES}
    assert len(cells(table)) == 30
    assert ([played for played in table.played if played.differs], table.stopped, table.complete) == ([], "", True)


@pytest.mark.skipif(not TABLE.is_file(), reason=f"the table of others is not at {TABLE}")
def test_expected_as_others_have_it() -> None:
    """The same anomalies and cells as in the table beside the repository."""
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (level|read committed|repeatable read|serializable)\b", line)
    ]
    (_head, *codes), *lines = rows
    theirs = {
        (level.removesuffix(" *"), code): {"yes": True, "no": False}[cell]
        for level, *cells_ in lines
        for code, cell in zip(codes, cells_, strict=True)
    }
    assert codes == [one.code for one in ANOMALIES]
    assert theirs == {(level, one.code): one.expected(level) for level in LEVELS for one in ANOMALIES}
    assert [level for level, *_cells in lines if level.endswith("*")] == [f"{LEVELS[0]} *"]


def test_a_level_that_is_none(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that gives a weaker level, or a stronger one, than it was asked for is caught in every cell of it."""
    given = {"serializable": "read committed", "repeatable read": "serializable", "read committed": "repeatable read"}
    honest = isolation.Transactions.__init__

    def swapped(self: isolation.Transactions, scenario: Any, variant: str = "") -> None:
        honest(self, scenario, given.get(variant, ""))

    monkeypatch.setattr(isolation.Transactions, "__init__", swapped)
    table = play()
    assert cells(table) == {
        (level, one.code): one.expected(given[level])  # type: ignore[arg-type] # one of them
        for level in LEVELS
        for one in ANOMALIES
    }
    differing = {(played.level, played.anomaly.code) for played in table.played if played.differs}
    assert differing == {
        *product(["serializable"], ["PMP", "P4", "G-single", "G2-item", "G2"]),
        *product(["repeatable read"], ["G2-item", "G2"]),
        *product(["read committed"], ["PMP", "P4", "G-single"]),
    }


SEEN = {
    "G0": ("1 row", "1 row", "1 row", "", "1 row", ""),
    "G1a": ("1 row", "101", "", "10", ""),
    "G1b": ("1 row", "101", "1 row", "", "11", ""),
    "G1c": ("1 row", "1 row", "22", "11", "", ""),
    "OTV": ("1 row", "1 row", "waited: 1 row", "", "11", "1 row", "18", "", "18", "11", ""),
}
"""What those anomalies look like that no level of PostgreSQL lets happen."""


@pytest.mark.parametrize("code", SEEN)
def test_what_postgres_never_does(code: str) -> None:
    """It would be known if it did."""
    (case,) = BY_CODE[code].cases
    ends = {one: case.of(one)[-1] for one in case.transactions}
    assert case.prevents(SEEN[code], ends) is False
    assert case.prevents(SEEN[code], {**ends, "T1": "57014"}) is None


def test_endings_exclude_each_other() -> None:
    """None shows both that an anomaly occurred and that it was prevented."""
    for case in (case for anomaly in ANOMALIES for case in anomaly.cases):
        committed: Ending = {name: case.of(name)[-1] for name in case.transactions}
        for one, other in product(case.occurs, case.prevented):
            first, second = {**committed, **one}, {**committed, **other}
            assert any(first[key] != second[key] for key in first.keys() & second.keys()), (one, other)


def changed(code: str, old: str, new: str) -> tuple[Anomaly, ...]:
    """One anomaly alone, with another text in the steps of its first case."""
    anomaly = BY_CODE[code]
    steps = tuple((one, statement.replace(old, new)) for one, statement in anomaly.cases[0].steps)
    return (replace(anomaly, cases=(replace(anomaly.cases[0], steps=steps),)),)


def test_a_refusal_of_another_kind_prevents_nothing(play: Play) -> None:
    """What fails for a reason of its own shows nothing, at any level."""
    table = play(changed("P4", "value = 11 WHERE", "value = 1 / 0 WHERE"))
    assert set(cells(table).values()) == {None}
    assert [played.ends for played in table.played] == [{"T1": "22012", "T2": "22012"}] * 3


def test_another_order_shows_nothing(play: Play) -> None:
    """T2 waits where the case goes on with it: its steps come later, and are not taken for the case."""
    case = BY_CODE["P4"].cases[0]
    order = [0, 1, 2, 3, 5, 4]
    late = Case(tuple(case.steps[place] for place in order), ({1: "10"},), ({1: "10"},))
    table = play((replace(BY_CODE["P4"], cases=(late,)),))
    assert set(cells(table).values()) == {None}


def test_a_server_that_restarts(play: Play, postgres: PrivatePostgres) -> None:
    """Nothing that was seen counts, and why is said."""

    def restart(done: int, _total: int) -> None:
        if done == 20:
            postgres.restart()

    table = play(meanwhile=restart)
    assert set(cells(table).values()) == {None}
    assert (table.stopped, table.complete) == (
        "a store was lost: PostgreSQL was restarted or failed over during the run",
        True,
    )


def test_a_server_that_does_not_answer(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for: what was seen before stands, and which case was not over is said."""
    monkeypatch.setattr(isolation, "PATIENCE_S", 0.5)
    slow = changed("G1a", "SELECT value FROM test", "SELECT count(pg_sleep(60)) FROM test")
    table = play((BY_CODE["G0"], *slow))
    assert list(cells(table).values()) == [True, *[None] * 5]
    assert (table.stopped, table.complete) == ("aborted read at read committed was not over after 0.5 s", True)


def test_stopped_while_the_server_is_asked(
    play: Play, postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asks for blockers is free again to end the statement: nothing is left running, nobody complains."""

    async def asked_slowly(self: World, _pids: Sequence[int]) -> dict[int, tuple[int, ...]]:
        assert self._monitor is not None
        await self._monitor.sql("SELECT pg_sleep(60)")
        return {}

    monkeypatch.setattr(isolation, "PATIENCE_S", 0.3)
    monkeypatch.setattr(World, "blocked_by", asked_slowly)
    table = play(changed("G1a", "UPDATE test SET value = 101", "UPDATE test SET value = length(pg_sleep(60)::text)"))
    assert (table.stopped, caplog.records) == ("aborted read at read committed was not over after 0.3 s", [])
    assert ask(postgres, "SELECT query FROM pg_stat_activity WHERE query LIKE 'UPDATE test%'") == ()


def test_nothing_else_is_touched(play: Play, postgres: PrivatePostgres) -> None:
    """All lies in the run's own schema, which goes with it; settings stay."""
    looks = (
        "SELECT relnamespace::regnamespace::text, relname::text FROM pg_class ORDER BY 1, 2",
        "SELECT nspname::text FROM pg_namespace ORDER BY 1",
        "SELECT name, setting, source FROM pg_settings WHERE source <> 'session' ORDER BY 1",
        "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting",
    )
    before = [ask(postgres, look) for look in looks]
    table = play()
    assert (len(table.played), [ask(postgres, look) for look in looks]) == (39, before)
