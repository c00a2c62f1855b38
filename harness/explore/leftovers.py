"""What a schedule leaves in a strategy's own tables: the next one finds them as they were made.

Keys are fresh for every schedule, so that rows under them are in nobody's way. A row under another name is: a lock
for all, the mark of whoever came first. Were it kept, what happens where it is not there yet would be run once only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.strategy.layouts import Sql

_MADE = re.compile(r"\bcreate\s+(?:unlogged\s+)?table\s+(?:if\s+not\s+exists\s+)?(\"[^\"]+\"|[\w$]+)", re.IGNORECASE)
_COLUMNS = """
SELECT coalesce(string_agg(quote_ident(attname), ', ' ORDER BY attnum), '') FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
_MOST_ROWS = 1_000
"""What lies there at first and is more was left by a load: requests that have been answered."""


class Leftovers:
    """The tables that `statements` make."""

    def __init__(self, statements: Sequence[str], mark: str = "") -> None:
        """Nothing has been asked yet. Rows with `mark` in their key are a schedule's own, and stay."""
        self._where = f"strpos(key, '{mark}') = 0" if mark else "true"
        self._keyed = bool(mark)
        self._tables = tuple(dict.fromkeys(name for text in statements for name in _MADE.findall(text)))
        self._since = 0
        self._first: dict[str, tuple[str, Counter[str]]] = {}

    async def remember(self, sql: Sql) -> None:
        """How the tables are before the first schedule. Raises StatementRefused."""
        if self._since or not self._tables:
            return
        for table in self._tables:
            columns = (await sql(_COLUMNS, table)).rows[0][0]
            if self._keyed and "key" not in columns.split(", "):
                continue
            rows = await _rows(sql, table, f"WHERE {self._where} LIMIT {_MOST_ROWS + 1}")
            self._first[table] = columns, rows if rows.total() <= _MOST_ROWS else Counter()
        self._since = (await sql("SELECT pg_current_xact_id()::xid::text::bigint")).rows[0][0]

    async def clear(self, sql: Sql) -> None:
        """Remove what was written since, put back what was there and has changed. Raises StatementRefused."""
        if not self._since:
            return
        for table in reversed(self._first):  # what refers to another is made after it
            await sql(f"DELETE FROM {table} WHERE xmin::text::bigint > $1 AND {self._where}", self._since)  # noqa: S608 - a strategy's name
        for table, (columns, rows) in self._first.items():
            for row in (rows - await _rows(sql, table, f"WHERE {self._where}")).elements() if rows else ():
                record = f"SELECT {columns} FROM jsonb_populate_record(NULL::{table}, $1::text::jsonb)"  # noqa: S608 - as above
                await sql(f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE {record}", row)


async def _rows(sql: Sql, table: str, most: str = "") -> Counter[str]:
    """The rows of a table, as JSON."""
    return Counter(row[0] for row in (await sql(f"SELECT to_jsonb(t)::text FROM {table} t {most}")).rows)  # noqa: S608 - as above
