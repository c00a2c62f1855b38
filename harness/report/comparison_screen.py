"""The screen of a comparison: one table for each store, then what follows from it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.advice import advice, failures
from harness.report.by_rule import by_rule_lines, rules_of
from harness.report.comparison_rows import COLUMNS, cells, control_line, groups, not_applicable
from harness.report.figures import plural
from harness.report.paint import VERDICT_STYLES, Paint, plain
from harness.report.terminal import WIDTH, labelled, last_line, minded

Document = Mapping[str, Any]

_INDENT = 14
"""Of the lines below the tables: `  Not covered `."""
_MOST_REASONS = 2
"""So many reasons why something is not in the tables are told; of more, where they are told."""


def comparison_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race compare` prints, from its document."""
    load = document["load"]
    under = plural(len({row["strategy"] for row in document["rows"]}), "strategy").replace("strategys", "strategies")
    if len(rules := rules_of(document)) > 1:
        under += f" and {len(rules)} rules"
    head = (
        f"{document['scenario']} under {under}, {plural(load['processes'], 'process')}, bursts of {load['burst_size']}"
    )
    if not document["complete"]:
        head += ", not complete" if document.get("reason") else ", interrupted"
    lines = [paint(head, "bold"), ""]
    layout = _Layout.of([cells(row, document) for row in document["rows"]])
    for heading, rows in groups(document):
        lines += [paint(heading, "bold"), *layout.head(paint)]
        lines += [line for row in rows for line in layout.row(row, document, paint)]
        control = control_line(rows)
        lines += [paint(f"  {control}", "dim")] if control else []
        lines.append("")
    if any(not row["violations"]["bursts"] for row in document["rows"]):
        lines += [paint("  <= is the one-sided 95 % bound where no burst broke", "dim"), ""]
    if table := list(by_rule_lines(document)):
        lines += [paint("By rule; strategies that come to the same stand together", "bold"), *table, ""]
    reasons = list(not_applicable(document))
    if len(reasons) > _MOST_REASONS:  # five lines about what is not here would hide what is
        reasons = list(_left_out(document))
    for left_out in reasons:
        lines += labelled("Left out", left_out, paint, _INDENT)
    if document.get("reason"):
        lines += labelled("Not all", f"{document['reason']}; give more with --budget SECONDS", paint, _INDENT)
    for label, text in [*failures(document), *advice(document), *minded(document)]:
        lines += labelled(label, text, paint, _INDENT)
    lines += last_line("Again", document["reproduce"], exit_code, document["duration_s"], paint, _INDENT)
    return "\n".join(lines) + "\n"


def _left_out(document: Document) -> Iterator[str]:
    """Who does not apply, in a line; and who does under some of the rules only, which have rows above."""
    names = dict.fromkeys(one["strategy"] for one in document["not_applicable"])
    ran = {row["strategy"] for row in document["rows"]}
    why = f"(race list {shlex.split(document['reproduce'])[2]} says why)"
    if never := [name for name in names if name not in ran]:
        yield f"{', '.join(never)}: they do not apply {why}"
    if partly := [name for name in names if name in ran]:
        yield f"under some of the rules: {', '.join(partly)} {'' if never else why}".rstrip()


@dataclass(frozen=True, slots=True)
class _Layout:
    """The widths of all tables, so that they stand below each other."""

    widths: tuple[int, ...]
    gap: str

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]]) -> _Layout:
        heads = [[first for first, _second, _name in COLUMNS], [second for _first, second, _name in COLUMNS]]
        widths = tuple(max(len(line[place]) for line in [*heads, *texts]) for place in range(len(COLUMNS)))
        gaps, others = len(widths) - 1, sum(widths[1:])
        gap = "  " if 2 + widths[0] + others + 2 * gaps <= WIDTH else " "
        return cls((min(widths[0], WIDTH - 2 - others - gaps * len(gap)), *widths[1:]), gap)

    def head(self, paint: Paint) -> list[str]:
        first = [first for first, _second, _name in COLUMNS]
        second = [second for _first, second, _name in COLUMNS]
        return [paint("".join(self._parts(head)).rstrip(), "dim") for head in (first, second)]

    def row(self, row: Document, document: Document, paint: Paint) -> list[str]:
        """One line, or two where the name is too long for its column."""
        name, *figures = cells(row, document)
        alone = len(name) > self.widths[0]
        parts = self._parts(["" if alone else name, *figures])
        style = VERDICT_STYLES[row["verdict"]]
        parts[0] = paint(parts[0], style)
        if row["as_claimed"] is False:
            parts[-1] = paint(parts[-1], "red")
        return [*([f"  {paint(name, style)}"] if alone else []), "".join(parts).rstrip()]

    def _parts(self, texts: Sequence[str]) -> list[str]:
        """Each text at its width, with the gap before it."""
        first, *middle, last = zip(texts, self.widths, strict=True)
        return [
            f"  {first[0]:<{first[1]}}",
            *(f"{self.gap}{text:>{width}}" for text, width in middle),
            f"{self.gap}{last[0]}",
        ]
