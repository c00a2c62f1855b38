"""What the tables do when a statement changes a row: no statement says it, the server's catalog does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.strategy.layouts import Sql

_QUESTION = """
SELECT
  EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relkind = 'S'),
  EXISTS (
    SELECT FROM pg_constraint c WHERE c.connamespace = n.oid AND c.contype = 'f'
  ) OR EXISTS (
    SELECT FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
    WHERE t.relnamespace = n.oid AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary AND NOT EXISTS (
      SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = ANY (i.indkey) AND a.attname = 'key'
    )
  ),
  (
    SELECT min('the trigger ' || g.tgname) FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
    WHERE t.relnamespace = n.oid AND NOT g.tgisinternal
  ),
  (
    SELECT min('the rule ' || r.rulename) FROM pg_rewrite r JOIN pg_class t ON t.oid = r.ev_class
    WHERE t.relnamespace = n.oid AND r.rulename <> '_RETURN'
  )
FROM pg_namespace n WHERE n.nspname = current_schema()
"""


@dataclass(frozen=True, slots=True)
class Catalog:
    """`draws`: a new row may draw a number. `tied`: a constraint looks at rows of other keys.

    `runs`: what runs inside the server for a change, by name; "" where nothing does.
    """

    draws: bool = False
    tied: bool = False
    runs: str = ""


async def look_at(sql: Sql) -> Catalog:
    """That of the schema that unnamed tables are in."""
    found = (await sql(_QUESTION)).rows
    if not found:  # nobody knows what its tables do
        return Catalog(draws=True, tied=True)
    ((draws, tied, trigger, rule),) = found
    return Catalog(draws, tied, trigger or rule or "")
