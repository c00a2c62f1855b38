"""The screen of a gate: every rule with its actual value and a mark, then what broke and how to see it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.caveats import caveats
from harness.report.figures import plural, seconds, wrapped
from harness.report.interleaving import draw
from harness.report.paint import Paint, plain
from harness.report.terminal import WIDTH, labelled, last_line

Document = Mapping[str, Any]

MARKS = {"passed": "ok", "failed": "FAIL", "unclear": "?"}
STYLES = {"passed": "green", "failed": "red", "inconclusive": "yellow", "unclear": "yellow"}
_LEAD = 8
"""Of a rule: its indent, its mark and a gap."""
_BELOW = 16
"""Of the lines below: `  INCONCLUSIVE  `."""
_WIDEST = 34
"""A rule that is longer has a line of its own."""
_NOTE = "the smallest that breaks"


def check_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race check` prints, from its document."""
    lines: list[str] = []
    column = _column(document)
    kept = [one for one in document["schedules"] if one["kept"]]
    saved = [one for one in document["schedules"] if not one["kept"]]
    for heading, schedules in (("Failed before, replayed first", kept), ("Saved schedules", saved)):
        block = _schedules(heading, schedules, column, paint) if schedules else []
        if heading.startswith("Failed"):
            lines += block
            lines += [line for cell in document["cells"] for line in _cell(cell, column, paint)]
        else:
            lines += block
    lines += _last(document, exit_code, paint)
    return "\n".join(lines) + "\n"


def _column(document: Document) -> int:
    """How wide the rules are."""
    rules = [*document["schedules"], *(one for cell in document["cells"] for one in cell["rules"])]
    return max((len(one["rule"]) for one in rules if len(one["rule"]) <= _WIDEST), default=0)


def counterexample_of(cell: Document) -> Document | None:
    """What broke, drawn: the smallest schedule where there is one."""
    for name in ("explored", "load"):
        document = cell[name]
        if document is not None and document["verdict"] == "violated" and document["counterexample"] is not None:
            found: Document = document["counterexample"]
            return found
    return None


def failed(cell: Document) -> bool:
    """Whether one of its rules failed."""
    return any(one["mark"] == "failed" for one in cell["rules"])


def drawn(counterexample: Document, width: int = WIDTH, paint: Paint = plain) -> list[str]:
    """The diagram of a failure."""
    smallest = "context_switches" in counterexample
    shown = {**counterexample, "fits": True} if smallest else counterexample
    return draw(shown, width, paint, note=_NOTE if smallest else "")


def _cell(cell: Document, column: int, paint: Paint) -> Iterator[str]:
    yield paint(cell["name"], "bold")
    for one, following in zip(cell["rules"], [*cell["rules"][1:], None], strict=True):
        yield from _rule(one, column, paint, again=not _same(one, following))
    found = counterexample_of(cell)
    if failed(cell) and found is not None:
        if cell["file"]:
            yield from _command("Replay", f"race replay {shlex.quote(cell['file'])}")
        yield ""
        yield from drawn(found, WIDTH, paint)
    yield ""


def _schedules(heading: str, schedules: list[Document], column: int, paint: Paint) -> list[str]:
    lines = [paint(heading, "bold")]
    for one in schedules:
        lines += _rule(one, column, paint)
        if one["mark"] == "failed" and one["counterexample"] is not None:
            lines += ["", *draw({**one["counterexample"], "fits": True}, WIDTH, paint, note="as it was scheduled")]
    return [*lines, ""]


def _same(one: Document, following: Document | None) -> bool:
    """Whether the next rule fails by the same measurement, and tells how to see it again."""
    return following is not None and following["mark"] != "passed" and following["reproduce"] == one["reproduce"]


def _rule(one: Document, column: int, paint: Paint, *, again: bool = True) -> Iterator[str]:
    """`  ok    violations == 0                 0`, then why, and the command that shows it."""
    mark = paint(f"{MARKS[one['mark']]:<{_LEAD - 2}}", STYLES[one["mark"]])
    text = one["rule"]
    if len(text) <= column:
        first, *rest = wrapped(one["actual"], WIDTH - _LEAD - column - 2)
        yield f"  {mark}{text:<{column}}  {first}"
        yield from (" " * (_LEAD + column + 2) + part for part in rest)
    else:
        yield f"  {mark}{text}"
        yield from (" " * (_LEAD + 2) + part for part in wrapped(one["actual"], WIDTH - _LEAD - 2))
    if one["mark"] == "passed":
        return
    if one["why"]:
        yield from (" " * _LEAD + part for part in wrapped(one["why"], WIDTH - _LEAD))
    if again and one["reproduce"]:
        yield from _command("Again", one["reproduce"])


def _command(label: str, text: str) -> Iterator[str]:
    yield from (" " * _LEAD + part for part in wrapped(f"{label:<8}{text}", WIDTH - _LEAD, " " * 8))


def _last(document: Document, exit_code: int, paint: Paint) -> Iterator[str]:
    counts = document["counts"]
    word = document["outcome"].upper() if document["complete"] else "INTERRUPTED"
    style = STYLES[document["outcome"]] if document["complete"] else "yellow"
    parts = [f"{counts['passed']:,} of {plural(sum(counts.values()), 'rule')} passed"]
    parts += [f"{counts['failed']:,} failed"] * bool(counts["failed"])
    parts += [f"{counts['unclear']:,} without an answer"] * bool(counts["unclear"])
    sentence = ", ".join(parts) if sum(counts.values()) else "nothing ran, so nothing was shown"
    yield f"  {paint(word, style)}{' ' * (_BELOW - 2 - len(word))}{sentence}"
    if document["baseline"] is not None:
        how = "same machine: figures as they are" if document["baseline"]["same_machine"] else (
            "another machine: ratios within each run"
        )  # fmt: skip
        yield from labelled("Baseline", f"{document['baseline']['file']}; {how}", paint, _BELOW)
    for one in caveats(document):
        yield from labelled("Mind", f"{one.kind}: {one.says}", paint, _BELOW)
    yield from last_line("Again", document["reproduce"], exit_code, document["duration_s"], paint, _BELOW)


def foretold_screen(document: Document, paint: Paint = plain) -> str:
    """What `race check --dry-run` prints."""
    lines = []
    if document["schedules"]:
        lines += [paint("Replayed", "bold"), *(f"  {path}" for path in document["schedules"]), ""]
    for cell in document["cells"]:
        lines.append(paint(f"{cell['name']}, on {cell['store']}", "bold"))
        for one in cell["measures"]:
            text = f"{one['what']}, at most {seconds(one['at_most_s'])}"
            lines += labelled(one["measure"], text, paint, 13)
        lines += labelled("must hold", "; ".join(cell["rules"]), paint, 13)
        lines.append("")
    nothing = "" if document["cells"] or document["schedules"] else ": there is nothing to run"
    lines.append(f"  at most {seconds(document['at_most_s'])} in all, seed {document['seed']}{nothing}")
    return "\n".join(lines) + "\n"
