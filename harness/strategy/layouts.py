"""How the state of a key lies in a store.

By default a key is one string in Redis and one row in PostgreSQL, both holding JSON. A
scenario names columns, or an encoding of its own, where a native form needs them, makes a
key a hash, or spreads it over several rows (`child_rows`).
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.model import Request, State, UsageError
from harness.strategy.session import Rows, Session, Transaction

Lock = Literal["none", "rows", "nowait", "parent", "others"]
"""What a read locks until its transaction ends: nothing, the rows that it finds, the same unless somebody has one, the
row above them, or of the rows that it finds those that the request itself is not about."""
LOCKING = {"rows": " FOR UPDATE", "nowait": " FOR UPDATE NOWAIT"}
"""What a SELECT of rows ends with, where it locks them."""
Sql = Callable[..., Awaitable[Rows]]
"""`sql(statement, *args)`: one statement, somewhere."""
Versions = dict[Any, int]
"""The versions of the rows that were read: by key, or by key and member."""
Command = tuple[str | int | float | bytes, ...]
_NESTED = re.compile(r"\b(?:select|with)\b", re.IGNORECASE)
_ELSEWHERE = re.compile(r"\b(?:join|using|union)\b|;|\bfrom\b.*\bfrom\b|^update\b.*\bfrom\b", re.IGNORECASE)
_BRACKETS, _OR = re.compile(r"\([^()]*\)"), re.compile(r"\bor\b", re.IGNORECASE)
_ONE_ROW = (
    r"(?:(?:update {table} set .+|select .+ from {table}|delete from {table}) where key = \$1(?![0-9])"
    r"|insert into {table} \(key,[^()]*\) values \(\$1,[^()]*\))"
)


def _to_json(value: Any) -> str:
    """Raises UsageError: what else a state may hold, the scenario's own layout must know how to write."""
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"a state must be plain JSON or have its own layout, not {value!r:.60}: {error}") from None


@dataclass(frozen=True, slots=True)
class ValueLayout:
    """Redis: one string per key. No key means None.

    `encode` gives the string; `decode` is its inverse. `lives_ms` says for how long the
    store keeps a value, given the value and the time in Unix ms; None for ever.
    """

    encode: Callable[[Any], str] = _to_json
    decode: Callable[[str], Any] = json.loads
    lives_ms: Callable[[Any, int], int | None] = lambda _value, _now_ms: None

    def parse(self, raw: bytes | None) -> Any:
        """The value behind a reply to GET."""
        return None if raw is None else self.decode(raw.decode())

    @property
    def apart(self) -> bool:
        """Whether parts of a value can be written by themselves."""
        return False

    def read(self, key: str) -> Command:
        """The one command that reads the stored name `key`."""
        return ("GET", key)

    async def all(self, ask: Callable[..., Awaitable[Any]], stored: Sequence[str]) -> list[Any]:
        """The values under all these stored names; `ask(*command)` sends a command."""
        return [self.parse(raw) for raw in await ask("MGET", *stored)] if stored else []

    def write(self, key: str, value: Any, now_ms: int) -> Command:
        """The one command that leaves `value` under the stored name `key`."""
        if value is None:
            return ("DEL", key)
        lives_ms = self.lives_ms(value, now_ms)
        if lives_ms is None:
            return ("SET", key, self.encode(value))
        return ("SET", key, self.encode(value), "PX", max(1, lives_ms))

    async def load(self, session: Session, keys: Sequence[str]) -> State:
        """Read each key, in the caller's order."""
        state = {}
        for key in keys:
            state[key] = self.parse(await session.redis(*self.read(session.key(key))))
            session.note(reads={key: state[key]})
        return state

    async def save(self, session: Session, changes: State, now_ms: int) -> None:
        """Write each changed key with a command of its own."""
        for key, value in changes.items():
            await session.redis(*self.write(session.key(key), value, now_ms))
            session.note(writes={key: value})


