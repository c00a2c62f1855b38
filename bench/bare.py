"""A bare application on the HTTP server of `race serve`: what the server alone can do, and with one command.

Started as `python -m bench.bare PORT [SOCKET]`: it answers every POST with the same JSON; with the socket of a Redis
after an INCR. One process, as a worker of `race serve` is.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import uvloop
from granian.constants import HTTPModes, Interfaces, TaskImpl
from granian.server.embed import Server

from harness.stores import RedisConnection, RedisTarget

CONNECTIONS = 32
_HEADERS = [("content-type", "application/json")]


async def main(port: int, socket: str) -> None:
    """Serve until killed."""
    idle = [await RedisConnection.open(RedisTarget(path=socket)) for _ in range(CONNECTIONS)] if socket else []

    async def app(_scope: Any, protocol: Any) -> None:
        await protocol()
        value = 1
        if socket:
            connection = idle.pop()
            value = await connection.execute("INCR", "bench:bare")
            idle.append(connection)
        protocol.response_str(200, _HEADERS, json.dumps({"decision": "added", "values": {"value": value}}))

    await Server(
        app, "127.0.0.1", port, interface=Interfaces.RSGI, http=HTTPModes.auto, websockets=False,
        task_impl=TaskImpl.asyncio, log_enabled=False,
    ).serve()  # fmt: skip


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
