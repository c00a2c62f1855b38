"""The isolation table as a screen, as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.comma_separated import lines_of
from harness.report.comparison_rows import store_heading
from harness.report.figures import KEPT_SPACE, MISSING
from harness.report.interleaving import draw
from harness.report.markdown import escaped, table_row
from harness.report.paint import Paint, plain
from harness.report.terminal import labelled, last_line

Document = Mapping[str, Any]

FIELDS = ("level", "anomaly", "name", "prevents", "expected")
_INDENT = 12
"""Of the lines below the table: `  Expected  `."""


def isolation_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race isolation` prints, from its document."""
    lines = [paint(store_heading(info), "bold") for info in document["stores"]]
    lines += ["", *_table(document, paint), ""]
    for differing in document["differs"]:
        lines += [*labelled("Differs", differing["says"], paint, _INDENT), ""]
        lines += [*_drawn(differing, paint), ""]
    occurring = {
        name: document["means"][code] for code, name in document["anomalies"].items() if _occurs(document, code)
    }
    width = max(map(len, occurring), default=0)
    lines += [f"  {name:<{width}}  {paint(means, 'dim')}" for name, means in occurring.items()]
    lines += [""] if occurring else []
    for label, text in lines_below(document):
        lines += labelled(label, text, paint, _INDENT)
    lines += last_line("Again", document["reproduce"], exit_code, document["duration_s"], paint, _INDENT)
    return "\n".join(lines) + "\n"


def isolation_markdown(document: Document) -> str:
    """The table and what differs, for a wiki or a pull request."""
    levels = [entry["level"] for entry in document["levels"]]
    title = ", ".join(f"{info['product']} {info['version']}" for info in document["stores"])
    lines = [f"# Isolation anomalies on {escaped(title)}", ""]
    lines += [table_row(["anomaly", "Hermitage", *levels, "what it is"]), table_row([":--"] * (3 + len(levels)))]
    for code, name in document["anomalies"].items():
        words = [word for word, _style in _cells(document, code)]
        lines.append(table_row([name, code, *words, document["means"][code]]))
    lines += ["", *(f"* Differs: {escaped(differing['says'])}" for differing in document["differs"])]
    lines += [f"* {label}: {escaped(text)}" for label, text in lines_below(document)]
    lines += ["", f"Again: `{document['reproduce']}`"]
    return "\n".join(lines) + "\n"


def isolation_csv(document: Document) -> str:
    """A heading and a line for each cell; what is not known is empty."""
    rows = []
    for seen, expected in zip(document["levels"], document["expected"], strict=True):
        for code, name in document["anomalies"].items():
            rows.append([seen["level"], code, name, seen["prevents"][code], expected["prevents"][code]])
    return lines_of(FIELDS, rows)


def _occurs(document: Document, code: str) -> bool:
    """Whether it was seen at any level."""
    return any(entry["prevents"][code] is False for entry in document["levels"])


def _table(document: Document, paint: Paint) -> Iterator[str]:
    heads = [("anomaly", ""), ("Hermitage", "")]
    for level, _separator, rest in (entry["level"].partition(" ") for entry in document["levels"]):
        heads.append((level, rest))
    rows = [(name, code) for code, name in document["anomalies"].items()]
    texts = [[*row, *(word for word, _style in _cells(document, row[1]))] for row in rows]
    widths = [max(len(text) for text in (*head, *(line[place] for line in texts))) for place, head in enumerate(heads)]
    yield paint(_line([first for first, _second in heads], widths), "dim")
    yield paint(_line([second for _first, second in heads], widths), "dim")
    for row, line in zip(rows, texts, strict=True):
        styles = ["", "", *(style for _word, style in _cells(document, row[1]))]
        padded = [f"{text:<{width}}" for text, width in zip(line, widths, strict=True)]
        parts = [paint(text, style) if style else text for text, style in zip(padded, styles, strict=True)]
        yield f"  {'  '.join(parts)}".rstrip()


def _line(texts: list[str], widths: list[int]) -> str:
    return f"  {'  '.join(f'{text:<{width}}' for text, width in zip(texts, widths, strict=True))}".rstrip()


def _cells(document: Document, code: str) -> Iterator[tuple[str, str]]:
    """Word and style of an anomaly at each level; in capitals where it differs."""
    for seen, expected in zip(document["levels"], document["expected"], strict=True):
        prevents = seen["prevents"][code]
        if prevents is None:
            yield MISSING, "yellow"
            continue
        word = "prevented" if prevents else "occurs"
        if prevents is expected["prevents"][code]:
            yield word, "green" if prevents else "yellow"
        else:
            yield word.upper(), "red"


def _drawn(differing: Document, paint: Paint) -> list[str]:
    """The steps of a case, a column for each transaction."""
    return draw(counterexample_of_case(differing), paint=paint, note="as it was played")


def counterexample_of_case(case: Document) -> Document:
    """A case as what a diagram is drawn of."""
    names = {one: f"transaction {one.removeprefix('T')}" for one in case["ends"]}
    steps = [
        {**step, "caller": names[step["caller"]], "reply": step["reply"].replace(" ", KEPT_SPACE), "outcome": ""}
        for step in case["steps"]
    ]
    return {"columns": [[name, ""] for name in names.values()], "steps": steps, "fits": True, "as_sent": True}


def lines_below(document: Document) -> Iterator[tuple[str, str]]:
    """Label and text of each line below the table."""
    seen = [entry["prevents"] for entry in document["levels"]]
    expected = [entry["prevents"] for entry in document["expected"]]
    cells = [(found[code], wanted[code]) for found, wanted in zip(seen, expected, strict=True) for code in found]
    right = sum(found is wanted for found, wanted in cells)
    if document["reason"]:
        yield "Stopped", document["reason"]
    else:
        default = document["levels"][0]["level"]
        yield "Default", f"{default}; above it, what is refused (40001) is to be retried"
    yield "Expected", f"{right} of {len(cells)} cells are as PostgreSQL's documentation and Hermitage say"
