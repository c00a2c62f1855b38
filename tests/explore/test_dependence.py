"""What may change places in PostgreSQL, and what may not: rows, heaps, snapshots, and what tables do themselves."""

# ruff: noqa: ARG002 - programs have the signatures of strategies

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from harness import Reply, Request, Rule, Session
from harness.explore import Exhaustive, Options
from harness.explore.catalog import Catalog, Tables
from harness.explore.statement import Held, Statement
from harness.explore.touch import Touch
from harness.model import Verdict
from tests.explore.conftest import Stage
from tests.explore.test_generated import Runs, SqlRuns, explored, same

PUT = "INSERT INTO heap (name, id, value) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING"
CHANGE = "UPDATE heap SET value = value + 10 WHERE name = $1 AND id = $2"
TAKE = "DELETE FROM heap WHERE name = $1 AND id = $2"
FIRST = "SELECT id, value FROM heap WHERE name = $1 ORDER BY number LIMIT 1"
THERE = "SELECT value FROM heap WHERE id = $1"
HEAP = """
CREATE TABLE IF NOT EXISTS heap (
  id text PRIMARY KEY, number bigint GENERATED ALWAYS AS IDENTITY, name text, value bigint
)
"""
SELECT, LOCK = "SELECT value FROM numbers WHERE key = $1", "SELECT value FROM numbers WHERE key = $1 FOR UPDATE"
UPDATE = "UPDATE numbers SET value = $2 WHERE key = $1"


class HeapRuns(Runs):
    """On rows of which each is one of a heap: a statement each, in a transaction of its own."""

    needs: ClassVar[dict[str, str]] = {"postgres": "14"}
    tables = (HEAP,)
    statements = frozenset({PUT, CHANGE, TAKE, FIRST, f"{FIRST} FOR UPDATE", f"{FIRST} FOR UPDATE SKIP LOCKED", THERE})
    one_of = frozenset({PUT, CHANGE, TAKE})

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """One after the other; `wait` until the row is there."""
        heap, seen = session.own_key("heap"), []
        for op, name in self.program(request):
            id_ = session.own_key(f"id-{name}")
            if op == "wait":
                rows = (await session.found(THERE, id_)).rows
            else:
                words: dict[str, tuple[Any, ...]] = {
                    "put": (PUT, heap, id_, 1 + request.args["number"]), "change": (CHANGE, heap, id_),
                    "take": (TAKE, heap, id_), "first": (FIRST, heap), "there": (THERE, id_),
                    "lock": (f"{FIRST} FOR UPDATE", heap), "skip": (f"{FIRST} FOR UPDATE SKIP LOCKED", heap),
                }  # fmt: skip
                found = await session.sql(*words[op])
                rows = found.rows or ((found.count,),)
            seen.append(str([(str(row[0]).partition("id-")[2][:1], row[-1]) for row in rows]))
        return Reply("ran", {"saw": tuple(seen)})


