"""race run --flow: one attempt, carried one way, under each fault."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from harness.cli import output as out
from harness.cli.flow_table import STRATEGY, opened
from harness.cli.options import Output, command_line, faults_of, names, seed_or_new, stores_of
from harness.cli.progress import shown
from harness.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.burst import StoresOptions
    from harness.burst.cells import Bound
    from harness.flows import FlowRun
    from harness.stores import StoreInfo

_HERE = {
    "scenario", "strategy", "rule", "flow", "faults", "seed", "redis_url", "postgres_url", "allow_hosts", "as_json",
    "results", "quiet", "exit_zero",
}  # fmt: skip
"""Options that mean something to one attempt; exports do, too."""
EXPLORE = (
    "a flow is carried by processes that are really killed, which no scheduler can step through: take race run"
    " SCENARIO --flow NAME; plain code, --flow inline, is what race explore SCENARIO --faults all takes anyhow"
)


def flow_run(context: click.Context, options: dict[str, Any]) -> int:
    """As `race run`, of one attempt; the exit code."""
    from harness.burst.cells import bind
    from harness.burst.plan import Cell, Load
    from harness.flows import faults_named, flows_named, refuse
    from harness.report.flow import flow_screen
    from harness.results.flow import flow_document
    from harness.results.flows import AskedFlows

    for parameter in context.command.params:
        name = parameter.name or ""
        said = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if said and name not in _HERE and not name.startswith("export_"):
            raise UsageError(f"{parameter.opts[-1]} is not for --flow: one attempt is made under each fault, no load")
    output, seed = Output.of(options), seed_or_new(options["seed"])
    flows, faults = flows_named(names(options["flow"])), faults_named(faults_of(options))
    if len(flows) != 1:
        several = ",".join(flows) or "all"
        raise UsageError(f"--flow runs one at a time; several: race compare {options['scenario']} --flow {several}")
    (flow,) = flows
    bound = bind(Cell(options["scenario"], options["strategy"] or STRATEGY, options["rule"]), Load())
    refuse(bound, flows)
    out.check(output)
    began, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    with shown(Path(bound.cell.scenario).stem, quiet=output.quiet) as progress:
        run, infos = asyncio.run(_made(bound, stores_of(options), flow, faults, seed, progress))
    asked = AskedFlows(bound, seed, infos, command_line(context, seed), started_at, time.monotonic() - began)
    document = flow_document(run, asked)
    code = out.flow_code(document, output)
    out.deliver(document, output, flow_screen(document, code, out.paint()))
    return code


async def _made(
    bound: Bound, options: StoresOptions, flow: str, faults: list[str], seed: int, progress: Callable[[Any], None]
) -> tuple[FlowRun, list[StoreInfo]]:
    from harness.flows import flow_run as made

    async with opened(bound, options) as stores:
        return await made(bound, stores, flow, faults, seed, progress), list(stores.infos)
