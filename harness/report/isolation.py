"""The isolation table: for the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.comparison_rows import store_heading
from harness.report.paint import Paint, plain
from harness.report.terminal import labelled, last_line

Document = Mapping[str, Any]

_NAME = 42
_LEVEL = 13
_INDENT = 11


def isolation_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race isolation` prints, from its document."""
    info = document["stores"][0]
    lines = [paint(store_heading(info), "bold")]
    for place in range(2):  # a level's name stands in two lines
        words = [[*level["level"].split(), ""][place] for level in document["levels"]]
        lines.append(paint(f"{'':<{_NAME}}{''.join(f'{word:<{_LEVEL}}' for word in words)}".rstrip(), "dim"))
    for anomaly, name in document["anomalies"].items():
        cells = "".join(_painted(document, level, anomaly, paint) for level in document["levels"])
        lines.append(f"  {anomaly:<10}{name:<{_NAME - 12}}{cells}".rstrip())
    lines.append("")
    for label, text in _below(document):
        lines += labelled(label, text, paint, _INDENT)
    lines += last_line("Again", document["reproduce"], exit_code, document["duration_s"], paint, _INDENT)
    return "\n".join(lines) + "\n"


def _painted(document: Document, level: Document, anomaly: str, paint: Paint) -> str:
    prevented = level["prevents"][anomaly]
    differs = any((one["level"], one["anomaly"]) == (level["level"], anomaly) for one in document["differs"])
    word = ("prevented" if prevented else "possible") + (" !" if differs else "")
    style = "red" if differs else "green" if prevented else "yellow"
    return paint(word, style) + " " * (_LEVEL - len(word))


def _below(document: Document) -> Iterator[tuple[str, str]]:
    cells = len(document["levels"]) * len(document["anomalies"])
    for one in document["differs"]:
        expected = "prevented" if one["expected"] else "possible"
        yield "Differs", f"{one['anomaly']} at {one['level']}: expected {expected}; {' | '.join(one['seen'])}"
    if not document["differs"]:
        yield "Expected", f"all {cells} cells are what PostgreSQL's documentation and Hermitage say"
    yield "Means", "possible: it happened in a schedule of two or three transactions; prevented: not in the same one"


def isolation_markdown(document: Document) -> str:
    """Levels across, anomalies down."""
    levels = document["levels"]
    lines = [
        f"# Isolation: {store_heading(document['stores'][0]).replace('  ', ', ')}",
        "",
        f"| anomaly | name | {' | '.join(level['level'] for level in levels)} |",
        "|---" * (len(levels) + 2) + "|",
    ]
    for anomaly, name in document["anomalies"].items():
        words = ["prevented" if level["prevents"][anomaly] else "possible" for level in levels]
        lines.append(f"| {anomaly} | {name} | {' | '.join(words)} |")
    lines += ["", *(f"* {label}: {text.replace('|', ',')}" for label, text in _below(document))]
    return "\n".join([*lines, "", f"Again: `{document['reproduce']}`"]) + "\n"


def isolation_csv(document: Document) -> str:
    """A line for each cell."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(("level", "anomaly", "name", "prevented", "as_expected"))
    differs = {(one["level"], one["anomaly"]) for one in document["differs"]}
    for level in document["levels"]:
        for anomaly, prevented in level["prevents"].items():
            name, expected = document["anomalies"][anomaly], (level["level"], anomaly) not in differs
            writer.writerow((level["level"], anomaly, name, prevented, expected))
    return target.getvalue()
