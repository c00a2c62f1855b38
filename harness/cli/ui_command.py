"""race ui: bursts started and watched in Locust's web UI, or by Locust's own flags without one."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import click

from harness.cli import completion
from harness.cli import output as out
from harness.cli.failure import INCONCLUSIVE, INTERRUPTED, OK, tell
from harness.cli.options import (
    BURST_SIZE,
    PROCESSES,
    SEED,
    THINK_MS,
    WORK_US,
    AtLeast,
    BurstSize,
    Output,
    Sectioned,
    output_options,
    seed_or_new,
    store_options,
    stores_of,
)
from harness.model import UsageError

if TYPE_CHECKING:
    from harness.results.build import Document
    from harness.ui import Role

MOST_BURSTS = 100_000
PORT, MASTER_PORT = 8089, 5557
_PORT = AtLeast(1, most=65_535, reason="ports end there")
_OURS = {
    "-f": "race brings its own locustfile",
    "--locustfile": "race brings its own locustfile",
    "-H": "race brings its stores: --redis-url, --postgres-url",
    "--host": "race brings its stores: --redis-url, --postgres-url",
    "--headless": "give it before --",
    "--headful": "leave --headless out",
    "--worker": "that is race worker",
    "--master": "give it before --",
    "--master-host": "that is race worker --master-host",
    "--master-port": "give it before --",
    "--master-bind-host": "give it before --",
    "--master-bind-port": "give it before --",
    "--processes": "race ui --master, and race worker as often as you like",
    "--web-host": "give it before --",
    "--web-port": "give --port before --",
    "-P": "give --port before --",
}
"""Flags of Locust that race gives itself, to what to do instead."""


def check_flags(flags: tuple[str, ...]) -> None:
    """Refuse Locust's flags that would take it out of race's hands. Raises UsageError."""
    for flag in flags:
        name = flag.split("=", 1)[0]
        if name in _OURS:
            raise UsageError(f"{name} cannot stand after --: {_OURS[name]}")


def check_port(host: str, port: int, option: str) -> None:
    """Refuse a port that somebody listens on, before anything is started. Raises UsageError."""
    address = "" if host == "*" else host
    try:
        family, kind, protocol, _name, where = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM,
                                                                  flags=socket.AI_PASSIVE)[0]  # fmt: skip
        with socket.socket(family, kind, protocol) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(where)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}; {option} chooses another") from None


def need_locust() -> None:
    """Raises UsageError where the extra is not installed."""
    from harness.ui import missing

    lacking = missing()
    if lacking is not None:
        raise UsageError(lacking)


@click.command("ui", cls=Sectioned)
@click.argument("scenario", shell_complete=completion.scenario)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="[-- LOCUST'S FLAGS]")
@click.option(
    "--strategy", required=True, metavar="NAME[:VARIANT]", shell_complete=completion.strategy,
    help="How the rule is protected; the form can choose others.",
)  # fmt: skip
@click.option("--rule", default="", metavar="NAME", help="One of the scenario's rules; the first without it.")
@click.option("--size", type=BurstSize(), default=BURST_SIZE, show_default=True, help="Users who meet in a burst.")
@click.option("--bursts", type=AtLeast(1), default=MOST_BURSTS, show_default=True, help="A test ends after so many.")
@click.option(
    "--processes", type=AtLeast(1, most=32, reason="each is a Python of its own that waits without sleeping"),
    default=PROCESSES, show_default=True, help="OS processes that a burst is spread over.",
)  # fmt: skip
@click.option("--work", "work_us", type=AtLeast(0), help="Length of the effect, microseconds.  [300]")
@click.option("--think", "think_ms", type=AtLeast(0, float), default=THINK_MS,
              help="Milliseconds added between check and write.")  # fmt: skip
@click.option("--seed", type=SEED, help="Draws the bursts; chosen and printed without it.")
@click.option("--headless", is_flag=True, help="No web UI: begin at once, end with Locust's -t, exit by the verdict.")
@click.option("--port", type=_PORT, default=PORT, show_default=True, help="Of the web UI.")
@click.option(
    "--web-host", default="127.0.0.1", show_default=True, metavar="HOST",
    help="Where the web UI listens. It has no password: whoever reaches it can start loads.",
)  # fmt: skip
@click.option("--master", is_flag=True, help="Bursts are made by race worker, on this machine or others.")
@click.option("--master-bind-host", default="127.0.0.1", show_default=True, metavar="HOST",
              help="Where workers reach the master.")  # fmt: skip
@click.option("--master-bind-port", type=_PORT, default=MASTER_PORT, show_default=True, help="Likewise.")
@store_options
@output_options
def command(scenario: str, flags: tuple[str, ...], **options: Any) -> int:
    """Fire bursts from Locust's web UI, and watch what they break.

    SCENARIO and the strategy are names (see race list) or scripts: ./my_rule.py

    \b
      race ui double-submit --strategy naive
      race ui double-submit --strategy lua --headless -- -u 20 -t 10s
    """  # fmt: skip  # noqa: D301
    need_locust()
    from harness.burst import Cell, Load
    from harness.burst.engine import bind_for
    from harness.ui import Host, Wanted

    output = Output.of(options)
    check_flags(flags)
    load = Load(
        processes=options["processes"], connections=options["size"], bursts=options["bursts"], size=options["size"],
        work_us=WORK_US if options["work_us"] is None else options["work_us"], think_ms=options["think_ms"],
        seed=seed_or_new(options["seed"]),
    )  # fmt: skip
    cell = Cell(scenario, options["strategy"], options["rule"])
    stores = stores_of(options)
    bound = bind_for(cell, load, stores)
    role: Role = "master" if options["master"] else "alone"
    own = []
    if role == "master":
        url = {"redis": stores.redis_url, "postgres": stores.postgres_url}[bound.strategy.store]
        if not url:
            raise UsageError(
                f"--master: {cell.strategy} needs a store that every worker reaches; give --{bound.strategy.store}-url"
                " here and to each race worker"
            )
        check_port(options["master_bind_host"], options["master_bind_port"], "--master-bind-port")
        own += ["--master", "--master-bind-host", options["master_bind_host"],
                "--master-bind-port", str(options["master_bind_port"])]  # fmt: skip
    if not options["headless"]:
        check_port(options["web_host"], options["port"], "--port")
        own += ["--web-host", options["web_host"], "--web-port", str(options["port"])]
    out.check(output)
    choices = _choices(cell)
    kept = _Kept(output, headless=options["headless"])
    wanted = Wanted(
        role=role, cell=cell, load=load, options=stores, scenarios=choices[0], strategies=choices[1], rules=choices[2],
        headless=options["headless"], quiet=output.quiet, flags=(*own, *flags),
    )  # fmt: skip
    host = Host(wanted, kept=kept, say=kept.say)
    interrupted = asyncio.run(host.run())
    return _code(kept, output, interrupted=interrupted)


class _Kept:
    """Each test's document, kept as it comes."""

    def __init__(self, output: Output, *, headless: bool) -> None:
        self.documents: list[Document] = []
        self._output = output
        self._headless = headless

    def __call__(self, document: Document) -> None:
        from harness.results.shelf import Shelf

        self.documents.append(document)
        if not self._headless:
            path = Shelf(self._output.results.folder).keep(document)
            self.say(f"{document['strategy']}: {document['verdict']}, {document['reason']}; saved in {path}")

    def say(self, line: str) -> None:
        if not self._output.quiet:
            click.echo(f"race: {line}", err=True)


def _choices(cell: Any) -> tuple[list[str], list[str], list[str]]:
    """What the form offers: what was asked for first, then all that there is."""
    from harness.strategy.loader import bundled, find_scenario, scenarios

    kinds = [*scenarios(), find_scenario(cell.scenario)]
    rules = dict.fromkeys(name for kind in kinds for name in kind().all_rules())
    return (
        list(dict.fromkeys([cell.scenario, *bundled("scenario")])),
        list(dict.fromkeys([cell.strategy, *bundled("strategy")])),
        list(rules),
    )


def _code(kept: _Kept, output: Output, *, interrupted: bool) -> int:
    """Without a web UI, by the verdict of the test; with one, ending it is no failure unless a test was cut short."""
    from harness.report import result_screen

    if not kept.documents:
        if interrupted:
            tell("interrupted")
            return INTERRUPTED
        return INCONCLUSIVE if kept._headless else OK  # noqa: SLF001 - the same file
    document = kept.documents[-1]
    code = out.result_code(document, output)
    if kept._headless:  # noqa: SLF001 - the same file
        out.deliver(document, output, result_screen(document, code, out.paint()))
        return code
    out.export(document, output.exports)
    return INTERRUPTED if interrupted else OK
