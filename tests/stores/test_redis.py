"""Connections to Redis and Valkey."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.model import CommandRefused, ConnectionLost
from harness.stores import RedisConnection, RedisTarget
from harness.stores import redis as module


@pytest.fixture
def key(redis: RedisTarget) -> Iterator[str]:
    """A key that is gone afterwards."""
    name = f"race-test:{secrets.token_hex(4)}"
    yield name

    async def clean() -> None:
        connection = await RedisConnection.open(redis)
        await connection.execute("DEL", name)
        await connection.close()

    asyncio.run(clean())


def test_replies(redis: RedisTarget, key: str) -> None:
    """Every kind of reply arrives as it is."""

    async def ask() -> list[Any]:
        connection = await RedisConnection.open(redis)
        replies = [
            await connection.execute("SET", key, b"\x00\r\n\xff"),
            await connection.execute("GET", key),
            await connection.execute("GET", f"{key}:none"),
            await connection.execute("STRLEN", key),
            await connection.execute("MGET", key, f"{key}:none"),
            await connection.execute("EVAL", "return {1, {'a'}}", 0),
        ]
        await connection.close()
        return replies

    assert [reply.encode() if isinstance(reply, str) else reply for reply in asyncio.run(ask())] == [
        b"OK",
        b"\x00\r\n\xff",
        None,
        4,
        [b"\x00\r\n\xff", None],
        [1, [b"a"]],
    ]


def test_refusal(redis: RedisTarget, key: str) -> None:
    """An error reply is raised with its code, and the connection goes on."""

    async def ask() -> tuple[str, Any]:
        connection = await RedisConnection.open(redis)
        await connection.execute("SET", key, "text")
        try:
            await connection.execute("LPUSH", key, "x")
        except CommandRefused as refused:
            return refused.code, await connection.execute("GET", key)
        finally:
            await connection.close()
        return "", None

    assert asyncio.run(ask()) == ("WRONGTYPE", b"text")


def test_pipelined_replies_keep_their_order(redis: RedisTarget) -> None:
    """Commands sent without waiting are answered each with its own reply, large ones among them."""

    async def ask() -> list[Any]:
        connection = await RedisConnection.open(redis)
        texts = [str(number) * (50_000 if number % 7 == 0 else 1) for number in range(200)]
        replies = await asyncio.gather(*(connection.execute("ECHO", text) for text in texts))
        await connection.close()
        return [reply.decode() == text for reply, text in zip(replies, texts, strict=True)]

    assert asyncio.run(ask()) == [True] * 200


def test_cancelled_command_does_not_shift_replies(redis: RedisTarget) -> None:
    """Whoever waits after a cancelled command gets its own reply."""

    async def ask() -> Any:
        connection = await RedisConnection.open(redis)
        connection.execute("ECHO", "first").cancel()
        reply = await connection.execute("ECHO", "second")
        await connection.close()
        return reply

    assert asyncio.run(ask()) == b"second"


def test_argument_that_cannot_be_sent_does_not_shift_replies(redis: RedisTarget) -> None:
    """A command that cannot be packed raises at once, and whoever comes next gets its own reply."""

    async def ask() -> Any:
        connection = await RedisConnection.open(redis)
        with pytest.raises(TypeError):
            connection.execute("ECHO", None)  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            reply = await connection.execute("ECHO", "second")
        await connection.close()
        return reply

    assert asyncio.run(ask()) == b"second"


def test_dropped_connection(redis: RedisTarget, key: str) -> None:
    """A command under way when the connection goes, and any later one, raise ConnectionLost."""

    async def ask() -> list[type[BaseException]]:
        connection, other = await RedisConnection.open(redis), await RedisConnection.open(redis)
        number = await connection.execute("CLIENT", "ID")
        waiting = connection.execute("BLPOP", key, 0)
        await other.execute("CLIENT", "KILL", "ID", number)
        outcomes = await asyncio.gather(waiting, return_exceptions=True)
        outcomes += await asyncio.gather(connection.execute("PING"), return_exceptions=True)
        await connection.close()
        await other.close()
        return [type(outcome) for outcome in outcomes]

    assert [ConnectionLost, ConnectionLost] == asyncio.run(ask())


def test_stopped_server(valkey: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and never answers is given up."""
    monkeypatch.setattr(module, "_PATIENCE_S", 0.1)
    server = valkey("--requirepass", "secret")
    server.send(signal.SIGSTOP)
    with pytest.raises(ConnectionLost, match="no answer"):
        asyncio.run(RedisConnection.open(server.target(password="secret")))


def test_not_redis(caplog: pytest.LogCaptureFixture) -> None:
    """Something else that answers there is recognised, without a complaint of the event loop."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _address = server.accept()
            client.recv(1000)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.close()

        thread = threading.Thread(target=answer)
        thread.start()

        async def ask() -> None:
            connection = await RedisConnection.open(RedisTarget(port=server.getsockname()[1]))
            await connection.execute("PING")

        with pytest.raises(ConnectionLost, match="no Redis"):
            asyncio.run(ask())
        thread.join()
    assert caplog.text == ""
