"""The runs kept in a results folder, as a table: one line each, and below it what cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from harness.report.figures import count, cut, plural, wrapped
from harness.report.markdown import table_row
from harness.report.paint import VERDICT_STYLES, Paint, plain
from harness.report.terminal import WIDTH, labelled

Document = Mapping[str, Any]
Line = Mapping[str, Any]
"""Of the document `race.runs/1`."""

FIELDS = ("run", "started", "commit", "what", "found")
_COMMIT = 7
_DIRTY = "-dirty"
_MISSING = "-"
_WITHOUT_PAGE = {"verify"}
"""Commands whose documents are no tables."""
_STYLES = {**VERDICT_STYLES, "failed": "red", "passed": "green"}


def run_line(number: int | None, file: str, document: Document) -> Line:
    """What the list says of one document."""
    return {
        "run": number,
        "file": file,
        "started_at": document.get("started_at"),
        "commit": document.get("environment", {}).get("commit"),
        "what": title(document),
        "found": found(document),
        "complete": document.get("complete", True),
    }


def title(document: Document) -> str:
    """`run double-submit naive`, `compare double-submit`: what was asked."""
    command = _COMMANDS[document["schema"].removeprefix("race.").partition("/")[0]]
    named = document.get("config") or document.get("history") or document.get("scenario")
    return " ".join(part for part in (command, named, document.get("flow") or document.get("strategy")) if part)


def found(document: Document) -> str:
    """What came of it, in a few words; the verdict first where there is one."""
    kind = document["schema"].removeprefix("race.").partition("/")[0]
    return _FOUND[kind](document)


def runs_screen(document: Document, paint: Paint = plain) -> str:
    """What `race report list` prints."""
    runs: Sequence[Line] = document["runs"]
    if not runs and not document["unreadable"]:
        return f"  no runs in {document['folder']}\n  run, compare, explore, isolation and check keep theirs there\n"
    rows = [texts_of(line) for line in runs]
    widths = [max(len(text) for text in column) for column in zip(FIELDS, *rows, strict=True)]
    room = WIDTH - 2 - sum(widths[:3]) - 2 * 4 - widths[4]
    widths[3] = min(widths[3], max(room, 20))
    lines = [paint(_row(FIELDS, widths), "dim")] if rows else []
    for row in rows:
        *before, last = row
        style = _STYLES.get(last.split(",")[0].split(" ")[0], "")
        line = _row(before, widths[:4])
        lines.append(f"{line:<{2 + sum(widths[:4]) + 6}}  {paint(last, style) if style else last}")
    if document["before"]:
        lines.append(paint(f"  {count(document['before'])} before these: --last N", "dim"))
    lines += [""] if rows and document["unreadable"] else []
    for one in document["unreadable"]:
        lines += [f"  {paint('unreadable', 'yellow')}  {one['file']}"]
        lines += [f"{' ' * 14}{part}" for part in wrapped(one["problem"], WIDTH - 15)]
    pages = [line for line in runs if line["what"].split(" ")[0] not in _WITHOUT_PAGE]
    if pages:
        last = pages[-1]["run"] if pages[-1]["run"] is not None else "latest"
        lines += ["", *labelled("Show", f"race report html {last}", paint)]
    if len(rows) > 1:
        lines += [*labelled("Compare", "race report diff latest~1 latest", paint)]
    return "\n".join(lines) + "\n"


def runs_markdown(document: Document) -> str:
    """The same as Markdown."""
    lines = [table_row([*FIELDS]), table_row(["--:", ":--", ":--", ":--", ":--"])]
    lines += [table_row(texts_of(line)) for line in document["runs"]]
    lines += ["", *(f"* unreadable: `{one['file']}`: {one['problem']}" for one in document["unreadable"])]
    return "\n".join(lines).rstrip() + "\n"


def runs_csv(document: Document) -> str:
    """One line for each run that can be read."""
    from harness.report.comma_separated import lines_of

    names = ("run", "file", "started_at", "commit", "what", "found", "complete")
    return lines_of(names, ([line[name] for name in names] for line in document["runs"]))


def short_commit(commit: str | None) -> str:
    """`3fa2c91`, with a `+` where the folder was changed since."""
    if commit is None:
        return _MISSING
    return commit.removesuffix(_DIRTY)[:_COMMIT] + ("+" if commit.endswith(_DIRTY) else "")


def texts_of(line: Line) -> list[str]:
    """One text for each of FIELDS."""
    started = line["started_at"]
    when = _MISSING if started is None else datetime.fromisoformat(started).strftime("%m-%d %H:%M")
    number = _MISSING if line["run"] is None else str(line["run"])
    return [number, when, short_commit(line["commit"]), line["what"], line["found"]]


def _row(texts: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(texts, widths, strict=True)
    parts = [f"{first[0]:>{first[1]}}", *(f"{cut(text, width):<{width}}" for text, width in others)]
    return f"  {'  '.join(parts)}".rstrip()


def _verdict(document: Document) -> str:
    """`violated`, and whether that is other than claimed."""
    unlike = ", NOT as claimed" if document["as_claimed"] is False else ""
    return f"{document['verdict']}{unlike}{_cut_short(document)}"


def _compared(document: Document) -> str:
    rows = document["rows"]
    unlike = sum(row["as_claimed"] is False for row in rows)
    unclear = sum(row["as_claimed"] is None for row in rows)
    if unlike:
        return f"failed, {unlike} of {len(rows)} NOT as claimed{_cut_short(document)}"
    if unclear:
        return f"inconclusive, {unclear} of {len(rows)} unclear{_cut_short(document)}"
    return f"{len(rows)} as claimed{_cut_short(document)}"


def _isolated(document: Document) -> str:
    differs = len(document["differs"])
    if document["reason"]:
        return "inconclusive"
    return "as expected" if document["as_expected"] and not differs else f"failed, {plural(differs, 'case')} differs"


def _flows(document: Document) -> str:
    cells = [cell["as_claimed"] for one in document["flows"] for cell in one["cells"]]
    if unlike := cells.count(False):
        return f"failed, {unlike} of {len(cells)} NOT as claimed{_cut_short(document)}"
    if unclear := cells.count(None):
        return f"inconclusive, {unclear} of {len(cells)} unclear{_cut_short(document)}"
    return f"{len(cells)} as claimed{_cut_short(document)}"


def _checked(document: Document) -> str:
    counts = document["counts"]
    return f"{document['outcome']}, {counts['passed']} of {sum(counts.values())}{_cut_short(document)}"


def _cut_short(document: Document) -> str:
    if document.get("complete", True):
        return ""
    late = document["schema"].startswith("race.comparison/") and document.get("reason")
    return " (not complete)" if late else " (interrupted)"


_COMMANDS = {
    "result": "run", "comparison": "compare", "exploration": "explore", "isolation": "isolation", "check": "check",
    "verification": "verify", "matrix": "compare --all",
    "table": "compare --table", "flows": "compare --flow", "flow": "run --flow",
}  # fmt: skip
_FOUND: Mapping[str, Callable[[Document], str]] = {
    "result": _verdict, "comparison": _compared, "exploration": _verdict, "isolation": _isolated, "check": _checked,
    "verification": lambda document: str(document["verdict"]), "matrix": _compared,
    "table": _compared, "flows": _flows, "flow": _verdict,
}  # fmt: skip
