"""race report: results that were kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli import output as out
from harness.cli.commands import Suggesting
from harness.cli.failure import OK
from harness.cli.options import AtLeast, exports_of, results_option, table_options


@click.group("report", cls=Suggesting)
def command() -> None:
    """Results that were kept: RUN is a number, latest, latest~1 (the one before it), or a file."""


@command.command("list")
@click.option("--last", type=AtLeast(1), default=30, show_default=True, metavar="N", help="So many.")
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@table_options
def list_runs(results: Path, last: int, as_json: bool, **options: Any) -> int:
    """Runs that were kept, the latest last, and what cannot be read."""
    from harness.report.kept import runs_screen
    from harness.results.runs import runs_document

    document = runs_document(results, last)
    screen = out.as_json(document) if as_json else runs_screen(document, out.paint())
    click.echo(screen, nl=False, color=True)
    out.export(document, exports_of(options))
    return OK


@command.command("diff", short_help="What changed between two runs, or two comparisons.")
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@table_options
def diff(first: str, second: str, results: Path, as_json: bool, **options: Any) -> int:
    """What changed between two runs, or two comparisons: each figure with an interval, and one of four words.

    improved, regressed: the interval shows it, and it matters. no change: it shows that none matters. within noise:
    neither, or there is no interval; why is told.
    """  # fmt: skip
    from harness.report.difference import difference_screen
    from harness.results.difference import difference_document
    from harness.results.read import find_document, making_sense

    one, other = find_document(first, results), find_document(second, results)
    with making_sense(Path(f"{one[0]} or {other[0]}")):
        document = difference_document(one, other)
    click.echo(out.as_json(document) if as_json else difference_screen(document, out.paint()), nl=False, color=True)
    out.export(document, exports_of(options))
    return OK


@command.command("html", short_help="A run as a page: one file, for the screen and for paper.")
@click.argument("run", metavar="RUN")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Instead of NAME-OF-THE-RUN.html.")
@results_option
def html(run: str, output: Path | None, results: Path) -> int:
    """A run as a page: one file without network or script, light and dark, for the screen and for paper."""
    from harness.model import UsageError
    from harness.report import forms_of
    from harness.results.read import find_document, making_sense
    from harness.results.save import write_file

    path, document = find_document(run, results)
    make = forms_of(document).get("html")
    if make is None:
        raise UsageError(f"there is no page of a {document['schema']}")
    file = output or Path(f"{path.stem}.html")
    with making_sense(path):
        text = make(document)
    write_file(file, text)
    click.echo(f"wrote {file}")
    return OK
