"""An owner's mailbox: one message after the other, and what owners send each other.

All owners of a run live in one process, so it is known who waits for whom. Owners that wait for each other in a ring
would do so for ever: after a while what each has asked is taken back, and whoever asked first is told that it is stuck.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from harness.burst.session import Answer, LoadSession
from harness.model import PASSED_ON, Deadlocked, Reply, Request, Rule, UsageError, no_reply
from harness.strategy import Strategy

PATIENCE_S = 0.1
"""How long owners wait for each other until they are told so."""


@dataclass(slots=True, eq=False)
class Letter:
    """A message. `answered` is told its answer, or why there is none; `passed_on`: another owner will see to that."""

    request: Request
    answered: Callable[[Answer | Exception], None]
    passed_on: bool = False


@dataclass(slots=True, eq=False)
class _Wait:
    """An owner waits for the answer to a letter that it has put into another one's mailbox."""

    mailbox: Mailbox
    letter: Letter
    answer: asyncio.Future[Answer]


class Mailbox:
    """Takes one message after the other, unless the strategy is re-entrant."""

    def __init__(self, strategy: Strategy, rule: Rule, session: LoadSession) -> None:
        """`session` is the owner's: its memory is what it knows."""
        self.session = session
        self._strategy, self._rule = strategy, rule
        self._letters: deque[Letter] = deque()
        self._reading: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._letter: Letter
        self._wait: _Wait | None = None
        self._find: Callable[[str], Mailbox]

    def meet(self, find: Callable[[str], Mailbox]) -> None:
        """`find` gives the mailboxes of other keys: from now on it may ask them, or tell them to answer for it."""
        self._find = find
        self.session.asks, self.session.tells = self._ask, self._tell

    def post(self, letter: Letter) -> None:
        """Put a message in; it is taken in its turn."""
        self._letters.append(letter)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())

    def take_back(self, letter: Letter) -> None:
        """Take out what has not been read yet."""
        self._letters.remove(letter)

    async def _read(self) -> None:
        """Until there is none left."""
        while self._letters:
            letter = self._letters.popleft()
            if self._strategy.reentrant:
                task = asyncio.create_task(self._answer(letter))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            else:
                await self._answer(letter)
        self._reading = None

    async def _answer(self, letter: Letter) -> None:
        session, self._letter = self.session, letter
        session.now_at_ms = session.now_max_ms = 0
        try:
            reply = await self._strategy.own(session, letter.request, self._rule)
            if type(reply) is not Reply:
                raise UsageError(no_reply(self._strategy.own, reply))  # noqa: TRY301 - one way to answer
            if reply is PASSED_ON and not letter.passed_on:
                raise UsageError("an owner that passes a request on has to tell another")  # noqa: TRY301 - likewise
        except Exception as error:
            answer: Answer | Exception = error
        else:
            answer = reply, session.now_at_ms, session.now_max_ms
        if isinstance(answer, Exception) or not letter.passed_on:
            letter.answered(answer)

    # Other owners

    async def _ask(self, request: Request, of: str) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        letter = Letter(request, lambda answer: _settle(future, answer))
        mailbox = self._find(of or request.key)
        waits = self._wait = _Wait(mailbox, letter, future)
        mailbox.post(letter)
        ring = [] if self._strategy.reentrant else self._ring()
        if ring:
            asyncio.get_running_loop().call_later(PATIENCE_S, _take_back, ring)
        try:
            return await future
        finally:
            if self._wait is waits:
                self._wait = None

    def _tell(self, request: Request, of: str) -> None:
        self._letter.passed_on = True
        self._find(of).post(Letter(request, self._letter.answered))

    def _ring(self) -> list[_Wait]:
        """Who waits for whom, where that leads back here: a wait that is added last is what closes a ring."""
        ring: list[_Wait] = []
        at: Mailbox = self
        while at._wait is not None and at._wait not in ring:
            ring.append(at._wait)
            at = at._wait.mailbox
        return ring if at is self and ring else []


def _settle(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _take_back(ring: list[_Wait]) -> None:
    """What owners in a ring have asked lies in mailboxes that nobody reads: it has done nothing, and will not."""
    for wait in ring:
        wait.mailbox.take_back(wait.letter)
        _settle(wait.answer, Deadlocked())
