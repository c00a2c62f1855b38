"""A comparison as Markdown, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.report.advice import advice, failures
from harness.report.by_rule import by_exploring, by_rule, rules_of
from harness.report.caveats import caveats
from harness.report.comparison_rows import COLUMNS, cells, control_line, groups, not_applicable

Document = Mapping[str, Any]


def comparison_markdown(document: Document) -> str:
    """The tables of all stores with what follows from them."""
    load, environment = document["load"], document["environment"]
    lines = [f"# {document['scenario']}", ""]
    lines.append(
        f"{load['processes']} processes, bursts of {load['burst_size']}, seed {document['seed']};"
        f" {environment['cpus']} CPUs, {environment['platform']}, Python {environment['python']},"
        f" race {environment['race']}, {document['started_at']}."
    )
    if not document["complete"]:
        why = escaped(document.get("reason") or "interrupted")
        lines += ["", f"**Incomplete: {why}.**"]
    for heading, rows in groups(document):
        lines += ["", f"## {escaped(heading.replace('  ', ', '))}", ""]
        lines.append(table_row([name for _first, _second, name in COLUMNS]))
        lines.append(table_row([":--", *["--:"] * (len(COLUMNS) - 2), ":--"]))
        lines += [table_row(cells(row, document)) for row in rows]
        control = control_line(rows)
        lines += ["", escaped(control[0].upper() + control[1:] + ".")] if control else []
    if beside := by_rule(document):
        lines += ["", "## By rule", "", table_row(["order, rule and the end", *rules_of(document)])]
        lines.append(table_row([":--"] * len(beside[0])))
        lines += [table_row(["; ".join(cell) for cell in row]) for row in beside]
        if told := by_exploring(document):
            lines += [
                "",
                f"The order of {', '.join(told)}: by every order of two requests, where the load told too little.",
            ]
    lines += ["", "`<=` is the one-sided 95 % bound where no burst broke.", ""]
    lines += [f"* Left out: {escaped(left_out)}" for left_out in not_applicable(document)]
    lines += [f"* {label}: {escaped(text)}" for label, text in [*failures(document), *advice(document)]]
    lines += [f"* {one.kind}: {escaped(one.says)}" for one in caveats(document)]
    lines += ["", f"Again: `{document['reproduce']}`"]
    return "\n".join(lines) + "\n"


def table_row(texts: list[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(escaped(text) for text in texts)} |"


def escaped(text: str) -> str:
    """What Markdown would take for its own is made plain."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
