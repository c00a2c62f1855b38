"""The sessions of a worker process: so many for each store, lent to whichever cell is asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from harness.burst.session import LoadSession


class Home:
    """Where the idle sessions of one cell wait: a session has the namespace of its cell for good."""

    def __init__(self, connect: Callable[[], Awaitable[LoadSession]]) -> None:
        """`connect` makes one more. It may raise StoreFault."""
        self.connect = connect
        self.idle: deque[LoadSession] = deque()


class Pool:
    """At most `limit` sessions at a time. The last one given back is lent first: it is warm."""

    def __init__(self, limit: int) -> None:
        """Nothing is open yet."""
        self._limit = limit
        self._open = 0
        self._homes: list[Home] = []
        self._waiting: deque[asyncio.Future[None]] = deque()

    def home(self, connect: Callable[[], Awaitable[LoadSession]]) -> Home:
        """A home for one more cell."""
        home = Home(connect)
        self._homes.append(home)
        return home

    async def take(self, home: Home) -> LoadSession:
        """A session of this cell: an idle one, a new one, or whatever is given back first. Raises StoreFault."""
        while not home.idle:
            if self._open < self._limit:
                self._open += 1
                try:
                    return await home.connect()
                except BaseException:
                    self._leave()
                    raise
            other = next((other for other in self._homes if other.idle), None)
            if other is not None:  # another cell's, which is longest idle
                await self._close(other.idle.popleft())
            else:
                await self._turn()
        return home.idle.pop()

    async def give(self, home: Home, session: LoadSession) -> None:
        """Give it back; one that can no longer be used is closed."""
        if session.lost:
            await self._close(session)
        else:
            home.idle.append(session)
            self._wake()

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake()  # it was ours: the next one's
            raise

    async def _close(self, session: LoadSession) -> None:
        try:
            await session.close()
        finally:
            self._leave()

    def _leave(self) -> None:
        self._open -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
