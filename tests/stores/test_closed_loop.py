"""Callers of a closed loop: their replies, their errors, and whatever else they await, as of a task of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from harness.burst.closed_loop import POSSIBLE, Caller, LentConnection, callers
from harness.burst.session import LoadSession, VirtualProcess
from harness.model import CommandRefused, ConnectionLost
from harness.stores import RedisConnection, RedisTarget

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="this system has no epoll")


@pytest.fixture
def key(redis: RedisTarget) -> Iterator[str]:
    """A name of its own; all that begins with it is removed."""
    name = f"race:test-{secrets.token_hex(6)}:k"
    yield name

    async def remove() -> None:
        connection = await RedisConnection.open(redis)
        at: Any = 0
        while True:
            at, found = await connection.execute("SCAN", at, "MATCH", f"{name}*", "COUNT", 1000)
            if found:
                await connection.execute("DEL", *found)
            if int(at) == 0:
                break
        await connection.close()

    asyncio.run(remove())


Work = Callable[[LoadSession, str], Awaitable[Any]]


async def _session(target: RedisTarget, name: str) -> LoadSession:
    return LoadSession(name, "", VirtualProcess(), redis=await RedisConnection.open(target))


def played(target: RedisTarget, key: str, *works: Work) -> list[Any]:
    """What each of them came to, side by side, each with a session of its own; then what its connection says."""

    async def all_of_it() -> list[Any]:
        sessions = [await _session(target, f"c{number}") for number in range(len(works))]
        found: list[Any] = [None] * len(works)

        async def one(number: int) -> None:
            found[number] = await works[number](sessions[number], key)

        with callers(sessions) as begin:
            begun = begin([one(number) for number in range(len(works))])
            assert all(isinstance(caller, Caller) for caller in begun)
            for caller in asyncio.as_completed(begun, timeout=10):
                with contextlib.suppress(asyncio.CancelledError):
                    await caller
        for session in sessions:
            with contextlib.suppress(ConnectionLost):
                assert await session.redis("ECHO", "as before") == b"as before"
            await session.close()
        return found

    return asyncio.run(all_of_it())


def test_everybody_gets_his_own_reply(redis: RedisTarget, key: str) -> None:
    """Many at once, one command after the other, an error among them."""

    async def adds(session: LoadSession, key: str) -> int:
        for _ in range(200):
            await session.redis("INCR", key)
        with pytest.raises(CommandRefused, match="WRONGTYPE"):
            await session.redis("LPUSH", key, "x")
        own = f"{key}:{session.caller}"
        await session.redis("SET", own, session.caller)
        assert await session.script("return redis.call('GET', KEYS[1])", (own,)) == session.caller.encode()
        return int(await session.redis("GET", key))

    found = played(redis, key, *([adds] * 8))
    assert max(found) == 1600


def test_what_else_is_awaited(redis: RedisTarget, key: str) -> None:
    """Pauses, others' turns, locks, several commands at once, tasks beside, limits of time."""

    async def work(session: LoadSession, key: str) -> list[Any]:
        told: list[Any] = []
        async with session.mutex("m"):
            await asyncio.sleep(0)
            await session.sleep_ms(2)
            several = [session.redis("APPEND", f"{key}:{session.caller}", letter) for letter in "abc"]
            told.append(await asyncio.gather(*several))
        first, second = session.redis("ECHO", "1"), session.redis("ECHO", "2")
        told.append([await second, await first])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.redis("BLPOP", f"{key}:nothing", "0.4")
        await asyncio.sleep(0.5)  # what it was given up for comes, and is nobody's
        told.append(await session.redis("GET", f"{key}:{session.caller}"))

        async def beside(own: Any) -> None:
            await own.redis("SET", f"{key}:beside", "1")
            await asyncio.sleep(60)

        async with session.beside("another", beside):
            while await session.redis("GET", f"{key}:beside") is None:
                await session.sleep_ms(1)
        return told

    expected = [[1, 2, 3], [b"2", b"1"], b"abc"]
    assert played(redis, key, work, work, work) == [expected] * 3


def test_much_at_once(redis: RedisTarget, key: str) -> None:
    """More than fits into a socket, both ways."""

    async def work(session: LoadSession, key: str) -> bool:
        much = b"x" * 3_000_000
        await session.redis("SET", f"{key}:{session.caller}", much)
        return bool(await session.redis("GET", f"{key}:{session.caller}") == much)

    assert played(redis, key, work, work) == [True, True]


