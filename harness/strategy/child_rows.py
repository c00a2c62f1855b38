"""A layout of several rows per key: one in a parent table, and one per member in a child table.

The members of a team, the refunds of a payment, the bookings of a host. A rule reads all
of them and writes one: what one caller reads and another writes are different rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.model import Request, State
from harness.strategy.layouts import LOCKING, Lock, Sql, TableLayout, Versions, marks, sets
from harness.strategy.session import Transaction

Split = tuple[Sequence[Any], Mapping[str, Sequence[Any]]]
"""The parent's columns, and for each member its child's columns."""


def _nobody(_request: Request) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class ChildRowLayout(TableLayout):
    """PostgreSQL: a row per key in `parent`, which is always there, and a row per member in `children`.

    `split` turns a value into the parent's columns and a mapping from member to that child's columns; `join` is
    its inverse, for a key without children, too. `members` names the members that a request is about.
    `constraint` is a further line of the child table; `functions` are made beside the tables, as a RowLayout's are.
    """

    parent: str
    children: str
    split: Callable[[Any], Split]
    join: Callable[[Sequence[Any], Mapping[str, Sequence[Any]]], Any]
    columns: Mapping[str, str] = field(default_factory=dict)
    """Of a child, beside `key` and `member`: column to SQL type."""
    parent_columns: Mapping[str, str] = field(default_factory=dict)
    members: Callable[[Request], Sequence[str]] = _nobody
    constraint: str = ""
    functions: tuple[str, ...] = ()

    @property
    def locks(self) -> frozenset[Lock]:
        """Any."""
        return frozenset({"none", "rows", "nowait", "parent", "others"})

    @property
    def schema(self) -> tuple[str, ...]:
        """Two tables, and what functions there are."""
        above = "".join(f"{name} {kind}, " for name, kind in self.parent_columns.items())
        below = "".join(f"{name} {kind}, " for name, kind in self.columns.items())
        last = ", ".join(filter(None, ("PRIMARY KEY (key, member)", self.constraint)))
        version = "version bigint NOT NULL DEFAULT 0"
        return (
            f"CREATE TABLE IF NOT EXISTS {self.parent} (key text PRIMARY KEY, {above}{version})",
            f"CREATE TABLE IF NOT EXISTS {self.children} (key text, member text, {below}{version}, {last})",
            *self.functions,
        )

    @property
    def statements(self) -> frozenset[str]:
        """One key each."""
        return frozenset({
            self._parent(), self._parent("parent"), self._children(), self._children("rows"), self._children("nowait"),
            self._others, self._together, self._update_parent(), self._update, self._insert, self._delete,
            self._parent(versioned=True), self._children(versioned=True), self._touch_parent,
            self._update_parent(versioned=True), self._if_version(self._bump), self._if_version(self._delete, 3),
        })  # fmt: skip

    def own(self, request: Request) -> Sequence[str]:
        """Those that the scenario names."""
        return self.members(request)

    # Reading

    def _parent(self, lock: Lock = "none", *, versioned: bool = False) -> str:
        columns = [*self.parent_columns, *(["version"] * versioned)] or ["key"]
        tail = " FOR UPDATE" if lock == "parent" else ""
        return f"SELECT {', '.join(columns)} FROM {self.parent} WHERE key = $1{tail}"  # noqa: S608 - names of the scenario

    def _children(self, lock: Lock = "none", *, versioned: bool = False) -> str:
        columns = ", ".join(("member", *self.columns, *(["version"] * versioned)))
        tail = LOCKING.get(lock, "")  # in one order for everybody
        return f"SELECT {columns} FROM {self.children} WHERE key = $1 ORDER BY member{tail}"  # noqa: S608 - names of the scenario

    @property
    def _others(self) -> str:
        return (
            f"SELECT member FROM {self.children}"  # noqa: S608 - names of the scenario
            " WHERE key = $1 AND member <> ALL ($2) ORDER BY member FOR UPDATE"
        )

    @property
    def _joined(self) -> str:
        columns = [f"p.{name}" for name in self.parent_columns] + [f"c.{name}" for name in ("member", *self.columns)]
        return f"{', '.join(columns)} FROM {self.parent} AS p LEFT JOIN {self.children} AS c ON c.key = p.key"

    @property
    def _together(self) -> str:
        return f"SELECT {self._joined} WHERE p.key = $1 FOR UPDATE OF p"

    async def load(self, tx: Transaction, keys: Sequence[str], lock: Lock = "none", own: Sequence[Any] = ()) -> State:
        """SELECT the parent where it is locked or has columns, then the children; each key in the caller's order."""
        state = {}
        for key in keys:
            above = await self._load_parent(tx, key, lock)
            if lock == "others":
                await tx.sql(self._others, key, list(own))
            found = (await tx.sql(self._children(lock), key)).rows
            state[key] = self.join(above, {member: cells for member, *cells in found})
            tx.note(reads={key: state[key]})
        return state

    async def _load_parent(self, tx: Transaction, key: str, lock: Lock) -> Sequence[Any]:
        if not self.parent_columns and lock != "parent":
            return ()
        found = (await tx.sql(self._parent(lock), key)).rows
        return found[0][: len(self.parent_columns)]

    async def load_with(self, tx: Transaction, key: str, expression: str, arg: Any) -> Any:
        """One SELECT over both tables."""
        both = f"{self._joined} CROSS JOIN (SELECT {expression} AS waited) AS lock"
        found = await tx.sql(f"SELECT lock.waited, {both} WHERE p.key = $1", key, arg)
        return self._joined_value(tx, key, [row[1:] for row in found.rows])

    async def load_together(self, tx: Transaction, keys: Sequence[str]) -> State:
        """One SELECT over both tables for each key."""
        return {key: self._joined_value(tx, key, (await tx.sql(self._together, key)).rows) for key in keys}

    def _joined_value(self, tx: Transaction, key: str, rows: Sequence[Sequence[Any]]) -> Any:
        width = len(self.parent_columns)
        children = {row[width]: list(row[width + 1 :]) for row in rows if row[width] is not None}
        value = self.join(rows[0][:width], children)
        tx.note(reads={key: value})
        return value

    # Writing

    def _update_parent(self, *, versioned: bool = False) -> str:
        more = ", version = version + 1" if versioned else ""
        tail = f" AND version = ${len(self.parent_columns) + 2}" if versioned else ""
        return f"UPDATE {self.parent} SET {sets(self.parent_columns)}{more} WHERE key = $1{tail}"  # noqa: S608 - names of the scenario

    @property
    def _touch_parent(self) -> str:
        return f"UPDATE {self.parent} SET version = version + 1 WHERE key = $1 AND version = $2"  # noqa: S608 - names of the scenario

    @property
    def _update(self) -> str:
        return f"UPDATE {self.children} SET {sets(self.columns, 3)} WHERE key = $1 AND member = $2"  # noqa: S608 - names of the scenario

    @property
    def _bump(self) -> str:
        return self._update.replace(" WHERE", ", version = version + 1 WHERE")

    @property
    def _insert(self) -> str:
        columns = ("member", *self.columns)
        return f"INSERT INTO {self.children} (key, {', '.join(columns)}) VALUES ($1, {marks(columns)})"  # noqa: S608 - names of the scenario

    @property
    def _delete(self) -> str:
        return f"DELETE FROM {self.children} WHERE key = $1 AND member = $2"  # noqa: S608 - names of the scenario

    def _if_version(self, statement: str, place: int | None = None) -> str:
        return f"{statement} AND version = ${place or len(self.columns) + 3}"

    async def save(self, tx: Transaction, before: State, changes: State) -> int:
        """UPDATE the parent, then DELETE, UPDATE and INSERT children, where they differ from `before`."""
        changed = 0
        for key, value in changes.items():
            (above, old), (above_now, now) = self.split(before[key]), self.split(value)
            if list(above) != list(above_now):
                changed += (await tx.sql(self._update_parent(), key, *above_now)).count
                tx.note(writes={key: value})
            for statement, member, cells in self._differences(old, now):
                changed += (await tx.sql(statement, key, member, *cells)).count
                tx.note(writes={key: value})
        return changed

    def _differences(
        self, old: Mapping[str, Sequence[Any]], now: Mapping[str, Sequence[Any]]
    ) -> list[tuple[str, str, Sequence[Any]]]:
        gone = [(self._delete, member, ()) for member in sorted(old) if member not in now]
        kept = [member for member in sorted(now) if member in old and list(old[member]) != list(now[member])]
        new = [(self._insert, member, now[member]) for member in sorted(now) if member not in old]
        return [*gone, *((self._update, member, now[member]) for member in kept), *new]

    # Versions

    async def load_versioned(
        self, tx: Transaction, keys: Sequence[str], *, root: bool = False
    ) -> tuple[State, Versions]:
        """Read as `load` does, the parent always; with `root` only its version counts."""
        state, versions = {}, {}
        for key in keys:
            (*above, version) = (await tx.sql(self._parent(versioned=True), key)).rows[0]
            versions[key] = version
            found = (await tx.sql(self._children(versioned=not root), key)).rows
            if not root:
                versions |= {(key, row[0]): row[-1] for row in found}
                found = tuple(row[:-1] for row in found)
            state[key] = self.join(above, {member: cells for member, *cells in found})
            tx.note(reads={key: state[key]})
        return state, versions

    async def save_versioned(
        self, tx: Transaction, before: State, changes: State, versions: Versions, *, root: bool = False
    ) -> bool:
        """Write as `save` does; with `root` every write is one of the parent, and of children without a look."""
        for key, value in changes.items():
            (above, old), (above_now, now) = self.split(before[key]), self.split(value)
            different = self._differences(old, now)
            count = 1
            if list(above) != list(above_now):
                count = (await tx.sql(self._update_parent(versioned=True), key, *above_now, versions[key])).count
            elif root and different:
                count = (await tx.sql(self._touch_parent, key, versions[key])).count
            if not count:
                return False
            for statement, member, cells in different:
                if not (await self._write_versioned(tx, key, statement, member, cells, None if root else versions)):
                    return False
                tx.note(writes={key: value})
        return True

    async def _write_versioned(
        self, tx: Transaction, key: str, statement: str, member: str, cells: Sequence[Any], versions: Versions | None
    ) -> int:
        if versions is None or statement == self._insert:
            return (await tx.sql(statement, key, member, *cells)).count
        guarded = self._if_version(self._delete, 3) if statement == self._delete else self._if_version(self._bump)
        return (await tx.sql(guarded, key, member, *cells, versions[key, member])).count

    # All keys at once

    async def seed(self, sql: Sql, keys: Sequence[str], value: Any) -> None:
        """One INSERT for the parents, and one for each member of the value."""
        above, members = self.split(value)
        columns = ", ".join(("key", *self.parent_columns))
        names = ", ".join(("name", *(f"${number}" for number in range(2, len(above) + 2))))
        await sql(f"INSERT INTO {self.parent} ({columns}) SELECT {names} FROM unnest($1::text[]) AS name", keys, *above)  # noqa: S608 - names of the scenario
        columns = ", ".join(("key", "member", *self.columns))
        for member, cells in members.items():
            await sql(
                f"INSERT INTO {self.children} ({columns})"  # noqa: S608 - names of the scenario
                f" SELECT name, {marks(('member', *self.columns))} FROM unnest($1::text[]) AS name",
                keys, member, *cells,
            )  # fmt: skip

    async def at_rest(self, sql: Sql, keys: Sequence[str]) -> State:
        """One SELECT for each table."""
        above: dict[str, Sequence[Any]] = dict.fromkeys(keys, (None,) * len(self.parent_columns))
        children: dict[str, dict[str, Sequence[Any]]] = {key: {} for key in keys}
        columns = ", ".join(("key", *self.parent_columns))
        found = await sql(f"SELECT {columns} FROM {self.parent} WHERE key = ANY($1)", list(keys))  # noqa: S608 - names of the scenario
        above |= {key: cells for key, *cells in found.rows}
        columns = ", ".join(("key", "member", *self.columns))
        found = await sql(f"SELECT {columns} FROM {self.children} WHERE key = ANY($1) ORDER BY member", list(keys))  # noqa: S608 - names of the scenario
        for key, member, *cells in found.rows:
            children[key][member] = cells
        return {key: self.join(above[key], children[key]) for key in keys}