@pytest.mark.parametrize(
    "programs",
    [
        ([("put", "x"), ("first", "")], [("put", "y"), ("first", "")]),
        ([("put", "x"), ("take", "x")], [("wait", "x"), ("there", "x")]),
        ([("put", "x")], [("put", "x")], [("first", "")]),
        ([("put", "x"), ("change", "x")], [("lock", "")]),
        ([("put", "x"), ("lock", "")], [("put", "y"), ("skip", "")]),
    ],
)
def test_rows_of_a_heap(stage: Stage, programs: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Two that touch a row each may change places; who looks for the first of all may not, and numbers are drawn."""
    same(stage, HeapRuns, programs)


def test_a_wait_that_finds_nothing_is_left_out(stage: Stage) -> None:
    """It is looked for once it is there: before that it changes nothing that anybody sees."""
    found = explored(stage, HeapRuns, [[("there", "y"), ("wait", "x")], [("put", "x")]], Exhaustive())
    assert (found.verdict, found.schedules) == (Verdict.PROVED, 2), found.reason


class AtSerializable(SqlRuns):
    """At this level."""

    isolation: ClassVar[Any] = "serializable"


def test_what_only_reads_is_independent(stage: Stage) -> None:
    """Two serializable transactions that only read have nothing against each other, nor have their statements."""
    readers = [[("select", "x"), ("select", "y")], [("select", "y"), ("select", "x")]]
    found = explored(stage, AtSerializable, readers, Exhaustive())
    assert found.exhausted
    one, other = (sent(SELECT, name, isolation="serializable", first=False).touch for name in "xy")
    assert not one.conflicts(other)
    assert not one.conflicts(one)
    write = sent(UPDATE, "y", isolation="serializable").touch
    assert write.conflicts(one)
    assert one.conflicts(write)


def test_a_reader_between_two_writers(stage: Stage) -> None:
    """Whatever it may see of them, no order is left out."""
    programs = [[("select", "x"), ("select", "y")], [("update", "x")], [("update", "y")]]
    same(stage, AtSerializable, programs)


@pytest.mark.parametrize(
    "programs",
    [
        [[("lock", "x"), ("update", "x")], [("update", "x")], [("add", "x")]],
    ],
)
def test_three_at_one_row(stage: Stage, programs: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Several wait, and the server might let any go on first: whoever asks first does, and who asks first is tried."""
    same(stage, SqlRuns, programs)


@pytest.mark.parametrize("strategy", ["pg-for-update", "pg-conditional"])
def test_three_are_proved(stage: Stage, strategy: str) -> None:
    """Though two wait for one row meanwhile."""
    found, _ = stage.explore("counter", strategy, Exhaustive, Options(size=3, budget_s=60))
    assert found.verdict is Verdict.PROVED, found.reason


class Keeps(Runs):
    """A lock of the session's, which no transaction gives back."""

    needs: ClassVar[dict[str, str]] = {"postgres": "14"}

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Lock, unlock."""
        key = request.keys[0]
        await session.sql("SELECT pg_advisory_lock(hashtextextended($1, 0))", key)
        await session.sql("SELECT pg_advisory_unlock(hashtextextended($1, 0))", key)
        return Reply("ran")


def test_a_lock_that_outlives_its_transaction(stage: Stage) -> None:
    """Who waits for it is known to wait, though nobody has a transaction open."""
    found = explored(stage, Keeps, [[("lock", "x")], [("lock", "x")]], Exhaustive())
    assert found.exhausted, found.reason
    assert len(found.outcomes) == 1


class _Names:
    declared = one_row = frozenset({SELECT, LOCK, UPDATE})
    one_of: frozenset[str] = frozenset()

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def resource(self, name: str) -> bool:
        return True


def sent(
    text: str, key: str, *, isolation: str = "read committed", first: bool = True, catalog: Catalog | None = None
) -> Statement:
    """A statement about a row."""
    return Statement(text, [key, 1], _Names(catalog or Catalog()), str, isolation, first=first)


def test_a_row_that_is_held_is_not_locked_again() -> None:
    """Its own transaction's UPDATE keeps nobody waiting who does not wait already; what is not sure to be held does."""
    held = Held()
    held.add(sent(LOCK, "x"), 0)
    assert not held.covers(sent(UPDATE, "x"))
    held.add(sent(LOCK, "x"), 1)
    assert held.covers(sent(UPDATE, "x"))
    assert not held.covers(sent(UPDATE, "y"))
    held.add(sent("ROLLBACK TO before", "x"), 0)
    assert not held.covers(sent(UPDATE, "x"))


@pytest.mark.parametrize(
    ("tables", "catalog"),
    [
        ((), Catalog(draws=True, tied=True)),
        (("CREATE TABLE one (key text)", "CREATE TABLE other (id bigserial PRIMARY KEY, mail text UNIQUE)"), Catalog()),
        (("CREATE TABLE one (key text, at timestamptz DEFAULT now())",), Catalog(runs="the default of at")),
        (("CREATE TABLE one (key text, n numeric DEFAULT 0::numeric(3, 1), j jsonb DEFAULT '{}')",), Catalog()),
        (
            ("CREATE TABLE few (key text, id bigserial)", "CREATE VIEW one AS SELECT * FROM few"),
            Catalog(draws=True),
        ),
        (
            ("CREATE SEQUENCE s", "CREATE VIEW one AS SELECT nextval('s') AS n"),
            Catalog(shows="the view one"),
        ),
        (("CREATE TABLE one (id bigserial PRIMARY KEY)",), Catalog(draws=True)),
        (("CREATE TABLE one (key text PRIMARY KEY, mail text UNIQUE)",), Catalog(tied=True)),
        (("CREATE TABLE one (key text, number int, UNIQUE (key, number))",), Catalog()),
        (
            ("CREATE TABLE one (key text PRIMARY KEY)", "CREATE TABLE two (key text PRIMARY KEY REFERENCES one)"),
            Catalog(tied=True),
        ),
    ],
)
def test_what_tables_do_themselves(stage: Stage, tables: tuple[str, ...], catalog: Catalog) -> None:
    """A number that is drawn, a constraint that looks at other keys' rows: no statement says it."""
    from harness.explore.catalog import look_at
    from harness.stores import PostgresConnection

    async def looked() -> Catalog:
        connection = await PostgresConnection.open(stage.stores.postgres, stage.stores.schema)
        try:
            await connection.sql("CREATE SCHEMA looked")
            await connection.sql("SET search_path TO looked")
            for table in tables:
                await connection.sql(table)
            found = await look_at(connection.sql)
            return found.of("INSERT INTO one (key) VALUES ($1)")
        finally:
            await connection.sql("DROP SCHEMA IF EXISTS looked CASCADE")
            await connection.close()

    assert stage.run(looked()) == catalog


@pytest.mark.parametrize(
    ("statement", "runs"),
    [
        ("UPDATE plain SET key = $1", ""),
        ('UPDATE "Odd name" SET key = $1 WHERE key IN (SELECT key FROM plain)', "the trigger odd"),
        ('INSERT INTO "größe" (key) SELECT key FROM plain', "the trigger big"),
        ('INSERT INTO "GRÖSSE" (key) SELECT key FROM plain', "the trigger big"),
        ('INSERT INTO "a""b" (key) SELECT key FROM plain', "the trigger quoted"),
        ('UPDATE U&"\\004fdd name" SET key = $1 WHERE EXISTS (SELECT FROM plain)', "whatever a name in Unicode"),
        ("INSERT INTO far.away SELECT key FROM plain", "what is in the schema far"),
        ('INSERT INTO "far" . away SELECT key FROM plain', "what is in the schema far"),
        ("SELECT farther.key FROM plain farther WHERE pg_catalog.length(key) > 1", ""),
    ],
)
def test_names_of_every_kind(statement: str, runs: str) -> None:
    """A table beside one with a plain name is not overlooked, however it is written."""
    odd, big, quoted = (Catalog(runs=f"the trigger {name}") for name in ("odd", "big", "quoted"))
    found = Tables(
        {"plain": Catalog(), "odd name": odd, "größe": big, 'a"b': quoted}, frozenset(), elsewhere=["public", "far"]
    ).of(statement)
    assert found.runs.startswith(runs)
    assert bool(found.runs) is bool(runs)


def test_what_they_do_is_dependence() -> None:
    """New rows by the order of their numbers; changes that a constraint ties together; a trigger may touch anything."""

    def conflict(text: str, catalog: Catalog) -> bool:
        one, other = (sent(text, key, catalog=catalog) for key in "xy")
        return one.touch.conflicts(other.touch) or bool(one.unseen())

    assert not conflict(UPDATE, Catalog())
    assert not conflict(UPDATE, Catalog(draws=True))
    assert conflict(UPDATE, Catalog(tied=True))
    assert conflict(UPDATE, Catalog(runs="the trigger copies"))
    assert not conflict(SELECT, Catalog(True, True, "the trigger copies"))


def test_adding_to_what_is_shared() -> None:
    """Two who add may change places, one who adds and one who reads or writes may not."""
    adds, other = Touch(adds=frozenset({"it"})), frozenset({"it"})
    assert not adds.conflicts(adds)
    for touch in (Touch(reads=other), Touch(writes=other)):
        assert adds.conflicts(touch)
        assert touch.conflicts(adds)
