"""The screen of `race doctor`: a line for each check, and under it what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.figures import seconds
from harness.report.paint import Paint, plain
from harness.report.terminal import WIDTH

Document = Mapping[str, Any]

MARKS = {"ok": "ok", "warning": "warn", "failed": "FAIL", "untried": "-"}
STYLES = {"ok": "green", "warning": "yellow", "failed": "red", "untried": "dim"}
_ENDS = {
    "ok": "race can work here",
    "warning": "race can work here; what warns costs something",
    "failed": "race cannot work with what fails",
}
_COLUMN = 24


def doctor_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race doctor` prints, from its document."""
    lines: list[str] = []
    for group in document["groups"]:
        lines += [paint(group["title"], "bold"), *(line for check in group["checks"] for line in _check(check, paint))]
        lines.append("")
    state = document["state"]
    end = f"exit {exit_code}, {seconds(document['duration_s'])}"
    lines.append(f"{paint(_ENDS[state], STYLES[state])}{end:>{WIDTH - len(_ENDS[state])}}")
    return "\n".join(lines) + "\n"


def _check(check: Document, paint: Paint) -> Iterator[str]:
    mark = MARKS[check["state"]]
    lead = f"  {paint(mark, STYLES[check['state']])}{'':<{6 - len(mark)}}{check['name']}"
    lead += " " * (_COLUMN - 8 - len(check["name"]))
    for text in (check["says"], f"do: {check['remedy']}" if check["remedy"] else ""):
        for line in textwrap.wrap(text, WIDTH - _COLUMN, break_on_hyphens=False):
            yield lead + line
            lead = " " * _COLUMN
