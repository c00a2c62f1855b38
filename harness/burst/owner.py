"""The owner process: it holds the state of every key and decides one message at a time.

Callers reach it over a local socket, one line of JSON for each request and each answer.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from typing import Any

from harness.burst.session import LoadSession, VirtualProcess
from harness.model import ConnectionLost, RaceError, Reply, Request, Rule, StoreFault, UsageError, described, no_reply
from harness.stores import PostgresConnection, RedisConnection
from harness.strategy import Strategy


class OwnerClient:
    """A worker's end: many callers share it, answers are matched by number."""

    def __init__(self) -> None:
        """Call `open` before use."""
        self._waiting: dict[int, asyncio.Future[tuple[Reply, int, int]]] = {}
        self._next = 0
        self._writer: asyncio.StreamWriter
        self._reading: asyncio.Task[None]

    async def open(self, end: socket.socket) -> OwnerClient:
        """Take over a connected socket."""
        reader, self._writer = await asyncio.open_connection(sock=end)
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            number, decision, values, now_ms, now_max_ms, fault, *broken = json.loads(line)
            waiter = self._waiting.pop(number, None)
            if waiter is None or waiter.done():
                continue
            if broken:
                waiter.set_exception(UsageError(broken[0]))
            elif fault is not None:
                waiter.set_exception(ConnectionLost(fault))
            else:
                waiter.set_result((Reply(decision, values), now_ms, now_max_ms))
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(ConnectionLost("the owner is gone"))
        self._waiting.clear()

    async def ask(self, request: Request, *more: int) -> tuple[Reply, int, int]:
        """Send a request; the owner's answer, and when it decided (Unix ms). Raises ConnectionLost.

        `more` goes along: which owner is meant, where several share a process.
        """
        if self._reading.done():
            raise ConnectionLost("the owner is gone")
        self._next += 1
        number = self._next
        waiter = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = [
            number,
            request.operation,
            request.keys,
            dict(request.args),
            request.id,
            request.attempt,
            request.role,
            *more,
        ]
        self._writer.write(json.dumps(message).encode() + b"\n")
        answer: tuple[Reply, int, int] = await waiter
        return answer


class Owner:
    """Answers requests from every worker, one at a time unless the strategy is re-entrant."""

    def __init__(self, name: str, prefix: str) -> None:
        """`prefix` is the run's key prefix."""
        self.name = name
        self._prefix = prefix
        self._process = VirtualProcess()
        self._strategy: Strategy | None = None
        self._rule: Rule
        self._session: LoadSession
        self._mailbox: deque[tuple[asyncio.StreamWriter, list[Any]]] = deque()
        self._arrived = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    def bind(
        self,
        strategy: Strategy,
        rule: Rule,
        redis: RedisConnection | None,
        postgres: PostgresConnection | None,
        think_ms: float,
        slow_ms: float = 0.0,
    ) -> None:
        """Serve this strategy from now on, with a memory that knows nothing yet."""
        self._process = VirtualProcess()
        self._strategy, self._rule = strategy, rule
        self._session = LoadSession(
            self.name, self._prefix, self._process, redis=redis, postgres=postgres, think_ms=think_ms
        )
        self._session.serve(strategy.scenario)

        self._session.slow_ms = slow_ms

    def commands(self) -> int:
        """Store commands sent since this was last asked."""
        if self._strategy is None:
            return 0
        count, self._session.commands = self._session.commands, 0
        return count

    async def listen(self, end: socket.socket) -> None:
        """Put what one worker sends into the mailbox."""
        reader, writer = await asyncio.open_connection(sock=end)
        while line := await reader.readline():
            self.take(writer, json.loads(line))

    def take(self, writer: asyncio.StreamWriter, message: list[Any]) -> None:
        """Put a message into the mailbox; its answer goes to `writer`."""
        self._mailbox.append((writer, message))
        self._arrived.set()

    async def serve(self) -> None:
        """Take one message after the other, for ever."""
        while True:
            while not self._mailbox:
                self._arrived.clear()
                await self._arrived.wait()
            writer, message = self._mailbox.popleft()
            if self._strategy is not None and self._strategy.reentrant:
                task = asyncio.create_task(self._answer(writer, message))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            else:
                await self._answer(writer, message)

    async def _answer(self, writer: asyncio.StreamWriter, message: list[Any]) -> None:
        number, operation, keys, args, id_, attempt, role = message
        request = Request(operation, tuple(keys), args, id_, attempt, role)
        try:
            if self._strategy is None:
                raise ConnectionLost("the owner serves nothing yet")  # noqa: TRY301 - one way to answer
            session = self._session
            session.now_at_ms = session.now_max_ms = 0
            reply = await self._strategy.own(session, request, self._rule)
            if type(reply) is not Reply:
                raise UsageError(no_reply(self._strategy.own, reply))  # noqa: TRY301 - one way to answer
            answer = json.dumps(
                [number, reply.decision, dict(reply.values), session.now_at_ms, session.now_max_ms, None]
            )
        except StoreFault as fault:
            answer = json.dumps([number, "", {}, 0, 0, fault.code])
        except RaceError as error:
            answer = json.dumps([number, "", {}, 0, 0, None, str(error)])
        except Exception as error:  # the script is the user's
            answer = json.dumps([number, "", {}, 0, 0, None, described(error)])
        writer.write(answer.encode() + b"\n")
