"""A worker process of `race serve`: an HTTP server on the shared port, and a line to the parent.

When stdin ends the parent is dead, and so is the worker at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import uvloop

from harness.burst import Cell
from harness.burst.child import keep_answers_apart, pin, say
from harness.burst.owner import OwnerClient
from harness.burst.serving import Cells
from harness.serve.app import App
from harness.serve.catalogue import Catalogue
from harness.serve.link import Link
from harness.serve.pages import Pages
from harness.serve.pool import Pool
from harness.serve.service import Patience, Service
from harness.stores import Targets

_BACKLOG = 1024
_IDLE_MS = 600_000
"""A client may keep a connection for as long between two requests: it is warm for the next burst."""


class Worker:
    """One process that serves."""

    def __init__(self, hello: dict[str, Any]) -> None:
        """`hello` is the first line from the parent."""
        self.number: int = hello["worker"]
        self.link = Link(self._told)
        self.pages = Pages(Catalogue(**hello["catalogue"]), hello["workers"])
        self.app = App(self.link, self.pages)
        self._hello = hello
        self._pools = {kind: Pool(hello["connections"]) for kind in ("redis", "postgres")}
        self._cells = Cells()
        self._owner_ends = [socket.socket(fileno=fd) for fd in hello["owner_fds"]]
        self._owners: list[OwnerClient] = []
        self._patience = Patience()
        self._running: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect to the owners, and listen. Raises OSError where the port or a certificate cannot be used."""
        from granian.constants import HTTPModes, Interfaces, TaskImpl
        from granian.http import HTTP1Settings
        from granian.server.embed import Server

        self._owners = [await OwnerClient().open(end) for end in self._owner_ends]
        hello = self._hello
        secure: dict[str, Any] = (
            {"ssl_cert": Path(hello["certfile"]), "ssl_key": Path(hello["keyfile"])} if hello["certfile"] else {}
        )
        server = Server(
            self.app, hello["host"], hello["port"], interface=Interfaces.RSGI, http=HTTPModes.auto, websockets=False,
            task_impl=TaskImpl.asyncio, backlog=_BACKLOG, log_enabled=False,
            http1_settings=HTTP1Settings(header_read_timeout=_IDLE_MS), **secure,
        )  # fmt: skip
        serving = asyncio.create_task(server.serve())
        serving.add_done_callback(_ended)
        self._running = [serving, asyncio.create_task(self._patience.watch())]

    def _told(self, line: dict[str, Any]) -> None:
        """What the parent tells everybody."""
        match line["tell"]:
            case "started":
                self.pages.url, self.pages.pids, self.pages.stores = line["url"], line["pids"], line["stores"]
            case "cell":
                self._open(line)
            case "known":
                service, _ready = self.app.opened[line["cell"]]
                service.known.update(line["keys"])
            case "broken":
                service, _ready = self.app.opened[line["cell"]]
                service.broke(line["broken"])

    def _open(self, line: dict[str, Any]) -> None:
        bound = self._cells.load(Cell(**line["cell"]))
        strategy = bound[1]
        targets = Targets.from_description(line["stores"])
        number = line["number"]
        pool = self._pools[strategy.store]
        service = Service(number, bound, targets, pool, self._patience, f"{self.number}-{number}")
        if strategy.owned:
            service.owner = self._owners[self.number % strategy.owners], number
        self.app.opened[number] = service, asyncio.create_task(service.warm())


def _ended(running: asyncio.Task[None]) -> None:
    """A worker that serves no more is no use: its last words are its parent's."""
    error = None if running.cancelled() else running.exception()
    sys.stderr.write(f"the HTTP server ended: {error or 'it said nothing'}\n")
    sys.stderr.flush()
    os._exit(3)


async def main() -> None:
    """Serve until stdin ends."""
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    hello = json.loads(await reader.readline())
    # Before the server starts its threads. Left to the kernel, those of two workers share a core while another idles:
    # requests that came together are then handled one after the other.
    pin(hello["worker"], hello["workers"])
    worker = Worker(hello)
    await worker.open()
    say({"what": "ready"})
    while line := await reader.readline():
        worker.link.take(json.loads(line))
    os._exit(0)  # the parent is gone: nothing is left to tell anybody


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides what Ctrl-C means, and ends its workers
        signal.signal(number, signal.SIG_IGN)
    keep_answers_apart()
    uvloop.run(main())
