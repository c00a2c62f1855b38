"""The owner process: it holds the state of every key and decides one message at a time.

Callers reach it over a local socket, one line of JSON for each request and each answer. Where each key has an owner of
its own, all of them live here, each with a mailbox, and send each other messages.
"""

from __future__ import annotations

import asyncio
import json
import socket
from functools import partial
from random import Random
from typing import Any

from harness.burst.mailbox import Letter, Mailbox
from harness.burst.session import Answer, LoadSession, VirtualProcess
from harness.model import (
    STUCK,
    ConnectionLost,
    Deadlocked,
    RaceError,
    Reply,
    Request,
    Rule,
    StoreFault,
    UsageError,
    described,
)
from harness.stores import PostgresConnection, RedisConnection
from harness.strategy import Strategy


class OwnerClient:
    """A worker's end: many callers share it, answers are matched by number."""

    def __init__(self) -> None:
        """Call `open` before use."""
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
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
                waiter.set_exception(Deadlocked() if fault == STUCK else ConnectionLost(fault))
            else:
                waiter.set_result((Reply(decision, values), now_ms, now_max_ms))
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(ConnectionLost("the owner is gone"))
        self._waiting.clear()

    async def ask(self, request: Request, of: str, *more: int) -> Answer:
        """Send a request to the owner of a key, its first if it is ""; the answer. Raises ConnectionLost, Deadlocked.

        `more` goes along: which cell is meant, where the owners of several share a process.
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
            of,
            *more,
        ]
        self._writer.write(json.dumps(message).encode() + b"\n")
        answer: Answer = await waiter
        return answer


class Owner:
    """Answers requests from every worker: one mailbox for all keys, or one for each."""

    def __init__(self, name: str, prefix: str) -> None:
        """`prefix` is the run's key prefix."""
        self.name = name
        self._prefix = prefix
        self._strategy: Strategy | None = None
        self._rule: Rule
        self._stores: dict[str, Any] = {}
        self._slow_ms = 0.0
        self._rng = Random()
        self._mailboxes: dict[str, Mailbox] = {}

    def bind(
        self,
        strategy: Strategy,
        rule: Rule,
        redis: RedisConnection | None,
        postgres: PostgresConnection | None,
        think_ms: float,
        slow_ms: float = 0.0,
    ) -> None:
        """Serve this strategy from now on, with a memory that knows nothing yet. Raises UsageError."""
        if strategy.per_key and postgres is not None:
            raise UsageError(f"{strategy.title}: owners of one key each share a connection, and so keep state in Redis")
        self._strategy, self._rule = strategy, rule
        self._stores = {"redis": redis, "postgres": postgres, "think_ms": think_ms, "rng": self._rng}
        self._slow_ms = slow_ms
        self._mailboxes = {}

    def commands(self) -> int:
        """Store commands sent since this was last asked."""
        count = 0
        for mailbox in self._mailboxes.values():
            count, mailbox.session.commands = count + mailbox.session.commands, 0
        return count

    async def listen(self, end: socket.socket) -> None:
        """Put what one worker sends into a mailbox."""
        reader, writer = await asyncio.open_connection(sock=end)
        while (line := await reader.readline()).endswith(b"\n"):  # who is killed in the middle of one has asked nothing
            self.take(writer, json.loads(line))
        writer.close()

    def take(self, writer: asyncio.StreamWriter, message: list[Any]) -> None:
        """Put a message into the mailbox it is for; its answer goes to `writer`."""
        number, operation, keys, args, id_, attempt, role, of = message
        request = Request(operation, tuple(keys), args, id_, attempt, role)
        answered = partial(_write, writer, number)
        if self._strategy is None:
            answered(ConnectionLost("the owner serves nothing yet"))
        else:
            self._mailbox(of or request.key).post(Letter(request, answered))

    def _mailbox(self, key: str) -> Mailbox:
        """That of the key's owner, which may be everybody's."""
        assert self._strategy is not None
        name = key if self._strategy.per_key else ""
        mailbox = self._mailboxes.get(name)
        if mailbox is None:
            session = LoadSession(self.name, self._prefix, VirtualProcess(), **self._stores)
            session.serve(self._strategy.scenario)
            session.slow_ms = self._slow_ms
            mailbox = self._mailboxes[name] = Mailbox(self._strategy, self._rule, session)
            if self._strategy.per_key:
                mailbox.meet(self._mailbox)
        return mailbox


def _write(writer: asyncio.StreamWriter, number: int, answer: Answer | Exception) -> None:
    """An answer, or why there is none, as a line."""
    if writer.is_closing():  # who asked was killed meanwhile; to write would end the mailbox, and everybody else wait
        return
    match answer:
        case StoreFault():
            told: list[Any] = [number, "", {}, 0, 0, answer.code]
        case RaceError():
            told = [number, "", {}, 0, 0, None, str(answer)]
        case Exception():  # the script is the user's
            told = [number, "", {}, 0, 0, None, described(answer)]
        case (reply, now_ms, now_max_ms):
            told = [number, reply.decision, dict(reply.values), now_ms, now_max_ms, None]
    writer.write(json.dumps(told).encode() + b"\n")
