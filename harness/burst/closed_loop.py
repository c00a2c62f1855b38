"""Callers of a closed loop that go on the moment their reply is there: no future, and no turn of the event loop.

With dozens of callers in one process that is a sixth of what a fast command costs. One poll tells
which connections have something; a reply is handed to the caller that waits for it, on the spot. Whatever
else a caller awaits (a pause, a lock, somebody's answer) it waits for as a task of asyncio does.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

import hiredis

from harness.model import CommandRefused, ConnectionLost
from harness.stores.network import why

if TYPE_CHECKING:
    import socket

    from harness.stores import RedisConnection

POSSIBLE = hasattr(select, "epoll")
"""Whether this system has what it takes."""
_MOST_BYTES = 1 << 16
_FEW_BYTES = 400
"""A reply is seldom longer, and so small a piece of memory costs next to nothing."""
_ROUNDS = 16
"""So often it looks for replies before everybody else of the process has a turn."""
_PATIENCE_MS = 4_000
_NEWS = getattr(select, "EPOLLIN", 0)
_ONCE = _NEWS | getattr(select, "EPOLLRDHUP", 0) | getattr(select, "EPOLLET", 0)
"""What is there is told once, when it comes: else the kernel would look at every connection again in the next turn."""
_PARKED = object()
_NOT_SEEN = object()
_AT_SIGHT: dict[bytes, Any] = {b"+OK\r\n": b"OK", b"$-1\r\n": None, b":0\r\n": 0, b":1\r\n": 1}
"""Replies that need no parser."""
_pack: Callable[[tuple[str | float | bytes, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment] # its stub says one word
_ReplyError = hiredis.ReplyError
_enter: Callable[[asyncio.AbstractEventLoop, Any], None] = asyncio._enter_task  # noqa: SLF001 - "Extending" of its docs
_leave: Callable[[asyncio.AbstractEventLoop, Any], None] = asyncio._leave_task  # noqa: SLF001


class LentConnection:
    """A connection whose socket is read and written here while it is lent. Replies come in the order of the commands.

    Its caller is resumed on the spot; anybody else who awaits a reply (a task beside the caller) gets a future.
    """

    def __init__(self, owner: RedisConnection, end: socket.socket) -> None:
        """`end` is the owner's socket, at which it does not look meanwhile."""
        self.database = owner.database
        self.caller: Caller
        self.end = end
        self.sent = self.answered = 0
        self.inside = False
        """Whether it is its caller who runs just now."""
        self.parked = 0
        """The number of the reply that the caller waits for on the spot; 0: none."""
        self.lost: str | None = None
        self.early: dict[int, Any] = {}
        """Replies that nobody has awaited yet, by number."""
        self.futures: dict[int, asyncio.Future[Any]] = {}
        self.reader = hiredis.Reader()
        self.begun = False
        """Whether the reader may hold the beginning of a reply whose rest is still to come."""
        self.loop: ClosedLoop | None = None
        """Who looks for replies."""
        self._owner = owner
        self.push = end.send
        """Send bytes, or as many of them as fit."""

    def execute(self, *command: str | float | bytes) -> Awaitable[Any]:
        """Send a command; await its reply. Raises CommandRefused, ConnectionLost."""
        return self.send(command)

    def send(self, command: tuple[str | float | bytes, ...]) -> Awaitable[Any]:
        """The same for who has the words in a tuple already."""
        if self.lost is not None:
            raise ConnectionLost(self.lost)
        packed = _pack(command)
        self.sent = number = self.sent + 1
        loop = self.loop
        if loop is not None and loop.turning:
            loop.outbox.append((self, self.push, packed))
        else:
            self.transmit(packed)
        return _reply(self, number)

    def transmit(self, packed: bytes) -> None:
        """Send it now. What does not fit at once is waited for: of a caller's commands it is the last one."""
        room = None
        while packed and self.lost is None:
            try:
                packed = packed[self.push(packed) :]
            except BlockingIOError:
                room = room or select.poll()
                room.register(self.end, select.POLLOUT)
                if not room.poll(_PATIENCE_MS):
                    self.lose("it takes nothing more")
            except OSError as error:
                self.lose(why(error))

    def deliver(self, number: int, reply: Any) -> None:
        """A reply for which the caller does not wait on the spot."""
        future = self.futures.pop(number, None)
        if future is None:
            self.early[number] = reply
        elif not future.done():
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def lose(self, reason: str) -> None:
        """Nobody is answered any more."""
        self.lost = self.lost or reason
        self._unwatched()
        for number in range(self.answered + 1, self.sent + 1):
            if number != self.parked:
                self.deliver(number, ConnectionLost(self.lost))
        self.answered = self.sent
        if self.parked:
            self.parked = 0
            self.caller.throw(ConnectionLost(self.lost))

    def _unwatched(self) -> None:
        loop, self.loop = self.loop, None
        if loop is not None:
            loop.forget(self.end.fileno())

    def give_back(self) -> RedisConnection:
        """Its owner looks at it again; but where a reply is still to come, it would be taken for another's."""
        if self.end.fileno() >= 0:
            self._unwatched()
            self.end.close()
            self._owner.take_back(self.lost or ("closed" if self.answered != self.sent else None))
        return self._owner

    async def close(self) -> None:
        """Close at once."""
        self.lost = self.lost or "closed"
        await self.give_back().close()


