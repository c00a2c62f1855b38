"""What every command that measures does with its document: check first, show, keep."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from harness.cli.failure import FOUND, INCONCLUSIVE, INTERRUPTED, OK
from harness.report.paint import Paint, coloured, plain
from harness.results.save import check_file, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.cli.options import Output
    from harness.results.build import Document


def check(output: Output, *others: Path) -> None:
    """Refuse before any load what could not be written after it. Raises UsageError."""
    output.results.check()
    for path in (*output.exports.values(), *others):
        check_file(path)


def deliver(document: Document, output: Output, screen: str) -> None:
    """Print the document or its screen, then write the files that were asked for. Raises UsageError."""
    click.echo(as_json(document) if output.as_json else screen, nl=False, color=True)
    sys.stdout.flush()
    export(document, output.exports)
    path = output.results.keep(document)
    if not output.quiet and sys.stderr.isatty():
        click.echo(f"saved in {path}", err=True)


def export(document: Document, files: Mapping[str, Path]) -> None:
    """Write the files that were asked for: format to file. Raises UsageError."""
    from harness.report import forms_of

    for form, path in files.items():
        write_file(path, as_json(document) if form == "json" else forms_of(document)[form](document))


def as_json(document: Document) -> str:
    """The document as text."""
    return json.dumps(document, indent=2) + "\n"


def paint() -> Paint:
    """Colours on a terminal that wants them."""
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return coloured if wanted else plain


def result_code(document: Document, output: Output) -> int:
    """The exit code of `race run`."""
    if not document["complete"]:
        return INTERRUPTED
    code = {"violated": FOUND, "inconclusive": INCONCLUSIVE}.get(document["verdict"], OK)
    return OK if code == FOUND and output.exit_zero else code


def isolation_code(document: Document, output: Output) -> int:
    """The exit code of `race isolation`: what was seen to differ outweighs what showed nothing."""
    if not document["complete"]:
        return INTERRUPTED
    if any(differing["prevents"] is not None for differing in document["differs"]):
        return OK if output.exit_zero else FOUND
    return INCONCLUSIVE if document["reason"] or document["differs"] else OK


def flows_code(document: Document, output: Output) -> int:
    """The exit code of `race compare --flow`: a failed claim outweighs one that could not be tried."""
    if not document["complete"]:
        return INTERRUPTED
    if document["as_claimed"] is False:
        return OK if output.exit_zero else FOUND
    return OK if document["as_claimed"] else INCONCLUSIVE


def flow_code(document: Document, output: Output) -> int:
    """The exit code of `race run --flow`: as of `race run`, and 1 where a case is not as claimed."""
    code = result_code(document, output)
    return FOUND if code == OK and document["as_claimed"] is False and not output.exit_zero else code


def comparison_code(document: Document, output: Output) -> int:
    """The exit code of `race compare`: a failed claim outweighs one that could not be tried."""
    if not document["complete"] and not document.get("reason"):
        return INTERRUPTED
    met = [row["as_claimed"] for row in document["rows"]]
    if False in met:
        return OK if output.exit_zero else FOUND
    return INCONCLUSIVE if None in met or not met or document.get("missing") else OK
