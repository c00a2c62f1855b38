"""Several rules side by side: strategies down, rules across; in each cell order, rule, and what it has come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from harness.report.figures import MISSING

Document = Mapping[str, Any]

WORDS = {"held": "held", "violated": "broken", "inconclusive": "?"}
_MOST_ENDS = 2
_SELDOM = 0.005
_WIDTH = 80


def rules_of(document: Document) -> list[str]:
    """The rules that were compared, in their order."""
    return list(dict.fromkeys(row["rule"] for row in document["rows"]))


def by_rule(document: Document) -> list[list[list[str]]]:
    """A row for each strategy: its name, then a cell for each rule; a cell is a few short lines. Empty for one rule."""
    rules = rules_of(document)
    if len(rules) < 2:
        return []
    found = []
    for strategy, rows in groupby(document["rows"], key=lambda row: row["strategy"]):
        cells = {row["rule"]: _cell(row) for row in rows}
        found.append([[strategy], *(cells.get(rule, [MISSING]) for rule in rules)])
    return found


def together(document: Document) -> list[list[list[str]]]:
    """The same with all that come to the same in one row: that most of them do is what the table has to say."""
    alike: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for names, *cells in by_rule(document):
        alike.setdefault(tuple(map(tuple, cells)), []).extend(names)
    return [[names, *map(list, cells)] for cells, names in alike.items()]


def by_rule_lines(document: Document) -> Iterator[str]:
    """The same for a screen of 80 columns, some rules below the others where it takes that; none for one rule."""
    rows = together(document)
    if not rows:
        return
    heads = [["order, rule", "and the end"], *([rule] for rule in rules_of(document))]
    widths = [max(len(line) for row in [heads, *rows] for line in row[place]) for place in range(len(heads))]
    for begin, end, gap in _blocks(widths):
        yield from [""] * (begin > 1)
        for row in [heads, *rows]:
            cells = [row[0], *row[begin:end]]
            for number in range(max(map(len, cells))):
                parts = [
                    _line(cell, number).ljust(width)
                    for cell, width in zip(cells, [widths[0], *widths[begin:end]], strict=True)
                ]
                yield f"  {(' ' * gap).join(parts)}".rstrip()
    if told := told_by_exploring(document):
        yield f"  {told}"


def _blocks(widths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """From which column to which, all that fit beside the first one, and the gap between them."""
    begin = 1
    while begin < len(widths):
        end = begin + 1
        while end < len(widths) and _wide(widths, begin, end + 1, 1) <= _WIDTH:
            end += 1
        yield begin, end, 2 if _wide(widths, begin, end, 2) <= _WIDTH else 1
        begin = end


def _wide(widths: Sequence[int], begin: int, end: int, gap: int) -> int:
    return 2 + widths[0] + sum(widths[begin:end]) + gap * (end - begin)


def told_by_exploring(document: Document) -> str:
    """Of which rules the order was told by exploring; "" where the load told all."""
    rules = ", ".join(by_exploring(document))
    return f"order of {rules}: by every order of two requests, where the load told too little" if rules else ""


def order_of(row: Document) -> str:
    """What is said of a row's order: by its load, or where that could not tell, by every order of two requests."""
    explored = (row.get("exploration") or {}).get("order", "inconclusive")
    if row["order"] != "inconclusive" or explored == "inconclusive":
        return str(row["order"])
    return "violated" if explored == "violated" else "held"


def by_exploring(document: Document) -> list[str]:
    """The rules of which the load could not tell the order of some row, and exploring could."""
    told = [row["rule"] for row in document["rows"] if order_of(row) != row["order"]]
    return list(dict.fromkeys(told))


def undecided(document: Document) -> str | None:
    """That nothing here chooses between rules which hold alike and come to different ends; None where they do not."""
    held: dict[str, set[str]] = {}
    for row in document["rows"]:
        if row["verdict"] == "held" and row.get("endings"):
            held.setdefault(row["rule"], set()).update(row["endings"])
    if len(held) < 2:
        return None
    names = ", ".join(held)
    return (
        f"{names} hold under the same strategies and are different businesses: race compares the rows, and cannot"
        " choose the column"
    )


def _cell(row: Document) -> list[str]:
    """`held, broken`, then the ends that came most often, by name: so that rows that are alike look alike."""
    verdicts = [WORDS[order_of(row)], WORDS[_rule(row["invariants"].values())]]
    endings: Mapping[str, int] = row.get("endings") or {}
    total = sum(endings.values())
    often = sorted(endings, key=lambda end: -endings[end])[:_MOST_ENDS]
    return [", ".join(verdicts), *sorted(end for end in often if endings[end] > _SELDOM * total)]


def _rule(verdicts: Sequence[str] | Any) -> str:
    """The worst of what the invariants say."""
    found = set(verdicts)
    return next((word for word in ("violated", "inconclusive") if word in found), "held")


def _line(cell: Sequence[str], number: int) -> str:
    return cell[number] if number < len(cell) else ""
