"""A scenario's own tables: some of its cells side by side, with columns that no other scenario has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.model import Evidence, UsageError, Verdict

WORDS = {Verdict.VIOLATED: "broken", Verdict.HELD: "held", Verdict.INCONCLUSIVE: "?"}


class Line(NamedTuple):
    """A cell, and what it is called in the table."""

    what: str
    strategy: str
    rule: str = ""


class Figures(NamedTuple):
    """What one load of its own showed of a line.

    `p99_ms` is of all requests, `others_p99_ms` of those for other keys than the slow one; `most` is the largest
    number that the table's `counts` came to.
    """

    p99_ms: float | None
    others_p99_ms: float | None
    most: int


class Seen(NamedTuple):
    """What was found of a line: by bursts, and by each load of the table.

    `refused` counts what the store refused to whoever wrote around its owner, by error code.
    """

    line: Line
    order: Verdict
    rule: Verdict
    refused: Mapping[str, int]
    figures: Mapping[str, Figures]


class Column(NamedTuple):
    """Its heading in two short lines, and its text for a line, which is given the load's name where each has a row."""

    heading: tuple[str, str]
    says: Callable[[Seen, str], str]


@dataclass(frozen=True, slots=True)
class Table:
    """Lines down, columns across.

    `loads` are sustained loads, by name, each as what it has other than the usual one. `each_load`: a row for each of
    them, instead of columns. `counts` gives a number for a piece of history, whose largest is kept.
    """

    title: str
    says: str
    lines: Sequence[Line]
    columns: Sequence[Column]
    loads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    each_load: bool = False
    counts: Callable[[Evidence], int] | None = None

    def rows(self, seen: Seen) -> list[tuple[str, list[str]]]:
        """The rows of a line: the load's name where each has one, and the text of each column."""
        names = list(self.loads) if self.each_load else [""]
        return [(name, [column.says(seen, name) for column in self.columns]) for name in names]


ORDER = Column(("order", ""), lambda seen, _load: WORDS[seen.order])
RULE = Column(("rule", ""), lambda seen, _load: WORDS[seen.rule])

LOADS = frozenset({"processes", "connections", "keys", "slow_ms", "think_ms"})
"""What a table's own load may have other than the usual one."""


def checked(name: str, tables: object) -> Mapping[str, Table]:
    """The tables of the scenario of that name. Raises UsageError for what is none."""
    if not isinstance(tables, Mapping):
        raise UsageError(f"{name}: tables must be a dict of harness.Table by name, not {tables!r:.60}")
    for called, table in tables.items():
        if not isinstance(table, Table):
            raise UsageError(f"{name}: table '{called}' is a harness.Table, not {table!r:.60}")
        if not (table.lines and table.columns):
            raise UsageError(f"{name}: table '{called}' has no {'columns' if table.lines else 'lines'}")
        for load, other in table.loads.items():
            for option, value in other.items():
                if option not in LOADS:
                    raise UsageError(
                        f"{name}: load '{load}' of table '{called}' has no {option}: {', '.join(sorted(LOADS))}"
                    )
                soft = option.endswith("_ms")
                if not isinstance(value, int | float if soft else int) or value < (not soft):
                    raise UsageError(f"{name}: {option} of load '{load}' of table '{called}' cannot be {value!r:.60}")
    return tables
