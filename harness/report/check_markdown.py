"""A gate as Markdown, for GitHub's step summary: failures first, cut to the size that is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.caveats import caveats
from harness.report.check_screen import MARKS, counterexample_of, drawn, failed
from harness.report.figures import plural

Document = Mapping[str, Any]

MOST_BYTES = 1024 * 1024
"""GitHub takes 1 MiB for each step, and nothing of a summary that is longer."""
_CUT = "\n\n... cut: the rest is in the log of this step\n"


def check_markdown(document: Document, room: int = MOST_BYTES) -> str:
    """The whole of it, or as many whole blocks as fit into so many bytes."""
    blocks: list[str] = []
    room -= len(_CUT.encode())
    for block in _blocks(document):
        room -= len(block.encode())
        if room < 0:
            return "".join([*blocks, _CUT]) if blocks else ""
        blocks.append(block)
    return "".join(blocks)


def _blocks(document: Document) -> Iterator[str]:
    counts = document["counts"]
    told = f"{counts['passed']} of {plural(sum(counts.values()), 'rule')} passed"
    yield f"## race check: {document['outcome']}\n\n{told}. Again: `{document['reproduce']}`\n\n"
    cells = sorted(document["cells"], key=lambda cell: not failed(cell))
    for cell in cells:
        found = counterexample_of(cell)
        if failed(cell) and found is not None:
            lines = "\n".join(drawn(found, 100))
            yield f"### {_text(cell['name'])}\n\n{_text(found['says'])}\n\n```text\n{lines}\n```\n\n"
            if cell["file"]:
                yield f"Kept as `{cell['file']}`: `race replay {cell['file']}`\n\n"
    yield "| | cell | rule | actual |\n|---|---|---|---|\n"
    for one in document["schedules"]:
        yield _row("replayed", one)
    for cell in cells:
        for one in cell["rules"]:
            yield _row(cell["name"], one)
    for place, caveat in enumerate(caveats(document)):
        lead = "" if place else "\n"
        yield f"{lead}* {caveat.kind}: {_text(caveat.says)}\n"


def _row(name: str, one: Document) -> str:
    mark = MARKS[one["mark"]]
    mark = mark if one["mark"] == "passed" else f"**{mark}**"
    why = f"<br>{_text(one['why'])}" if one["why"] and one["mark"] != "passed" else ""
    again = f"<br>`{one['reproduce']}`" if one["reproduce"] and one["mark"] != "passed" else ""
    return f"| {mark} | {_text(name)} | {_text(one['rule'])} | {_text(one['actual'])}{why}{again} |\n"


def _text(text: str) -> str:
    """Whatever a script says, as plain text in a table."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace("|", "\\|").replace("\n", " ")
