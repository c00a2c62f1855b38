"""The connection that waits on the spot: replies, refusals, a reply that takes its time, a server that goes away."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.model import CommandRefused, ConnectionLost
from harness.stores import DirectConnection, RedisTarget, connect
from tests.servers import PrivateValkey


def test_it_answers_at_once_and_after_a_while(redis: RedisTarget) -> None:
    """Whole replies, refusals that leave the connection usable, and a command that blocks for longer than a moment."""

    async def go() -> None:
        connection = await connect(redis)
        assert isinstance(connection, DirectConnection)
        big = b"x" * 300_000
        assert await connection.execute("SET", "race:direct", big, "PX", 5_000) == b"OK"
        assert await connection.execute("GET", "race:direct") == big
        with pytest.raises(CommandRefused, match="WRONGTYPE"):
            await connection.execute("LPUSH", "race:direct", "1")
        assert await connection.execute("DEL", "race:direct") == 1
        assert await connection.execute("BLPOP", "race:direct", 0.1) is None
        assert await connection.execute("PING") == b"PONG"
        await connection.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await connection.execute("PING")

    asyncio.run(go())


def test_whoever_stops_waiting_loses_the_connection(redis: RedisTarget) -> None:
    """The late reply must not be taken for the next command's."""

    async def go() -> None:
        connection = await connect(redis)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.execute("BLPOP", "race:direct", 5), 0.1)
        with pytest.raises(ConnectionLost):
            await connection.execute("PING")

    asyncio.run(go())


def test_a_server_that_dies_is_a_lost_connection(valkey: Callable[..., PrivateValkey]) -> None:
    """Said in a few words, to everybody who asks after that."""
    server = valkey()

    async def go() -> None:
        connection = await connect(server.target())
        server.process.kill()
        server.process.wait()
        for _again in range(2):
            with pytest.raises(ConnectionLost):
                await connection.execute("PING")
        with pytest.raises(ConnectionLost):
            await connect(replace(server.target(), path=f"{server.socket}-not-there"))

    asyncio.run(go())
