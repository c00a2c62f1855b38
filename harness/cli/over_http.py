"""race run at a service: --url for race serve, --target for one's own."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from harness.cli import output as out
from harness.cli.failure import tell
from harness.cli.options import Output, command_line, load_of, seed_or_new, stores_of
from harness.cli.progress import shown
from harness.cli.smallest import Smallest
from harness.model import UsageError

if TYPE_CHECKING:
    from harness.burst import Measurement, Progress
    from harness.http.site import Site

_NOT_HERE = {
    "strategy": "the service is what is tried",
    "duration_s": "bursts only",
    "keys": "bursts only",
    "think_ms": "nobody can add to what happens inside a service",
    "redis_url": "the service has its own",
    "postgres_url": "the service has its own",
    "connections": "every request of a burst has its own, or over HTTP/2 one is shared",
}
"""Options that mean nothing to a service, and why."""


def asked(options: dict[str, Any]) -> bool:
    """Whether the bursts go over HTTP."""
    return options["target"] is not None or options["url"] is not None


def run(context: click.Context, options: dict[str, Any]) -> int:
    """As `race run`, at a service."""
    from harness.http.engine import BUDGET_S
    from harness.http.engine import run as run_over_http
    from harness.http.site import HttpOptions
    from harness.judge import Recording
    from harness.report import result_screen
    from harness.results import result_document
    from harness.results.service import with_service

    for name, why in _NOT_HERE.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            parameter = next(one for one in context.command.params if one.name == name)
            raise UsageError(f"{parameter.opts[-1]} is not for --url and --target: {why}")
    if options["mode"] != "burst":
        raise UsageError("--mode sustained is not for --url and --target: bursts only")
    output, seed = Output.of(options), seed_or_new(options["seed"])
    load = load_of(options, seed)
    history: Path | None = options["history"]
    out.check(output, *([history] if history is not None else []))
    service = HttpOptions(
        url=options["url"] or "",
        target=options["target"],
        version="" if options["http_version"] == "auto" else options["http_version"],
        allow_hosts=tuple(options["allow_hosts"]),
        ca=options["ca_file"],
        insecure=options["insecure"],
    )
    smallest = Smallest(load)
    budget_s = BUDGET_S if options["budget_s"] is None else options["budget_s"]

    async def carry_out(progress: Callable[[Progress], None]) -> tuple[Measurement, Site]:
        measured, site = await run_over_http(
            options["scenario"],
            options["rule"],
            load,
            service,
            budget_s=budget_s,
            progress=progress,
            recording=Recording(history) if history is not None else None,
        )
        # Of a script that race serve was given only the name is known, by which another may be found here.
        if measured.complete and site.about.get("bundled"):
            whole = await smallest.look_behind(measured, stores_of(options))
            measured = dataclasses.replace(measured, complete=whole)
        return measured, site

    with shown(Path(options["scenario"]).stem, quiet=output.quiet) as progress:
        measured, site = asyncio.run(carry_out(progress))
    document = with_service(result_document(measured, reproduce=command_line(context, seed)), site)
    document = smallest.with_found(document, output, measured)
    code = out.result_code(document, output)
    out.deliver(document, output, result_screen(document, code, out.paint()))
    done = measured.counts.bursts
    if measured.complete and done < load.bursts and measured.duration_s >= budget_s and not output.quiet:
        tell(f"the time was up after {done:,} of {load.bursts:,} bursts: --budget gives it more")
    if history is not None and not output.quiet:
        click.echo(f"history saved in {history}", err=True)
    return code
