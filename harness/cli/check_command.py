"""race check: what must hold, from race.toml; a gate for CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import output as out
from harness.cli.failure import FOUND, INCONCLUSIVE, INTERRUPTED, OK, tell
from harness.cli.options import SEED, Output, output_options, quoted, store_options, stores_of, without_secret
from harness.cli.progress import shown
from harness.model import UsageError

if TYPE_CHECKING:
    from harness.burst import Progress, StoresOptions
    from harness.gate import Plan
    from harness.results.build import Document

_FILES = ("save_baseline", "junit")


@click.command("check")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Instead of race.toml.")
@click.option("--init", is_flag=True, help="Write a race.toml to begin with.")
@click.option("--dry-run", is_flag=True, help="Print what would be run, on which store, for how long.")
@click.option("--seed", type=SEED, help="Instead of the file's.")
@click.option("--baseline", type=click.Path(path_type=Path), metavar="FILE", help="Costs must be no worse than there.")
@click.option("--save-baseline", type=click.Path(path_type=Path), metavar="FILE", help="Write such a file.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write JUnit XML.")
@click.option(
    "--github/--no-github", default=None, help="Annotations and step summary; by itself under GITHUB_ACTIONS."
)
@store_options
@output_options
def command(**options: Any) -> int:
    """Try everything that race.toml (or [tool.race] in pyproject.toml) asks for.

    Each rule is printed with its actual value. Exit 1: one failed; 3: one has no answer, or nothing ran.
    """  # fmt: skip
    try:
        return _run(options)
    except UsageError as error:
        if _on_github(options):
            from harness.report.github import github_refusal

            click.echo(github_refusal(str(error), os.environ.get("GITHUB_WORKSPACE", ".")), err=True)
        raise


def _run(options: dict[str, Any]) -> int:
    from harness.gate import FILE, Baseline, Check, find_plan, foretell, write_first
    from harness.report import check_screen, foretold_screen

    output = Output.of(options)
    if options["init"]:
        path: Path = options["config"] or Path(FILE)
        write_first(path)
        click.echo(f"wrote {path}; next: race check")
        return OK
    plan = find_plan(options["config"])
    plan = plan if options["seed"] is None else replace(plan, seed=options["seed"])
    stores = stores_of(options)
    if options["dry_run"]:
        foretold = foretell(plan, stores)
        click.echo(out.as_json(foretold) if output.as_json else foretold_screen(foretold, out.paint()), nl=False)
        return OK if foretold["cells"] or foretold["schedules"] else INCONCLUSIVE
    if not plan.cells and not plan.schedules:
        tell(f"{plan.path} names no cells and no schedules: nothing ran, so nothing was shown")
        return INCONCLUSIVE
    out.check(output, *(options[name] for name in _FILES if options[name] is not None))
    baseline = Baseline(options["baseline"], plan.tolerance) if options["baseline"] is not None else None
    document = _checked(Check(plan, stores, _nobody, baseline, _again(options, stores)), plan, quiet=output.quiet)
    code = _code(document, output)
    screen = check_screen(document, code, out.paint())
    _written(document, options)
    out.deliver(document, output, screen)
    if _on_github(options):
        _tell_github(document)
    return code


def _on_github(options: dict[str, Any]) -> bool:
    """Asked for, or by itself."""
    wanted: bool | None = options["github"]
    return os.environ.get("GITHUB_ACTIONS") == "true" if wanted is None else wanted


def _nobody(_title: str, _progress: Progress) -> None:
    pass


def _checked(check: Any, plan: Plan, *, quiet: bool) -> Document:
    with shown(str(plan.path), quiet=quiet) as progress:

        def told(title: str, one: Progress) -> None:
            progress(replace(one, what=title))

        check.told = told
        document: Document = check.run()
        return document


def _code(document: Document, output: Output) -> int:
    """A failed rule outweighs one without an answer."""
    if not document["complete"]:
        return INTERRUPTED
    code = {"failed": FOUND, "passed": OK}.get(document["outcome"], INCONCLUSIVE)
    return OK if code == FOUND and output.exit_zero else code


def _again(options: dict[str, Any], stores: StoresOptions) -> str:
    """The command that does this again; an address with a password is given by its variable."""
    words: list[str] = ["race", "check"]
    words += _given("--config", options["config"])
    words += _given("--seed", options["seed"])
    words += _given("--baseline", options["baseline"])
    for flag, variable, url in (
        ("--redis-url", "RACE_REDIS_URL", stores.redis_url),
        ("--postgres-url", "RACE_POSTGRES_URL", stores.postgres_url),
    ):
        if url and os.environ.get(variable) != url:
            words += [flag, without_secret(url, flag)]
    for host in stores.allow_hosts:
        words += ["--allow-host", host]
    return " ".join(map(quoted, words))


def _given(flag: str, value: Any) -> Iterable[str]:
    return [] if value is None else [flag, str(value)]


def _written(document: Document, options: dict[str, Any]) -> None:
    """The files that only a check writes. Raises UsageError."""
    from harness.results.save import write_file

    if options["junit"] is not None:
        from harness.report.junit import check_junit

        write_file(options["junit"], check_junit(document))
    if options["save_baseline"] is not None and document["complete"]:  # half of it would take the place of a whole one
        write_file(options["save_baseline"], out.as_json(document))


def _tell_github(document: Document) -> None:
    """Annotations on stderr, which the runner reads as well, so that `--json` stays one document; the step summary."""
    from harness.report import github_annotations
    from harness.report.check_markdown import MOST_BYTES, check_markdown

    for line in github_annotations(document, os.environ.get("GITHUB_WORKSPACE", ".")):
        click.echo(line, err=True)
    sys.stderr.flush()
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return
    path = Path(place)
    try:
        before = path.stat().st_size if path.exists() else 0
        with path.open("a", encoding="utf-8") as summary:
            summary.write(check_markdown(document, MOST_BYTES - before))
    except OSError as error:
        tell(f"cannot write the step summary {path}: {error.strerror}")
