"""The flow table as a screen, as Markdown and as CSV: flows down, faults across, each cell in the domain's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.comma_separated import lines_of
from harness.report.comparison_rows import store_heading
from harness.report.figures import MISSING, plural
from harness.report.markdown import escaped, table_row
from harness.report.paint import Paint, plain
from harness.report.terminal import labelled, last_line

Document = Mapping[str, Any]

FIELDS = ("scenario", "strategy", "rule", "flow", "fault", "end", "says", "claimed", "as_claimed", "reason")
STYLES = {"once": "green", "undone": "yellow", None: "yellow"}
_INDENT = 14
NOT_COVERED = (
    "several attempts at once (race run, race explore); a kill at any other step; a second fault; a store that fails;"
    " other outside services: this one knows keys, and does not forget them"
)
_FAULTS = (
    "at the first effect: its reply is lost; the process is killed after it, before the news, and started again; or"
    " that one never comes back, and another lives on"
)
_MEANING = (
    "a key at the outside service is a principle, an undo an operation, a saga a pattern, a durable workflow a tool:"
    " none stands in for another"
)


def flows_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race compare --flow` prints, from its document."""
    under = f"{document['scenario']} ({document['rule']}) under {document['strategy']}"
    head = f"{under}, {plural(len(document['flows']), 'flow')}" + ("" if document["complete"] else ", interrupted")
    lines = [paint(head, "bold"), *(paint(store_heading(info), "dim") for info in document["stores"]), ""]
    lines += [*_table(document, paint), ""]
    width = max((len(one["flow"]) for one in document["flows"]), default=0)
    lines += [f"  {one['flow']:<{width}}  {paint(one['what'], 'dim')}" for one in document["flows"]] + [""]
    for label, text in lines_below(document):
        lines += labelled(label, text, paint, _INDENT)
    lines += last_line("Again", document["reproduce"], exit_code, document["duration_s"], paint, _INDENT)
    return "\n".join(lines) + "\n"


def flows_markdown(document: Document) -> str:
    """The same for a wiki or a pull request."""
    lines = [f"# Flows of {escaped(document['scenario'])} ({escaped(document['rule'])})", ""]
    lines.append(table_row(["flow", *document["faults"].values(), "what it is"]))
    lines.append(table_row([":--"] * (2 + len(document["faults"]))))
    lines += [
        table_row([one["flow"], *(word(cell) for cell in _disturbed(one, document)), one["what"]])
        for one in document["flows"]
    ]
    lines += ["", *(f"* {label}: {escaped(text)}" for label, text in lines_below(document))]
    lines += ["", f"Again: `{document['reproduce']}`"]
    return "\n".join(lines) + "\n"


def flows_csv(document: Document) -> str:
    """A heading and a line for each cell; the fault is empty where there was none."""
    rows = []
    for one in document["flows"]:
        for cell in one["cells"]:
            whole = {**document, **one, **cell}
            rows.append([whole[name] for name in FIELDS])
    return lines_of(FIELDS, rows)


def word(cell: Document | None) -> str:
    """`charged twice`; in capitals where that is not what is claimed."""
    if cell is None:
        return MISSING
    if cell["end"] is None:
        return "?"
    says = str(cell["says"])
    return says.upper() if cell["as_claimed"] is False else says


def lines_below(document: Document) -> Iterator[tuple[str, str]]:
    """Label and text of each line below the table."""
    for one in document["flows"]:
        for cell in one["cells"]:
            fault = document["faults"].get(cell["fault"], "without a fault")
            if cell["as_claimed"] is False:
                yield "Failed", f"{one['flow']}, {fault}: {cell['says']}, where {cell['claimed_says']} is claimed"
            elif cell["as_claimed"] is None:
                yield "Unclear", f"{one['flow']}, {fault}: {cell['reason']}"
    yield "Faults", _FAULTS
    undisturbed = [cell for one in document["flows"] for cell in one["cells"] if not cell["fault"]]
    whole = sum(cell["end"] == "once" and set(cell["effects"].values()) <= {1} for cell in undisturbed)
    yield "Control", f"without a fault {whole} of {len(undisturbed)} came to their end, each effect once"
    if any(_end(one, "killed") == "twice" for one in document["flows"] if one["flow"].startswith("durable")):
        yield (
            "Mind",
            (
                "a durable workflow is resumed from its last step that was written down: an effect that was done and"
                " not written down is done again, unless the outside knows its key"
            ),
        )
    if any(_end(one, "gone") == "stranded" for one in document["flows"] if one["flow"].startswith("durable")):
        yield (
            "Mind",
            (
                "DBOS by itself resumes what a process left once that process is started again, under its name: for one"
                " that never comes back, somebody has to tell another (its Conductor does)"
            ),
        )
    yield "Mind", _MEANING
    yield "Not covered", NOT_COVERED


def _end(one: Document, fault: str) -> str | None:
    return next((cell["end"] for cell in one["cells"] if cell["fault"] == fault), None)


def _disturbed(one: Document, document: Document) -> list[Document | None]:
    """The cells of a row, by fault; those that were not reached are None."""
    cells = {cell["fault"]: cell for cell in one["cells"]}
    return [cells.get(fault) for fault in document["faults"]]


def _table(document: Document, paint: Paint) -> Iterator[str]:
    heads = [("flow", ""), *(tuple(fault.split(" ", 1)) for fault in document["faults"].values())]
    rows = [[one["flow"], *map(word, _disturbed(one, document))] for one in document["flows"]]
    lines = [list(line) for line in zip(*heads, strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, *rows, strict=True)]
    for line in lines:
        yield paint(_line(line, widths), "dim")
    for one, texts in zip(document["flows"], rows, strict=True):
        styles = ["", *(_style(cell) for cell in _disturbed(one, document))]
        padded = [f"{text:<{width}}" for text, width in zip(texts, widths, strict=True)]
        parts = [paint(text, style) if style else text for text, style in zip(padded, styles, strict=True)]
        yield f"  {'  '.join(parts)}".rstrip()


def _style(cell: Document | None) -> str:
    return "" if cell is None else STYLES.get(cell["end"], "red")


def _line(texts: list[str], widths: list[int]) -> str:
    return f"  {'  '.join(f'{text:<{width}}' for text, width in zip(texts, widths, strict=True))}".rstrip()
