"""How the state of a key lies in a store.

By default a key is one string in Redis and one row in PostgreSQL, both holding JSON. A
scenario names columns, or an encoding of its own, where a native form needs them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.model import State, UsageError
from harness.strategy.session import Session, Transaction

Lock = Literal["none", "rows"]
Command = tuple[str | int | float | bytes, ...]


def _to_json(value: Any) -> str:
    """Raises UsageError: what else a state may hold, the scenario's own layout must know how to write."""
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True)
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

    def write(self, key: str, value: Any, now_ms: int) -> Command:
        """The one command that leaves `value` under the stored name `key`."""
        if value is None:
            return ("DEL", key)
        lives_ms = self.lives_ms(value, now_ms)
        if lives_ms is None:
            return ("SET", key, self.encode(value))
        return ("SET", key, self.encode(value), "PX", max(1, lives_ms))

    async def load(self, session: Session, keys: Sequence[str]) -> State:
        """GET each key, in the caller's order."""
        state = {}
        for key in keys:
            state[key] = self.parse(await session.redis("GET", session.key(key)))
            session.note(reads={key: state[key]})
        return state

    async def save(self, session: Session, changes: State, now_ms: int) -> None:
        """Write each changed key with a command of its own."""
        for key, value in changes.items():
            await session.redis(*self.write(session.key(key), value, now_ms))
            session.note(writes={key: value})


@dataclass(frozen=True, slots=True)
class RowLayout:
    """PostgreSQL: one row per key in `{schema}.<table>`, which exists before the first request.

    `columns` maps column to SQL type. `to_row` turns a value that is not None into the
    columns' values in order; `from_row` is its inverse and may answer None. An idle row is NULL in every column.
    """

    columns: Mapping[str, str]
    to_row: Callable[[Any], Sequence[Any]]
    from_row: Callable[[Sequence[Any]], Any]
    table: str = "state"

    @property
    def schema(self) -> str:
        """The statement that makes the table; `{schema}` stands for the run's own schema."""
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        return f"CREATE TABLE {{schema}}.{self.table} (key text PRIMARY KEY, {columns})"

    def row(self, value: Any) -> Sequence[Any]:
        """The columns' values for a value or for None."""
        return (None,) * len(self.columns) if value is None else self.to_row(value)

    def value(self, row: Sequence[Any]) -> Any:
        """The value for a row's columns."""
        return None if all(cell is None for cell in row) else self.from_row(row)

    def select(self, lock: Lock = "none") -> str:
        """The statement that reads one key."""
        tail = " FOR UPDATE" if lock == "rows" else ""
        return f"SELECT {', '.join(self.columns)} FROM {self.table} WHERE key = $1{tail}"  # noqa: S608 - names of the scenario

    @property
    def update(self) -> str:
        """The statement that writes one key."""
        sets = ", ".join(f"{name} = ${i}" for i, name in enumerate(self.columns, start=2))
        return f"UPDATE {self.table} SET {sets} WHERE key = $1"  # noqa: S608 - names of the scenario

    async def load(self, tx: Transaction, keys: Sequence[str], lock: Lock = "none") -> State:
        """SELECT each key, in the caller's order."""
        state = {}
        for key in keys:
            found = (await tx.sql(self.select(lock), key)).rows
            state[key] = self.value(found[0]) if found else None
            tx.note(reads={key: state[key]})
        return state

    async def save(self, tx: Transaction, before: State, changes: State) -> int:
        """UPDATE each key that differs from `before`; how many rows changed."""
        changed = 0
        for key, value in changes.items():
            if value != before[key]:
                changed += (await tx.sql(self.update, key, *self.row(value))).count
                tx.note(writes={key: value})
        return changed


def json_row() -> RowLayout:
    """One column of JSON text: for scenarios that say nothing about their layout."""
    return RowLayout({"value": "text"}, lambda value: (_to_json(value),), lambda row: json.loads(row[0]))
