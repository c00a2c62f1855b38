"""race isolation: what each isolation level of a PostgreSQL prevents, tried."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import output as out
from harness.cli.failure import FOUND, OK
from harness.cli.options import Output, command_line, output_options, store_options, stores_of
from harness.cli.progress import shown
from harness.model import RaceError, StoreFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.burst import StoresOptions
    from harness.explore.isolation import Played
    from harness.stores import StoreInfo


@click.command("isolation")
@store_options
@output_options
@click.option("--export-markdown", type=click.Path(path_type=Path), metavar="FILE", help="Write it as Markdown.")
@click.option("--export-csv", type=click.Path(path_type=Path), metavar="FILE", help="Write it as CSV.")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Play the anomalies of transaction isolation on a PostgreSQL, at each level, one step at a time.

    Exit 1 where a cell is not what PostgreSQL's documentation and the Hermitage suite say.
    """  # fmt: skip
    import uvloop

    from harness.explore.isolation import EXPECTED
    from harness.report.isolation import isolation_csv, isolation_markdown, isolation_screen
    from harness.results.isolation import isolation_document

    output = Output.of(options)
    out.check(output)
    began, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    with shown("isolation", quiet=output.quiet) as progress:
        played, infos = uvloop.run(_played(stores_of(options), progress))
    document = isolation_document(
        played,
        EXPECTED,
        infos,
        reproduce=command_line(context, None),
        started_at=started_at,
        duration_s=time.monotonic() - began,
    )
    code = OK if document["as_expected"] or output.exit_zero else FOUND
    exports = {"json": out.as_json, "markdown": isolation_markdown, "csv": isolation_csv}
    out.deliver(document, output, isolation_screen(document, code, out.paint()), exports)
    return code


async def _played(
    options: StoresOptions, progress: Callable[[Any], None]
) -> tuple[list[Played], list[StoreInfo]]:  # fmt: skip
    from harness.burst import Progress
    from harness.explore.isolation import CASES, LEVELS, Unplayable, play
    from harness.stores import Stores

    def tell(done: int) -> None:
        progress(Progress("isolation", done, len(CASES) * len(LEVELS), "cases"))

    async with Stores(
        postgres_url=options.postgres_url, allow_hosts=options.allow_hosts, need={"postgres"}
    ) as stores:  # fmt: skip
        try:
            played = await play(stores, progress=tell)
        except RaceError:
            raise
        except StoreFault as fault:
            raise Unplayable(f"PostgreSQL was lost or refused: {fault}; run it again") from None
        lost = await stores.lost()
        if lost is not None:
            raise Unplayable(f"a store was lost: {lost}; run it again")
        return played, list(stores.infos)