def test_replies_that_come_in_pieces(redis: RedisTarget, key: str) -> None:
    """A piece of a reply may look like a whole one; what comes after it is not shifted."""
    over = asyncio.Event()

    async def piecemeal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies, theirs = (
            await asyncio.open_unix_connection(redis.path)
            if redis.path
            else await asyncio.open_connection(redis.host, redis.port)
        )
        with contextlib.suppress(OSError):
            while asked := await reader.read(1 << 16):
                theirs.write(asked)
                for piece in (await replies.read(1 << 16)).splitlines(keepends=True):
                    writer.write(piece)
                    for _ in range(8):  # so that it is read before the next one comes
                        await asyncio.sleep(0)
        for end in (theirs, writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()
        over.set()

    async def work() -> list[Any]:
        server = await asyncio.start_server(piecemeal, "127.0.0.1", 0)
        session = await _session(RedisTarget(port=server.sockets[0].getsockname()[1]), "a")
        told: list[Any] = []

        async def asks() -> None:
            for value in ("+OK\r\n", "$-1\r\n", "x" * 400 + "\r\n:1\r\n"):
                told.append(await session.redis("SET", key, value, "EX", "60"))
                told.append(await session.redis("GET", key))
                told.append(await session.redis("GET", f"{key}:nothing"))
            told.append(await asyncio.gather(*(session.redis("EXISTS", name) for name in (key, f"{key}:nothing"))))

        with callers([session]) as begin:
            (begun,) = begin([asks()])
            await asyncio.wait([begun], timeout=5)
        begun.result()
        await session.close()
        await over.wait()
        server.close()
        return told

    values = [b"+OK\r\n", b"$-1\r\n", b"x" * 400 + b"\r\n:1\r\n"]
    assert asyncio.run(work()) == [told for value in values for told in (b"OK", value, None)] + [[1, 0]]


def test_a_connection_that_ends(redis: RedisTarget, key: str) -> None:
    """Whoever waits is told, whoever comes later too, and the others go on."""

    async def ends(session: LoadSession, key: str) -> str:
        number = await session.redis("CLIENT", "ID")
        other = await RedisConnection.open(redis)
        waiting = session.redis("BLPOP", f"{key}:nothing", 0)
        await other.execute("CLIENT", "KILL", "ID", number)
        await other.close()
        with pytest.raises(ConnectionLost):
            await waiting
        with pytest.raises(ConnectionLost):
            await session.redis("PING")
        return "told"

    async def ends_itself(session: LoadSession, _key: str) -> int:
        """Its last reply and the end come together: two commands are not answered, so that somebody still waits."""
        number = await session.redis("CLIENT", "ID")
        first = session.redis("CLIENT", "REPLY", "SKIP")
        waiting = session.redis("PING")
        session.redis("CLIENT", "KILL", "ID", number, "SKIPME", "no")
        told = int(await first)
        with pytest.raises(ConnectionLost):
            await waiting
        return told

    async def goes_on(session: LoadSession, key: str) -> int:
        for _ in range(50):
            await session.redis("INCR", key)
            await session.sleep_ms(1)
        return int(await session.redis("GET", key))

    assert played(redis, key, ends, ends_itself, goes_on) == ["told", 1, 50]


def test_who_is_cancelled_is_told_where_he_waits(redis: RedisTarget, key: str) -> None:
    """At a reply, at a pause; and a connection with a reply still to come is used no more."""

    async def work() -> None:
        sessions = [await _session(redis, name) for name in "ab"]
        told: list[str] = []

        async def waits(session: LoadSession, what: Awaitable[Any]) -> None:
            try:
                await what
            except asyncio.CancelledError:
                told.append(session.caller)
                raise

        with callers(sessions) as begin:
            begun = begin([
                waits(sessions[0], _blocked(sessions[0], key)), waits(sessions[1], asyncio.sleep(60)),
            ])  # fmt: skip
            await asyncio.sleep(0.05)
            for caller in begun:
                caller.cancel()
            done, late = await asyncio.wait(begun, timeout=5)
            assert (len(done), len(late)) == (2, 0)
            assert all(caller.cancelled() for caller in begun)
        assert sorted(told) == ["a", "b"]
        with pytest.raises(ConnectionLost):
            await sessions[0].redis("PING")
        assert await sessions[1].redis("PING") == b"PONG"
        for session in sessions:
            await session.close()

    async def _blocked(session: LoadSession, key: str) -> None:
        await session.redis("BLPOP", f"{key}:nothing", 0)

    asyncio.run(work())


def test_what_a_caller_raises_is_its_own(redis: RedisTarget, key: str) -> None:
    """An error of one ends that one."""

    async def work() -> None:
        sessions = [await _session(redis, name) for name in "ab"]

        async def fails() -> None:
            await sessions[0].redis("PING")
            raise LookupError("mine")

        async def goes_on() -> None:
            await sessions[1].redis("SET", key, "1")

        with callers(sessions) as begin:
            failed, good = begin([fails(), goes_on()])
            await asyncio.wait([failed, good], timeout=5)
        assert isinstance(failed.exception(), LookupError)
        assert good.exception() is None
        for session in sessions:
            await session.close()

    asyncio.run(work())


def test_what_cannot_be_lent_is_used_as_it_is() -> None:
    """Sessions without a connection to Redis run as tasks."""

    async def work() -> None:
        session = LoadSession("a", "", VirtualProcess())

        async def nothing() -> None:
            await asyncio.sleep(0)

        with callers([session]) as begin:
            (begun,) = begin([nothing()])
            assert isinstance(begun, asyncio.Task)
            await begun

    asyncio.run(work())


def test_something_that_cannot_be_awaited(redis: RedisTarget) -> None:
    """It says so, as a task would."""

    class Odd:
        def __await__(self) -> Any:
            yield 17

    async def work() -> None:
        session = await _session(redis, "a")

        async def odd() -> None:
            await Odd()

        with callers([session]) as begin:
            (begun,) = begin([odd()])
            await asyncio.wait([begun], timeout=5)
        assert isinstance(begun.exception(), RuntimeError)
        assert not isinstance(session._redis, LentConnection)
        await session.close()

    asyncio.run(work())
