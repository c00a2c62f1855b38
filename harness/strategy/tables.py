"""A scenario's own tables: some of its cells side by side, with columns that no other scenario has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.model import Evidence, Verdict

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
