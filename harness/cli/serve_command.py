"""race serve: every scenario under every strategy as a service over HTTP."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import click

from harness.cli import completion
from harness.cli import output as out
from harness.cli.failure import OK
from harness.cli.options import AtLeast, Sectioned, names, store_options, stores_of
from harness.model import UsageError

if TYPE_CHECKING:
    from harness.serve import Serving

_PORT = AtLeast(0, most=65_535, reason="there are no more ports")
_WORKERS = AtLeast(1, most=32, reason="each is a Python of its own")


@click.command("serve", cls=Sectioned)
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...", shell_complete=completion.scenario)
@click.option(
    "--strategies",
    default="",
    metavar="A,B",
    shell_complete=completion.strategy,
    help="Names or scripts; all bundled ones without it.",
)
@click.option("--port", type=_PORT, default=8000, show_default=True, help="Where to listen; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", show_default=True, help="Loopback, unless told.")
@click.option("--workers", type=_WORKERS, default=2, show_default=True, help="OS processes that share the port.")
@click.option("--connections", type=AtLeast(1), default=32, show_default=True, help="Of a worker to a store, at most.")
@click.option("--certfile", default="", metavar="FILE", help="For HTTPS: a certificate, as PEM.")
@click.option("--keyfile", default="", metavar="FILE", help="And its key.")
@store_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, once it serves.")
@click.option("--quiet", is_flag=True, help="No remarks.")
def command(**options: Any) -> int:
    """Serve every scenario under every strategy over HTTP, on real stores, until Ctrl-C.

    SCENARIO may be a name (see race list) or a script; all bundled ones without any. HTTP/1.1 and HTTP/2.
    """  # fmt: skip
    from harness.serve import Address, Catalogue, serve

    catalogue = Catalogue.of(options["scenarios"], names(options["strategies"]))
    if options["workers"] > 1 and sys.platform != "linux":
        raise UsageError("worker processes share a port on Linux only: use --workers 1")
    address = Address(options["host"], options["port"], options["certfile"], options["keyfile"])

    def started(serving: Serving) -> None:
        if options["as_json"]:
            click.echo(out.as_json(_document(serving)), nl=False)
            sys.stdout.flush()
        elif not options["quiet"]:
            click.echo("\n".join(_screen(serving)), color=True)
            sys.stdout.flush()

    serving = serve(
        catalogue, address, started, options=stores_of(options), workers=options["workers"],
        connections=options["connections"],
    )  # fmt: skip
    asyncio.run(_until_told(serving))
    if not options["quiet"]:
        after = "\n" if sys.stderr.isatty() else ""  # of the terminal's own ^C
        click.echo(f"{after}ended, with everything that was started", err=True)
    return OK


async def _until_told(serving: Coroutine[Any, Any, None]) -> None:
    """Serve until Ctrl-C or SIGTERM, also where a shell that put this into the background has SIGINT ignored."""
    task = asyncio.ensure_future(serving)
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    telling = asyncio.ensure_future(told.wait())
    await asyncio.wait((task, telling), return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
    if not task.done():
        task.cancel()  # once: what is told again meanwhile must not end the ending
        await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


def _document(serving: Serving) -> dict[str, Any]:
    return {
        "url": serving.address.url,
        "workers": list(serving.pids),
        "stores": list(serving.stores),
        "scenarios": list(serving.catalogue.scenarios),
        "strategies": list(serving.catalogue.strategies),
    }


def _screen(serving: Serving) -> list[str]:
    from harness.serve.pages import Pages

    paint = out.paint()
    pages = Pages(serving.catalogue, len(serving.pids))
    pages.url = serving.address.url
    scenarios, strategies = len(serving.catalogue.scenarios), len(serving.catalogue.strategies)
    first = f"{next(iter(serving.catalogue.scenarios))}/{next(iter(serving.catalogue.strategies))}"
    return [
        f"{paint(pages.url, 'bold')}  {_number(len(serving.pids), 'worker')}, HTTP/1.1 and HTTP/2",
        f"{_number(scenarios, 'scenario')} under {_number(strategies, 'strategy', 'strategies')}",
        f"on {' and '.join(serving.stores)}",
        "",
        "One request, and the state that it leaves:",
        *pages.examples(),
        "Bursts of them, judged:",
        f"  race run {first.partition('/')[0]} --url {pages.url}/{first}",
        "",
        f"{pages.url}/ lists all there is. Ctrl-C ends it.",
    ]


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"
