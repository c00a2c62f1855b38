"""A gate as GitHub's workflow commands: each failure at the file and line where a reader would look first.

The form and its escapes are those of the runner's own toolkit (actions/toolkit, packages/core/src/command.ts).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.check_screen import counterexample_of

Document = Mapping[str, Any]

_PLACE = re.compile(r"([^\s:]+\.(?:py|toml)):(\d+): ")

MOST = 10
"""GitHub shows so many errors, and so many warnings, of each step."""


def github_annotations(document: Document, root: str) -> list[str]:
    """One line for each cell or schedule that failed or says nothing; files as seen from `root`, the repository."""
    found = sorted(_all(document), key=lambda one: one[0] != "error")
    kept = [one for one in found if one[0] == "error"][:MOST] + [one for one in found if one[0] != "error"][:MOST]
    return [
        f"::{level} file={_property(os.path.relpath(file, root))},line={line},title={_property(title)}::{_data(text)}"
        for level, file, line, title, text in kept
    ]


def github_refusal(message: str, root: str) -> str:
    """The line for what was refused before anything ran: at the script's own line, where the message names one."""
    found = _PLACE.search(message)
    place = f" file={_property(os.path.relpath(found[1], root))},line={found[2]}," if found else " "
    return f"::error{place}title=race check::{_data(message)}"


def _all(document: Document) -> Iterator[tuple[str, str, int, str, str]]:
    for one in document["schedules"]:
        if one["mark"] != "passed":
            text = f"{one['actual']}: {one['why']}\n{one['reproduce']}"
            yield _level(one["mark"]), document["config"], 1, f"race: {one['rule']}", text
    for cell in document["cells"]:
        wrong = [one for one in cell["rules"] if one["mark"] != "passed"]
        if not wrong:
            continue
        level = _level("failed" if any(one["mark"] == "failed" for one in wrong) else "unclear")
        lines = [f"{one['rule']}: {one['actual']}" + (f": {one['why']}" if one["why"] else "") for one in wrong]
        found = counterexample_of(cell)
        if cell["file"] and found is not None:
            lines.append(f"race replay {cell['file']}")
        lines += dict.fromkeys(one["reproduce"] for one in wrong if one["reproduce"])
        yield level, cell["source"]["file"], cell["source"]["line"], f"race: {cell['name']}", "\n".join(lines)


def _level(mark: str) -> str:
    return "error" if mark == "failed" else "warning"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
