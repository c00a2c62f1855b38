"""Requests a second of `race serve`, over those of a bare application on the same HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

from bench import peers
from bench.figures import Figure, Spread, ratio
from harness.stores import RedisTarget, Stores

CONNECTIONS = 16
_START_S = 20.0
_PATH = "/counter/atomic/user:1/add"


async def serving(rounds: int, seconds: float) -> list[Figure]:
    """One worker and sixteen connections that stay open, over HTTP/1.1; by turns, with the store of both."""
    program = peers.wrk()
    same = f"POST requests a second of one worker of race serve, counter under atomic, {CONNECTIONS} connections of wrk"
    figures = {
        "race serve / bare app with INCR": f"{same}, over those of a bare app on the same server that sends one INCR",
        "race serve / bare app": f"{same}, over those of a bare app that answers at once: no store, no decision",
    }
    if program is None:
        return [
            Figure(name, told, skipped="no wrk on the PATH (Debian: apt install wrk)") for name, told in figures.items()
        ]
    rates: dict[str, list[float]] = {"race": [], "bare app with INCR": [], "bare app": []}
    async with Stores(need={"redis"}) as stores:
        assert isinstance(stores.redis, RedisTarget)
        path = stores.redis.path
        async with _race(path) as race, _bare(path) as incr, _bare() as bare:
            for _ in range(rounds):
                for name, port in zip(rates, (race, incr, bare), strict=True):
                    rates[name].append(await peers.http_requests_per_s(program, port, _PATH, CONNECTIONS, seconds))
    return [
        Figure(
            name, told, value=ratio(rates["race"], theirs),
            parts={"race serve, requests/s": Spread.over(rates["race"]), f"{other}, requests/s": Spread.over(theirs)},
        )
        for name, told in figures.items()
        if (theirs := rates[other := name.partition(" / ")[2]])
    ]  # fmt: skip


@contextlib.asynccontextmanager
async def _child(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def _race(path: str) -> AsyncIterator[int]:
    """The port of a `race serve` on this Redis."""
    arguments = ("counter", "--strategies", "atomic", "--workers", "1", "--port", "0", "--json")
    async with _child("harness", "serve", *arguments, "--redis-url", f"unix://{path}") as process:
        assert process.stdout is not None
        text = ""
        async with asyncio.timeout(_START_S):
            while not text.endswith("\n}\n"):
                text += (await process.stdout.readline()).decode()
        told: dict[str, Any] = json.loads(text)
        yield int(told["url"].rpartition(":")[2])


@contextlib.asynccontextmanager
async def _bare(path: str = "") -> AsyncIterator[int]:
    """The port of a bare app."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    async with _child("bench.bare", str(port), path):
        async with asyncio.timeout(_START_S):
            while True:
                with contextlib.suppress(OSError):
                    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield port
