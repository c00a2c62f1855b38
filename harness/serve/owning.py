"""A process of `race serve` that serves all workers: an owner, or a daemon, of each cell whose strategy has any."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

import uvloop

from harness.burst import Cell
from harness.burst.child import keep_answers_apart, say
from harness.burst.owner import Owner
from harness.burst.serving import Background, Cells, connected
from harness.model import RaceError, StoreFault, described
from harness.stores import Targets


class Owners:
    """The owners and daemons of this process by their cell's number, and what reaches them."""

    def __init__(self, number: int) -> None:
        """None yet. `number`: of the owners or daemons of a strategy, this process has that one."""
        self._number = number
        self._cells = Cells()
        self._owners: dict[int, Owner] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def hold(self, running: Any) -> None:
        """Keep a task alive."""
        task = asyncio.create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def own(self, line: dict[str, Any]) -> None:
        """One more cell. Raises StoreFault, RaceError."""
        targets = Targets.from_description(line["stores"])
        _scenario, strategy, rule = self._cells.load(Cell(**line["cell"]))
        number = line["number"]
        if strategy.owned and self._number < strategy.owners:
            owner = Owner(f"owner {self._number}", targets.prefix)
            owner.bind(strategy, rule, *await connected(targets, strategy.store), think_ms=0.0, slow_ms=0.0)
            self._owners[number] = owner
        background = Background(self._number, targets)
        await background.bind(strategy, rule, think_ms=0.0)
        self.hold(self._watch(number, background))

    @staticmethod
    async def _watch(number: int, background: Background) -> None:
        """Tell the parent once a daemon has ended: whoever waits for it waits for nothing."""
        await background.ended()
        if background.broken is not None:
            say({"cell": number, "broken": str(background.broken)})

    async def listen(self, end: socket.socket) -> None:
        """Hand each message of a worker to the owner that is meant."""
        reader, writer = await asyncio.open_connection(sock=end)
        while line := await reader.readline():
            *message, number = json.loads(line)
            self._owners[number].take(writer, message)


async def main() -> None:
    """Own until stdin ends."""
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    hello = json.loads(await reader.readline())
    owners = Owners(hello["owner"])
    for fd in hello["owner_fds"]:
        owners.hold(owners.listen(socket.socket(fileno=fd)))
    say({"what": "ready"})
    while line := await reader.readline():
        try:
            await owners.own(json.loads(line))
        except (RaceError, StoreFault) as error:
            say({"refused": [503, str(error)]})
        except Exception as error:  # a script is the user's
            say({"refused": [500, described(error)]})
        else:
            say({"what": "owned"})
    os._exit(0)  # the parent is gone: nothing is left to tell anybody


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides what Ctrl-C means, and ends its owners
        signal.signal(number, signal.SIG_IGN)
    keep_answers_apart()
    uvloop.run(main())
