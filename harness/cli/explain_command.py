"""race explain: half a page about a scenario or a strategy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from harness.cli import completion
from harness.cli import output as out
from harness.cli.failure import FOUND, INCONCLUSIVE, OK
from harness.cli.options import SEED, Sectioned, exports_of, results_option, store_options, stores_of, text_options
from harness.model import UsageError


@click.command("explain", cls=Sectioned)
@click.argument("name", shell_complete=completion.either)
@click.option(
    "--strategy",
    default="",
    metavar="NAME[:VARIANT]",
    shell_complete=completion.strategy,
    help="Show a scenario under this one; without it, one that breaks.",
)
@click.option(
    "--scenario",
    default="",
    metavar="NAME",
    shell_complete=completion.scenario,
    help="Show a strategy in this one; without it, a small one.",
)
@click.option("--rule", default="", metavar="NAME", help="One of the scenario's rules; the first without it.")
@click.option("--seed", type=SEED, default=1, show_default=True, help="Draws the burst.")
@click.option("--all", "whole", is_flag=True, help="The whole, not half a page.")
@store_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@text_options
@results_option
def command(name: str, **options: Any) -> int:
    """Explain NAME, a scenario or a strategy: its story, the interleaving, what protects, and what that costs.

    Half a page; --all tells the whole. The interleaving is found now, on a real store; the costs are of the latest
    results, or of the table that comes with race. Exit 1 where something does not go as its claim says.
    """  # fmt: skip
    from harness.cli.found import either
    from harness.gate.explaining import Explaining
    from harness.report.explanation import explanation_screen
    from harness.report.half_page import half_page
    from harness.results.save import check_file

    found = either("explain", name)
    if isinstance(found, tuple):
        if options["strategy"]:
            raise UsageError(f"{name} is a strategy: --scenario says in which scenario it is shown")
    elif options["scenario"]:
        raise UsageError(f"{name} is a scenario: --strategy says under which strategy it is shown")
    files = exports_of(options)
    for path in files.values():
        check_file(path)
    results: Path = options["results"]
    explaining = Explaining(stores_of(options), options["seed"], results)
    if isinstance(found, tuple):
        document = asyncio.run(explaining.strategy(name, options["scenario"], options["rule"]))
    else:
        document = asyncio.run(explaining.scenario(name, options["rule"], options["strategy"]))
    told = explanation_screen if options["whole"] else half_page
    screen = out.as_json(document) if options["as_json"] else told(document, out.paint())
    click.echo(screen, nl=False, color=True)
    out.export(document, files)
    pictures = document["interleavings"]
    if any(one["as_claimed"] is None for one in pictures):
        return INCONCLUSIVE
    return FOUND if any(one["as_claimed"] is False for one in pictures) else OK