@dataclass(frozen=True, slots=True)
class HashLayout(ValueLayout):
    """Redis: one hash per key, which has the same fields all the time. `fields` maps each to what reads its text."""

    fields: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)

    @property
    def apart(self) -> bool:
        """Each field."""
        return True

    def read(self, key: str) -> Command:
        """All fields."""
        return ("HGETALL", key)

    async def all(self, ask: Callable[..., Awaitable[Any]], stored: Sequence[str]) -> list[Any]:
        """One after the other."""
        return [self.parse(await ask(*self.read(key))) for key in stored]

    def parse(self, raw: Any) -> Any:
        """The value behind a reply to HGETALL."""
        words = [word.decode() for word in raw]
        found = dict(zip(words[::2], words[1::2], strict=True))
        return {name: read(found[name]) for name, read in self.fields.items()} if found else None

    def write(self, key: str, value: Any, now_ms: int) -> Command:
        """All fields, whatever they were: the whole record."""
        return ("DEL", key) if value is None else ("HSET", key, *self._words(value))

    def write_changed(self, key: str, before: Any, value: Any) -> Command:
        """Those fields that differ, of which there is one at least; all of what was not there, or is to go."""
        if value is None or before is None:
            return self.write(key, value, 0)
        return ("HSET", key, *self._words({name: cell for name, cell in value.items() if cell != before[name]}))

    def _words(self, value: Mapping[str, Any]) -> list[str]:
        return [str(word) for name, cell in value.items() for word in (name, cell)]


class TableLayout(ABC):
    """PostgreSQL: how keys lie in tables. Every row has a `version`, which nobody but `save_versioned` looks at."""

    @property
    def locks(self) -> frozenset[Lock]:
        """What `load` can lock."""
        return frozenset({"none", "rows", "nowait"})

    @property
    @abstractmethod
    def schema(self) -> tuple[str, ...]:
        """The statements that make the tables where there are none yet."""

    @property
    @abstractmethod
    def statements(self) -> frozenset[str]:
        """All that `load` and `save` send: each touches the rows of the keys among its arguments, and no others."""

    def touches_one_row(self, statement: str) -> bool:
        """Whether a statement whose $1 is a key touches that key's only row, and reads no other, by its text."""
        return False

    @abstractmethod
    async def load(self, tx: Transaction, keys: Sequence[str], lock: Lock = "none", own: Sequence[Any] = ()) -> State:
        """Read each key, in the caller's order. `own`: the members that the request is about."""

    @abstractmethod
    async def load_with(self, tx: Transaction, key: str, expression: str, arg: Any) -> Any:
        """The value of a key, read in the statement that evaluates `expression`, in which `arg` is $2.

        Where the expression waits, what is read is older than the wait.
        """

    async def load_together(self, tx: Transaction, keys: Sequence[str]) -> State:
        """Read each key in the statement that locks its parent: what is read is older than the wait for the lock."""
        raise NotImplementedError

    @abstractmethod
    async def save(self, tx: Transaction, before: State, changes: State) -> int:
        """Write what differs from `before`; how many rows changed."""

    @abstractmethod
    async def load_versioned(
        self, tx: Transaction, keys: Sequence[str], *, root: bool = False
    ) -> tuple[State, Versions]:
        """Read each key, in the caller's order, with the versions of its rows. `root`: of the row above them only."""

    @abstractmethod
    async def save_versioned(
        self, tx: Transaction, before: State, changes: State, versions: Versions, *, root: bool = False
    ) -> bool:
        """Write as `save` does, each row only while it has its version. False: one had not; roll back."""

    @abstractmethod
    async def seed(self, sql: Sql, keys: Sequence[str], value: Any) -> None:
        """Give keys that nobody has used yet their first value."""

    @abstractmethod
    async def at_rest(self, sql: Sql, keys: Sequence[str]) -> State:
        """The values of all these keys."""

    def own(self, request: Request) -> Sequence[Any]:
        """The members of its key that a request is about, where a key has members."""
        return ()


