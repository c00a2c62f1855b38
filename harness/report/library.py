"""What `race list` knows, as tables: what there is to run, or what is claimed of each cell of one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from harness.report.comma_separated import lines_of
from harness.report.markdown import escaped, table_row

Document = Mapping[str, Any]

_CELL_FIELDS = ("scenario", "strategy", "rule", "claim", "breaks_under", "errors", "reason")
_KIND_FIELDS = ("kind", "group", "name", "store", "summary", "stops_helping")


class Table(NamedTuple):
    """A title, heads, and a text for each head in every row."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def title(document: Document) -> str:
    """`What there is to run`, or the one that was named."""
    return str(document.get("scenario") or document.get("strategy") or "What there is to run")


def facts(document: Document) -> Iterator[tuple[str, str]]:
    """Label and text of each line above the tables."""
    if document.get("summary"):
        yield "Is", document["summary"]
    for symptom in document.get("symptoms", ()):
        yield "Noticed as", symptom
    for invariant in document.get("invariants", ()):
        yield "Must stay true", f"{invariant['name']}: {invariant['says']}"
    if document.get("stops_helping"):
        yield "Stops helping", document["stops_helping"]
    for name, says in [] if "scenario" in document else document.get("variants", {}).items():
        yield f":{name}", says
    for rule, why in document.get("wrong", {}).items():
        yield f"Rule {rule}", f"breaks under every strategy: {why}"


def tables(document: Document) -> list[Table]:
    """Of everything scenarios and strategies; of one its cells."""
    if "cells" in document:
        first = 1 if "scenario" in document else 0  # it is the title
        heads = [name.replace("_", " ") for name in _CELL_FIELDS[first:]]
        rows = [cell[first:] for cell in _cells(document)]
        return [Table(f"Claims, with {document['processes']} processes", heads, rows)]
    scenarios = [
        [row["name"], row["goes_wrong"], row["summary"], ", ".join(row["rules"])] for row in document["scenarios"]
    ]
    strategies = [
        [row["name"], row["family"], row["store"], row["summary"], row["stops_helping"]]
        for row in document["strategies"]
    ]
    return [
        Table("Scenarios", ("scenario", "goes wrong", "what it is", "rules"), scenarios),
        Table("Strategies", ("strategy", "family", "store", "how", "where it stops helping"), strategies),
    ]


def library_markdown(document: Document) -> str:
    """The tables, for a wiki."""
    told = [f"* {label}: {escaped(text)}" for label, text in facts(document)]
    lines = [f"# {escaped(title(document))}", *(["", *told] if told else [])]
    for table in tables(document):
        lines += ["", f"## {table.title}", "", table_row([*table.heads]), table_row([":--"] * len(table.heads))]
        lines += [table_row([*row]) for row in table.rows]
    lines += ["", f"Again: `{document['reproduce']}`"]
    return "\n".join(lines) + "\n"


def library_csv(document: Document) -> str:
    """One line for each cell; of everything one for each scenario and strategy."""
    if "cells" in document:
        return lines_of(_CELL_FIELDS, _cells(document))
    rows = [("scenario", row["goes_wrong"], row["name"], "", row["summary"], "") for row in document["scenarios"]]
    rows += [
        ("strategy", row["family"], row["name"], row["store"], row["summary"], row["stops_helping"])
        for row in document["strategies"]
    ]
    return lines_of(_KIND_FIELDS, rows)


def _cells(document: Document) -> Iterator[list[str]]:
    for cell in document["cells"]:
        yield [
            cell.get("scenario") or document["scenario"], cell["strategy"], cell["rule"], cell["claim"],
            ", ".join(cell["breaks_under"]), ", ".join(cell["errors"]), cell["reason"],
        ]  # fmt: skip
