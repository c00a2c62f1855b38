"""One flow as a screen, as Markdown and as CSV: the verdict, the first bad case step by step, all cases in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.comma_separated import lines_of
from harness.report.figures import plural, wrapped
from harness.report.flows import NOT_COVERED, STYLES, word
from harness.report.interleaving import draw
from harness.report.markdown import escaped, table_row
from harness.report.paint import VERDICT_STYLES, Paint, plain
from harness.report.terminal import WIDTH, labelled, last_line

Document = Mapping[str, Any]

FIELDS = ("scenario", "flow", "strategy", "rule", "verdict", "fault", "end", "says", "claimed", "as_claimed", "reason")
NOTE = "in the order of the answers"
"""Of a drawing: what two processes did at once is told as each was told."""
_INDENT = 14


def flow_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race run --flow` prints, from its document."""
    verdict = document["verdict"]
    width = len("VIOLATED") + 4
    first, *more = wrapped(sentence(document), WIDTH - width)
    head = paint(verdict.upper(), VERDICT_STYLES[verdict])
    lines = [f"  {head}{' ' * max(2, width - 2 - len(verdict))}{first}"]
    lines += [" " * width + line for line in [*more, *wrapped(extent(document), WIDTH - width)]] + [""]
    if (found := document["counterexample"]) is not None:
        lines += [*draw(found, WIDTH, paint, note=f"{case_name(found['fault'], document)}, {NOTE}"), ""]
    lines += [*_cases(document, paint), ""]
    below = list(lines_below(document))
    for label, text in below[:-1]:
        lines += labelled(label, text, paint, _INDENT)
    lines += last_line(*below[-1], exit_code, document["duration_s"], paint, _INDENT)
    return "\n".join(lines) + "\n"


def flow_markdown(document: Document) -> str:
    """The same for a wiki or a pull request."""
    title = f"{escaped(document['scenario'])} ({escaped(document['rule'])}), carried by {escaped(document['flow'])}"
    lines = [f"# {title}", "", f"**{document['verdict']}**: {escaped(sentence(document))}", "", extent(document), ""]
    if (found := document["counterexample"]) is not None:
        lines += ["```text", *draw(found, 100, note=f"{case_name(found['fault'], document)}, {NOTE}"), "```", ""]
    heads, *rows = _table(document)
    lines += [table_row(["", *heads[1:]]), table_row([":--"] * len(heads)), *map(table_row, rows)]
    lines += ["", *(f"* {label}: {escaped(text)}" for label, text in lines_below(document) if label != "Again")]
    lines += ["", f"Again: `{document['reproduce']}`"]
    return "\n".join(lines) + "\n"


def flow_csv(document: Document) -> str:
    """A heading and a line for each case; the fault is empty where there was none."""
    return lines_of(FIELDS, [[{**document, **case}[name] for name in FIELDS] for case in document["cases"]])


def sentence(document: Document) -> str:
    """What the verdict says, in the scenario's words."""
    if document["verdict"] == "inconclusive":
        return str(document["reason"])
    found = next((case for case in document["cases"] if case["broken"]), None)
    if found is not None:
        return f"{found['says']}: {document['flow']}, {case_name(found['fault'], document)}"
    ends = list(dict.fromkeys(case["says"] for case in document["cases"] if case["fault"]))
    return f"{document['flow']} carried {document['scenario']} to a good end: {', or '.join(ends)}"


def extent(document: Document) -> str:
    """How many cases there were, and how many broke."""
    disturbed = [case for case in document["cases"] if case["fault"]]
    broke = sum(case["broken"] for case in disturbed)
    if not disturbed:
        return "no fault was made"
    return f"{broke} of {plural(len(disturbed), 'case')} broke: one attempt each, the fault really made"


def lines_below(document: Document) -> Iterator[tuple[str, str]]:
    """Label and text of each line below the drawing; the last is the command that does this again."""
    yield "Flow", f"{document['flow']}: {document['what']}"
    yield "Claim", claim(document)
    yield "Under", f"{document['strategy']}, rule {document['rule']}"
    yield "Not covered", NOT_COVERED
    yield "Fixes" if document["verdict"] == "violated" else "Others", f"race compare {document['scenario']} --flow all"
    yield "Again", document["reproduce"]


def claim(document: Document) -> str:
    """What is claimed under these faults, and whether it came so."""
    said, met = document["claim"], document["as_claimed"]
    unlike = [
        f"{case_name(case['fault'], document)}: {case['says']}, where {case['claimed_says']} is claimed"
        for case in document["cases"]
        if case["as_claimed"] is False
    ]
    found = {True: "as claimed", False: "NOT as claimed", None: "nothing can be said of it"}[met]
    broken = f"{len(said['under'])} of {plural(len(document['faults']), 'fault')}"
    under = "under each fault" if said["kind"] == "holds" else f"under {broken}"
    return "; ".join([f"{document['flow']} {said['kind']} {under}: {found}", *unlike])


def case_name(fault: str, document: Document) -> str:
    """A fault in words."""
    return str(document["faults"].get(fault, "without a fault"))


def _cases(document: Document, paint: Paint) -> Iterator[str]:
    """Faults down; what the flow came to, and what the control did."""
    heads, *rows = _table(document)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    yield paint(_line(heads, widths), "dim")
    for row, case in zip(rows, document["cases"], strict=True):
        name, came, *more = [f"{text:<{width}}" for text, width in zip(row, widths, strict=True)]
        yield f"  {'  '.join([name, paint(came, STYLES.get(case['end'], 'red')), *more])}".rstrip()


def _table(document: Document) -> list[list[str]]:
    """Headings, and a row for each case."""
    control = document["control"]
    beside = {case["fault"]: word(case) for case in control["cases"]} if control["flow"] != document["flow"] else None
    heads = ["fault", document["flow"], *([f"{control['flow']}, the control"] if beside is not None else [])]
    rows = [[case_name(case["fault"], document), word(case)] for case in document["cases"]]
    if beside is not None:
        rows = [[*row, beside.get(case["fault"], "")] for row, case in zip(rows, document["cases"], strict=True)]
    return [heads, *rows]


def _line(texts: list[str], widths: list[int]) -> str:
    return f"  {'  '.join(f'{text:<{width}}' for text, width in zip(texts, widths, strict=True))}".rstrip()