@types.coroutine
def _reply(connection: LentConnection, number: int) -> Generator[Any, Any, Any]:
    """What is awaited of a command."""
    if connection.answered >= number:
        reply = connection.early.pop(number)
        if isinstance(reply, Exception):
            raise reply
        return reply
    if connection.inside:
        connection.parked = number
        return (yield _PARKED)
    future = connection.futures[number] = asyncio.get_running_loop().create_future()
    return (yield from future)


class Caller(asyncio.Future[None]):
    """What a task of asyncio is to a coroutine, for one that mostly awaits replies of its connection."""

    def __init__(self, program: Coroutine[Any, Any, None], connection: LentConnection) -> None:
        """Does not begin yet."""
        self._looping = asyncio.get_running_loop()
        super().__init__(loop=self._looping)
        self._program = program
        self._send = program.send
        self._connection = connection
        self._awaits: asyncio.Future[Any] | None = None
        self._cancels = 0
        self._must_cancel = False
        connection.caller = self

    def step(self, reply: Any = None) -> None:
        """Go on up to what is awaited next."""
        if self._must_cancel:
            self._must_cancel = False
            self.throw(asyncio.CancelledError())
            return
        loop, connection = self._looping, self._connection
        _enter(loop, self)
        connection.inside = True
        try:
            awaited = self._send(reply)
        except BaseException as error:
            self._ended(error)
            return
        finally:
            connection.inside = False
            _leave(loop, self)
        if awaited is not _PARKED:
            self._await(awaited)

    def throw(self, error: BaseException) -> None:
        """The same where what was awaited failed."""
        if self.done():
            return
        _enter(self._looping, self)
        self._connection.inside = True
        try:
            awaited = self._program.throw(error)
        except BaseException as raised:
            self._ended(raised)
            return
        finally:
            self._connection.inside = False
            _leave(self._looping, self)
        if awaited is not _PARKED:
            self._await(awaited)

    def _ended(self, error: BaseException) -> None:
        if isinstance(error, StopIteration):
            self.set_result(None)
        elif isinstance(error, asyncio.CancelledError):
            super().cancel()
        else:
            self.set_exception(error)

    def _await(self, awaited: Any) -> None:
        if awaited is None:  # it only lets others go first
            self._looping.call_soon(self.step)
        elif getattr(awaited, "_asyncio_future_blocking", False):
            awaited._asyncio_future_blocking = False  # noqa: SLF001 - what tells a task that it was awaited
            awaited.add_done_callback(self._wake)
            self._awaits = awaited
            if self._must_cancel and awaited.cancel():
                self._must_cancel = False
        else:
            self._looping.call_soon(self.throw, RuntimeError(f"{awaited!r:.60} cannot be awaited"))

    def _wake(self, future: asyncio.Future[Any]) -> None:
        self._awaits = None
        try:
            future.result()
        except BaseException as error:
            self.throw(error)
        else:
            self.step()

    # As of a task

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask it to end; it is told where it waits."""
        if self.done():
            return False
        self._cancels += 1
        if self._awaits is not None and self._awaits.cancel(msg):
            return True
        if self._connection.parked:
            self._connection.parked = 0
            self._looping.call_soon(self.throw, asyncio.CancelledError())
        else:
            self._must_cancel = True
        return True

    def cancelling(self) -> int:
        """How often it was asked."""
        return self._cancels

    def uncancel(self) -> int:
        """Take one of these back."""
        self._cancels = max(0, self._cancels - 1)
        return self._cancels


class ClosedLoop:
    """All callers of a process, as a context: on leaving, nobody looks for replies any more."""

    def __init__(self) -> None:
        """Watches nothing yet."""
        self._loop = asyncio.get_running_loop()
        self._poll = select.epoll()
        self._buffer = bytearray(_MOST_BYTES)
        self.turning = False
        """Whether replies are being handed over: what is sent meanwhile is sent together, and wakes the server once."""
        self.outbox: list[tuple[LentConnection, Callable[[bytes], int], bytes]] = []
        self._watched: dict[int, tuple[Callable[[int], bytes], LentConnection]] = {}

    def __enter__(self) -> Self:
        """From now on replies are looked for."""
        self._loop.add_reader(self._poll.fileno(), self._turn)
        return self

    def __exit__(self, *error: object) -> None:
        """No more."""
        self._loop.remove_reader(self._poll.fileno())
        self._poll.close()

    def begin(self, program: Coroutine[Any, Any, None], connection: LentConnection) -> Caller:
        """Let a caller go."""
        number = connection.end.fileno()
        self._poll.register(number, _ONCE)
        self._watched[number] = connection.end.recv, connection
        connection.loop = self
        caller = Caller(program, connection)
        self._loop.call_soon(caller.step)
        return caller

    def forget(self, number: int) -> None:
        """Look at this descriptor no more. Another one of the same socket is open, so closing it would not do."""
        del self._watched[number]
        self._poll.unregister(number)

    def _turn(self) -> None:
        """Hand over the replies that are there, and those that come meanwhile."""
        poll, outbox = self._poll.poll, self.outbox
        for _ in range(_ROUNDS):
            events = poll(0)
            if not events:
                return
            self.turning = True
            self._replies(events)
            self.turning = False
            for connection, push, packed in outbox:
                try:
                    sent = push(packed)
                except OSError:  # full, or lost: to be found out with patience
                    sent = 0
                if sent != len(packed):
                    connection.transmit(packed[sent:])
            outbox.clear()

    def _replies(self, events: list[tuple[int, int]]) -> None:
        watched, at_sight = self._watched, _AT_SIGHT.get
        for number, event in events:
            known = watched.get(number)
            if known is None:  # forgotten in the same turn
                continue
            receive, connection = known
            try:
                data = receive(_FEW_BYTES)
                reply = _NOT_SEEN if connection.begun else at_sight(data, _NOT_SEEN)
                if reply is _NOT_SEEN:
                    reply = self._parsed(number, connection, data)
                if event != _NEWS and data:  # the end: be told again
                    self._poll.modify(number, _ONCE)
            except BlockingIOError:
                continue
            except (OSError, hiredis.ProtocolError) as error:
                connection.lose(why(error) if isinstance(error, OSError) else "what answers there is no Redis")
                continue
            if reply is not False:  # RESP2 has no false
                connection.answered = at = connection.answered + 1
                if at == connection.parked and at == connection.sent and type(reply) is not _ReplyError:
                    connection.parked = 0
                    connection.caller.step(reply)
                else:
                    self._hand_over(connection, reply)
            elif not data:
                connection.lose("the server closed the connection")

    def _parsed(self, number: int, connection: LentConnection, data: bytes) -> Any:
        """The first whole reply; False where there is none yet. Raises OSError, hiredis.ProtocolError."""
        reader = connection.reader
        reader.feed(data)
        if len(data) == _FEW_BYTES:
            with contextlib.suppress(BlockingIOError):
                length = connection.end.recv_into(self._buffer)
                reader.feed(self._buffer, 0, length)  # type: ignore[arg-type] # its stub knows no buffers
                self._poll.modify(number, _ONCE)  # there may be more, or the end: be told again
        reply = reader.gets()
        connection.begun = reply is False
        return reply

    @staticmethod
    def _hand_over(connection: LentConnection, reply: Any) -> None:
        """What is not simply the one reply that its caller waits for."""
        at, gets = connection.answered, connection.reader.gets
        while True:
            if isinstance(reply, _ReplyError):
                text = str(reply)
                reply = CommandRefused(text.split(" ", 1)[0], text)
            if at != connection.parked:
                connection.deliver(at, reply)
            else:
                connection.parked = 0
                if isinstance(reply, CommandRefused):
                    connection.caller.throw(reply)
                else:
                    connection.caller.step(reply)
            if connection.answered == connection.sent:
                return
            reply = gets()
            if reply is False:
                connection.begun = True
                return
            connection.answered = at = connection.answered + 1


class Lender(Protocol):
    """Who has connections, and may lend the one to Redis."""

    def lend(self) -> LentConnection | None:
        """Its connection; None where there is none that can be lent."""
        ...

    def take_back(self) -> None:
        """Have it back."""
        ...


@contextlib.contextmanager
def callers(
    sessions: Sequence[Lender],
) -> Iterator[Callable[[Sequence[Coroutine[Any, Any, None]]], list[asyncio.Future[None]]]]:
    """How programs are begun, one for each session: over connections that are lent, or else as tasks of asyncio."""
    lent = [session.lend() for session in sessions] if POSSIBLE else []
    if not lent or None in lent:
        for session in sessions:
            session.take_back()
        yield lambda programs: [asyncio.ensure_future(program) for program in programs]
        return
    with ClosedLoop() as loop:
        try:
            yield lambda programs: [loop.begin(*one) for one in zip(programs, filter(None, lent), strict=True)]
        finally:
            for session in sessions:
                session.take_back()
