"""The screen of a comparison: one table for each store, then what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.advice import advice, failures
from harness.report.comparison_rows import COLUMNS, cells, control_line, groups
from harness.report.figures import plural
from harness.report.paint import VERDICT_STYLES, Paint, plain
from harness.report.terminal import WIDTH, labelled, last_line

Document = Mapping[str, Any]


def comparison_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race compare` prints, from its document."""
    load = document["load"]
    under = plural(len(document["rows"]), "strategy").replace("strategys", "strategies")
    head = (
        f"{document['scenario']} under {under}, {plural(load['processes'], 'process')}, bursts of {load['burst_size']}"
    )
    if not document["complete"]:
        head += ", interrupted"
    lines = [paint(head, "bold"), ""]
    for heading, rows in groups(document):
        lines += [paint(heading, "bold"), *_table(rows, document, paint)]
        control = control_line(rows)
        lines += [paint(f"  {control}", "dim")] if control else []
        lines.append("")
    if any(not row["violations"]["bursts"] for row in document["rows"]):
        lines += [paint("  <= is the one-sided 95 % bound where no burst broke.", "dim"), ""]
    for entry in document["not_applicable"]:
        lines += labelled("Left out", f"{entry['strategy']}: {entry['reason']}", paint)
    for label, text in [*failures(document), *advice(document)]:
        lines += labelled(label, text, paint)
    lines += last_line("Again", document["reproduce"], exit_code, document["duration_s"], paint)
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Document], document: Document, paint: Paint) -> list[str]:
    texts = [cells(row, document) for row in rows]
    heads = [[head[part] for head in COLUMNS] for part in (0, 1)]
    widths = [max(len(line[place]) for line in [*heads, *texts]) for place in range(len(COLUMNS))]
    too_wide = 2 + sum(widths) + 2 * (len(widths) - 1) > WIDTH
    gap = " " if too_wide else "  "
    styles = [VERDICT_STYLES[row["verdict"]] for row in rows]
    lines = [paint(_line(head, widths, gap), "dim") for head in heads]
    for text, style, row in zip(texts, styles, rows, strict=True):
        line = _line(text, widths, gap)
        name = text[0].ljust(widths[0])
        lines.append(line.replace(name, paint(name, style), 1))
        if row["as_claimed"] is False:
            lines[-1] = lines[-1].replace(text[-1], paint(text[-1], "red"))
    return lines


def _line(texts: Sequence[str], widths: Sequence[int], gap: str) -> str:
    last = len(texts) - 1
    parts = [
        text.ljust(width) if place in {0, last} else text.rjust(width)
        for place, (text, width) in enumerate(zip(texts, widths, strict=True))
    ]
    return ("  " + gap.join(parts)).rstrip()