@dataclass(frozen=True, slots=True)
class RowLayout(TableLayout):
    """PostgreSQL: one row per key in `table`, which exists before the first request.

    `columns` maps column to SQL type. `to_row` turns a value that is not None into the
    columns' values in order; `from_row` is its inverse and may answer None. An idle row is NULL in every column;
    with `absent` there is none: None is no row, and locking it locks nothing. `functions` are made beside the table,
    each by a CREATE OR REPLACE FUNCTION.
    """

    columns: Mapping[str, str]
    to_row: Callable[[Any], Sequence[Any]]
    from_row: Callable[[Sequence[Any]], Any]
    table: str = "state"
    absent: bool = False
    functions: tuple[str, ...] = ()

    @property
    def schema(self) -> tuple[str, ...]:
        """One table, and what functions there are."""
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        version = "version bigint NOT NULL DEFAULT 0"
        return (
            f"CREATE TABLE IF NOT EXISTS {self.table} (key text PRIMARY KEY, {columns}, {version})",
            *self.functions,
        )

    @property
    def statements(self) -> frozenset[str]:
        """One key each."""
        return frozenset({
            self.select(), self.select("rows"), self.select("nowait"), self.update, self.insert, self.delete,
            self._select_versioned, self._update_versioned,
        })  # fmt: skip

    def touches_one_row(self, statement: str) -> bool:
        """Whether all of it is about one row of this table, with the key as $1: nothing is nested, or joined."""
        text, flat = " ".join(statement.split()), ""
        if _NESTED.search(text, 1) is not None or _ELSEWHERE.search(text) is not None:
            return False
        outside = text
        while flat != outside:
            flat, outside = outside, _BRACKETS.sub("", outside)
        if _OR.search(flat) is not None:  # in brackets it only narrows down
            return False
        table = re.escape(self.table)
        return re.match(_ONE_ROW.format(table=table), text, re.IGNORECASE) is not None

    def row(self, value: Any) -> Sequence[Any]:
        """The columns' values for a value or for None."""
        return (None,) * len(self.columns) if value is None else self.to_row(value)

    def value(self, row: Sequence[Any]) -> Any:
        """The value for a row's columns."""
        return None if all(cell is None for cell in row) else self.from_row(row)

    def select(self, lock: Lock = "none") -> str:
        """The statement that reads one key."""
        tail = LOCKING.get(lock, "")
        return f"SELECT {', '.join(self.columns)} FROM {self.table} WHERE key = $1{tail}"  # noqa: S608 - names of the scenario

    @property
    def update(self) -> str:
        """The statement that writes one key."""
        return f"UPDATE {self.table} SET {sets(self.columns)} WHERE key = $1"  # noqa: S608 - names of the scenario

    @property
    def insert(self) -> str:
        """The statement that writes a key which has no row yet."""
        return f"INSERT INTO {self.table} (key, {', '.join(self.columns)}) VALUES ($1, {marks(self.columns)})"  # noqa: S608 - names of the scenario

    @property
    def delete(self) -> str:
        """The statement that removes a key's row."""
        return f"DELETE FROM {self.table} WHERE key = $1"  # noqa: S608 - names of the scenario

    @property
    def _select_versioned(self) -> str:
        return f"SELECT {', '.join(self.columns)}, version FROM {self.table} WHERE key = $1"  # noqa: S608 - names of the scenario

    @property
    def _update_versioned(self) -> str:
        last = len(self.columns) + 2
        return (
            f"UPDATE {self.table} SET {sets(self.columns)}, version = version + 1 WHERE key = $1 AND version = ${last}"  # noqa: S608 - names of the scenario
        )

    async def load(self, tx: Transaction, keys: Sequence[str], lock: Lock = "none", own: Sequence[Any] = ()) -> State:
        """SELECT each key, in the caller's order."""
        state = {}
        for key in keys:
            found = (await tx.sql(self.select(lock), key)).rows
            state[key] = self.value(found[0]) if found else None
            tx.note(reads={key: state[key]})
        return state

    async def load_with(self, tx: Transaction, key: str, expression: str, arg: Any) -> Any:
        """One SELECT; of a row that does not exist it evaluates nothing."""
        found = (await tx.sql(self.select().replace("SELECT ", f"SELECT {expression}, ", 1), key, arg)).rows
        value = self.value(found[0][1:]) if found else None
        tx.note(reads={key: value})
        return value

    async def save(self, tx: Transaction, before: State, changes: State) -> int:
        """Write each key that differs from `before`."""
        changed = 0
        for key, value in changes.items():
            if value != before[key]:
                changed += (await tx.sql(*self._write(key, before[key], value))).count
                tx.note(writes={key: value})
        return changed

    async def save_changed(self, tx: Transaction, before: State, changes: State) -> int:
        """As `save`, but of each row, which is there, only the columns that differ."""
        changed = 0
        for key, value in changes.items():
            pairs = zip(self.columns, self.row(before[key]), self.row(value), strict=True)
            cells = {name: cell for name, was, cell in pairs if cell != was}
            if cells:
                statement = f"UPDATE {self.table} SET {sets(cells)} WHERE key = $1"  # noqa: S608 - names of the scenario
                changed += (await tx.sql(statement, key, *cells.values())).count
                tx.note(writes={key: value})
        return changed

    def _write(self, key: str, before: Any, value: Any) -> tuple[Any, ...]:
        if self.absent and value is None:
            return self.delete, key
        return (self.insert if self.absent and before is None else self.update), key, *self.row(value)

    async def load_versioned(
        self, tx: Transaction, keys: Sequence[str], *, root: bool = False
    ) -> tuple[State, Versions]:
        """SELECT each key with its version; a row that does not exist has none."""
        state, versions = {}, {}
        for key in keys:
            found = (await tx.sql(self._select_versioned, key)).rows
            state[key] = self.value(found[0][:-1]) if found else None
            if found:
                versions[key] = found[0][-1]
            tx.note(reads={key: state[key]})
        return state, versions

    async def save_versioned(
        self, tx: Transaction, before: State, changes: State, versions: Versions, *, root: bool = False
    ) -> bool:
        """UPDATE ... WHERE version is the one that was read."""
        for key, value in changes.items():
            if value != before[key]:
                found = await tx.sql(self._update_versioned, key, *self.row(value), versions[key])
                if not found.count:
                    return False
                tx.note(writes={key: value})
        return True

    async def seed(self, sql: Sql, keys: Sequence[str], value: Any) -> None:
        """One INSERT for all."""
        if value is None and self.absent:
            return
        await sql(
            f"INSERT INTO {self.table} (key, {', '.join(self.columns)})"  # noqa: S608 - names of the scenario
            f" SELECT name, {marks(self.columns)} FROM unnest($1::text[]) AS name",
            keys, *self.row(value),
        )  # fmt: skip

    async def at_rest(self, sql: Sql, keys: Sequence[str]) -> State:
        """One SELECT for all."""
        found = await sql(f"SELECT key, {', '.join(self.columns)} FROM {self.table} WHERE key = ANY($1)", list(keys))  # noqa: S608 - names of the scenario
        values = {row[0]: self.value(row[1:]) for row in found.rows}
        return {key: values.get(key) for key in keys}


def sets(columns: Sequence[str] | Mapping[str, str], first: int = 2) -> str:
    """`one = $2, other = $3`."""
    return ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, first))


def marks(columns: Sequence[str] | Mapping[str, str], first: int = 2) -> str:
    """`$2, $3`."""
    return ", ".join(f"${number}" for number in range(first, first + len(columns)))


def json_row() -> RowLayout:
    """One column of JSON text: for scenarios that say nothing about their layout."""
    return RowLayout({"value": "text"}, lambda value: (_to_json(value),), lambda row: json.loads(row[0]))
