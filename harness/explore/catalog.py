"""What the tables do when a statement changes a row: no statement says it, the server's catalog does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.strategy.layouts import Sql

_QUESTION = r"""
SELECT lower(t.relname),
  t.relkind IN ('v', 'f') OR EXISTS (SELECT FROM pg_inherits i WHERE t.oid IN (i.inhparent, i.inhrelid)),
  EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attidentity <> '')
  OR EXISTS (SELECT FROM pg_attrdef d WHERE d.adrelid = t.oid AND pg_get_expr(d.adbin, t.oid) ~* '\mnextval\('),
  EXISTS (
    SELECT FROM pg_constraint c WHERE c.contype = 'f' AND t.oid IN (c.conrelid, c.confrelid)
  ) OR EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = t.oid AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary AND NOT EXISTS (
      SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = ANY (i.indkey) AND a.attname = 'key'
    )
  ),
  coalesce(
    (SELECT min('the trigger ' || g.tgname) FROM pg_trigger g WHERE g.tgrelid = t.oid AND NOT g.tgisinternal),
    (SELECT min('the rule ' || r.rulename) FROM pg_rewrite r WHERE r.ev_class = t.oid AND r.rulename <> '_RETURN'),
    (SELECT min('the policy ' || p.polname) FROM pg_policy p WHERE p.polrelid = t.oid),
    (
      SELECT min('the default of ' || a.attname) FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = t.oid
      WHERE d.adrelid = t.oid AND a.attnum = d.adnum AND a.attgenerated = '' AND regexp_replace(
        pg_get_expr(d.adbin, t.oid), '::[\w ]+\(|\mnextval\(', '', 'gi'
      ) ~* '\w\(|\mcurrent_|\mlocaltime'
    ),
    (
      SELECT min('the constraint ' || c.conname) FROM pg_constraint c JOIN pg_depend d ON d.objid = c.oid
      WHERE c.conrelid = t.oid AND c.contype = 'c'
      AND d.classid = 'pg_constraint'::regclass AND d.refclassid = 'pg_proc'::regclass
    ),
    ''
  ),
  CASE WHEN t.relkind = 'v' AND EXISTS (
    SELECT FROM pg_rewrite r LEFT JOIN pg_depend d ON d.objid = r.oid
    WHERE r.ev_class = t.oid AND (
      (d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_proc'::regclass)
      OR pg_get_viewdef(t.oid) ~* '\m(?:nextval|now|clock_timestamp|random|pg_\w+)\(|\mcurrent_|\mlocaltime'
    )
  ) THEN 'the view ' || t.relname ELSE '' END
FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = current_schema() AND t.relkind IN ('r', 'p', 'v', 'f', 'm')
"""
_OTHERS = """
SELECT p.proname, false FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = current_schema()
UNION SELECT o.oprname, true FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
WHERE n.nspname = current_schema()
"""
_ELSEWHERE = "SELECT nspname FROM pg_namespace WHERE nspname <> current_schema()"
_SERVERS_OWN = frozenset({"pg_catalog", "information_schema"})
"""Schemas in which nobody has made anything."""
_NAME = re.compile(r"[a-z_][a-z0-9_$]*", re.IGNORECASE)
_ESCAPED = re.compile(r'u&"', re.IGNORECASE)
"""Begins a name that is written in escapes: it may be any."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """`draws`: a new row may draw a number. `tied`: a constraint looks at rows of other keys.

    `runs`: what runs inside the server for a change, by name, `shows`: for a look; "" where nothing does.
    """

    draws: bool = False
    tied: bool = False
    runs: str = ""
    shows: str = ""

    def of(self, _statement: str) -> Catalog:
        """What all tables do."""
        return self

    def with_(self, other: Catalog) -> Catalog:
        """Both together."""
        return Catalog(
            self.draws or other.draws, self.tied or other.tied, self.runs or other.runs, self.shows or other.shows
        )


class Tables:
    """What each table of a schema does. Other tables of the schema are no concern of a statement."""

    def __init__(
        self, tables: Mapping[str, Catalog], wide: frozenset[str], functions: Sequence[str] = (),
        operators: Sequence[str] = (), elsewhere: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """By their names in small letters. `wide`: views and the like, of which a change comes out in other tables.

        `functions` and `operators`: those that somebody has made in the schema, under whatever name; `elsewhere`:
        the other schemas, at whose tables nobody has looked.
        """
        self._functions = {name: re.compile(rf'(?<!\w){re.escape(name)}"?\s*\(', re.IGNORECASE) for name in functions}
        self._operators = operators
        self._elsewhere = {name: re.compile(rf'(?<!\w){re.escape(name)}"?\s*\.', re.IGNORECASE) for name in elsewhere}
        self._tables = {name.casefold(): catalog for name, catalog in tables.items()}
        self._unusual = [name for name in self._tables if not _NAME.fullmatch(name)]
        self._wide = {name.casefold() for name in wide}
        self._all = reduce(Catalog.with_, tables.values(), Catalog()) if tables else UNKNOWN
        self._known: dict[str, Catalog] = {}

    def of(self, statement: str) -> Catalog:
        """What those do that a statement names; what all do, where it names none, or one that stands for others."""
        known = self._known.get(statement)
        if known is None:
            text = statement.casefold()
            names = set(_NAME.findall(text)) & self._tables.keys()
            names |= {name for name in self._unusual if name.replace('"', '""') in text}
            found = reduce(Catalog.with_, (self._tables[name] for name in sorted(names)), Catalog())
            found = found if names and not names & self._wide else self._all
            known = self._known[statement] = self._made(statement).with_(found)
        return known

    def _made(self, statement: str) -> Catalog:
        """What functions and operators do that somebody has made, also under the name of one that does nothing.

        And what nobody has looked at: a name in escapes, a table of another schema.
        """
        called = [f"the function {name}" for name, call in self._functions.items() if call.search(statement)]
        called += [f"the operator {name}" for name in self._operators if name in statement]
        called += [f"what is in the schema {name}" for name, use in self._elsewhere.items() if use.search(statement)]
        called += ["whatever a name in Unicode escapes stands for"] * bool(_ESCAPED.search(statement))
        return Catalog(runs=called[0], shows=called[0]) if called else Catalog()


UNKNOWN = Catalog(draws=True, tied=True)
"""Where nobody knows what the tables do."""


async def look_at(sql: Sql) -> Tables:
    """Those of the schema that unnamed tables are in."""
    found = (await sql(_QUESTION)).rows
    tables = {name: Catalog(draws, tied, runs, shows) for name, _wide, draws, tied, runs, shows in found}
    wide = frozenset(name for name, wide, *_ in found if wide)
    made = (await sql(_OTHERS)).rows
    functions, operators = ([name for name, operator in made if operator is kind] for kind in (False, True))
    elsewhere = [name for (name,) in (await sql(_ELSEWHERE)).rows if name not in _SERVERS_OWN]
    return Tables(tables, wide, functions, operators, elsewhere)
