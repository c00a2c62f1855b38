"""The session of the explorer: every step is handed to the scheduler, which lets one through at a time.

A program is a coroutine that nobody's event loop runs: it yields what it wants to do next,
a `Pending`, and is sent the reply. Time is the scheduler's.
"""

from __future__ import annotations

import dis
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from random import Random
from types import CodeType, FrameType, TracebackType, coroutine
from typing import Any, Literal, Protocol

from harness.explore.touch import NOWHERE, Touch, reads, writes
from harness.model import PASSED_ON, ConnectionLost, Outcome, Reply, Request, Rule, State, UsageError, no_outcome
from harness.strategy import OWN, Isolation, Rows, Scenario, Session, Transaction

WORK = "work"
"""What a sleep is for, where a request's own work takes so long."""
FOUND = "found"
"""What a statement is for that only waits for others where it finds nothing."""
CARRIED = "carried"
"""What the name of a retry is that may do something else than the last try did."""
_VALUES = (str, bytes, int, float, type(None), tuple, list, dict)
_PAUSE_MS = 8.0
"""Between two tries, on average: how long a poller has patience depends on it."""

Kind = Literal[
    "redis", "script", "begin", "sql", "commit", "rollback", "lock", "unlock", "ask", "tell", "clock", "sleep", "retry",
    "effect", "effect-end", "copy", "catch-up", "beside", "beside-end", "start", "shared", "reconnect", "take", "give",
    "second",
]  # fmt: skip


class Pending:
    """What a program wants to do next. `words` is what is sent; `shown` is what is printed of it."""

    __slots__ = ("alone", "isolation", "kind", "ms", "name", "request", "shown", "words")

    def __init__(
        self, kind: Kind, words: tuple[Any, ...] = (), *, name: str = "", isolation: str = "", ms: float = 0.0,
        request: Request | None = None, alone: bool = False,
    ) -> None:  # fmt: skip
        """`name` is the lock's or effect's, a pool's size, or the key whose owner is meant; `request` is for that one.

        `alone`: a statement by itself, which commits before it answers, so that no answer of it can be lost before.
        """
        self.kind: Kind = kind
        self.words = words
        self.name = name
        self.isolation = isolation
        self.ms = ms
        self.request = request
        self.alone = alone


@coroutine
def step(pending: Pending) -> Generator[Pending, Any, Any]:
    """Hand a step to the scheduler; its reply."""
    return (yield pending)


class Noting(Protocol):
    """Who is told what a step read and wrote, and what the session decided."""

    now_ms: int

    def noted(self, reads: State | None, writes: State | None) -> None:
        """The last step's, in the rule's own terms."""

    def decided(self, request: Request, state: State, outcome: Outcome) -> None:
        """A decision."""

    def remembers(self) -> None:
        """It looks at what others of its process see, too."""


class ExploreSession(Session):
    """One caller's session. `watch` is the scheduler's side of this caller."""

    def __init__(
        self, watch: Noting, prefix: str, mark: str, memory: dict[Any, Any], seed: str, *, clock_steps: bool,
        scenario: Scenario,
    ) -> None:  # fmt: skip
        """`mark` tells this schedule's names from others'; the scenario says how long leases and work last.

        `memory` is `kept` for whoever is begun in the same process, which is no look at it.

        `clock_steps`: time may move in this schedule, so that it matters when a clock is read.
        """
        self.kept = memory
        self.now_at_ms = 0
        self.changed = False
        self.retried = 0
        self.until_answered = False
        self._watch = watch
        self._prefix = prefix
        self._mark = mark
        self._seed = seed
        self._rng: Random | None = None
        self._clock_steps = clock_steps
        self.lock_lease_ms = scenario.lock_lease_ms
        self._slow = scenario.slow

    def key(self, name: str) -> str:
        """The stored name of a key."""
        return self._prefix + name

    def own_key(self, name: str) -> str:
        """The stored name of what is the strategy's own: another in every schedule."""
        return f"{self._prefix}{OWN}{name}:{self._mark}"

    @property
    def memory(self) -> dict[Any, Any]:  # type: ignore[override] # to be read only
        """What this virtual process remembers."""
        self._watch.remembers()
        return self.kept

    # Redis

    def redis(self, *command: str | float | bytes) -> Awaitable[Any]:
        """Send one command."""
        self.changed = True
        return step(Pending("redis", command))

    def read_copy(self, *command: str | float | bytes) -> Awaitable[Any]:
        """Ask the replica, which is as far behind as the scheduler has it."""
        return step(Pending("copy", command))

    async def shared(self, *commands: tuple[str | float | bytes, ...]) -> Any:
        """Send commands over the connection of this virtual process."""
        self.changed = True
        return await step(Pending("shared", commands))

    async def reconnect(self) -> None:
        """A new connection in place of the old one."""
        await step(Pending("reconnect"))

    def script(self, source: str, keys: tuple[str, ...], *args: str | float | bytes) -> Awaitable[Any]:
        """Run a script: one step."""
        self.changed = True
        return step(Pending("script", (source, keys, args)))

    def function(self, source: str, keys: tuple[str, ...], *args: str | float) -> Awaitable[Any]:
        """Call a function: one step, like a script."""
        self.changed = True
        return step(Pending("script", (source, keys, args), name="function"))

    # PostgreSQL

    def transaction(self, isolation: Isolation) -> AbstractAsyncContextManager[Transaction]:
        """A transaction on this caller's connection."""
        return _ExploreTransaction(self, isolation)

    async def sql(self, statement: str, *args: Any) -> Rows:
        """BEGIN, the statement, COMMIT: one statement is not atomic across rows."""
        async with _ExploreTransaction(self, "read committed", alone=True) as tx:
            return await tx.sql(statement, *args)

    # Time, locks, owners

    def mutex(self, name: str) -> AbstractAsyncContextManager[Any]:
        """A lock of this virtual process."""
        return _Mutex(name)

    def pooled(self, size: int) -> AbstractAsyncContextManager[Any]:
        """One of so many of this virtual process."""
        return _Pooled(size)

    def second(self) -> Transaction:
        """Each statement on it is one step."""
        return _SecondConnection(self)

    def beside(
        self, name: str, work: Callable[[Session], Coroutine[Any, Any, None]], *, apart: bool = False
    ) -> AbstractAsyncContextManager[Any]:
        """A program of its own."""
        return _Beside(name, work, apart=apart)

    async def ask(self, request: Request, of: str = "") -> Reply:
        """Send a message to the owner; it answers when it has decided."""
        self.changed = True
        reply, self.now_at_ms = await step(Pending("ask", name=of, request=request))
        answer: Reply = reply
        return answer

    async def tell(self, request: Request, of: str) -> Reply:
        """Send a message to another owner; it answers whoever asked this one."""
        await step(Pending("tell", name=of, request=request))
        return PASSED_ON

    async def now_ms(self) -> int:
        """The scheduler's clock."""
        if self._clock_steps:
            await step(Pending("clock"))
        self.now_at_ms, self.until_answered = self._watch.now_ms, False
        return self.now_at_ms

    def decided_at(self, now_ms: int) -> None:
        """By the scheduler's clock."""
        self.now_at_ms, self.until_answered = now_ms, False

    async def instant_ms(self) -> int:
        """The scheduler's clock, where the store's may decide until the answer is there."""
        now = await self.now_ms()
        self.until_answered = True
        return now

    async def sleep_ms(self, ms: float) -> None:
        """Until the scheduler's clock has moved."""
        await step(Pending("sleep", ms=ms))

    def token(self) -> str:
        """128 random bits, the same in every schedule."""
        if self._rng is None:  # most programs ask for none, and making it takes as long as a command
            self._rng = Random(self._seed)
        return f"{self._rng.getrandbits(128):032x}"

    async def retries(self, limit: int = 100) -> AsyncIterator[int]:
        """Count tries. One that changes nothing is tried again when somebody has changed something."""
        waited_ms = 0
        carried = Carried(sys._getframe(1))  # noqa: SLF001 - whose loop it is
        for number in range(limit):
            if number:
                self.retried += 1
                left_ms = _PAUSE_MS * (limit - number) - waited_ms
                began_ms = self._watch.now_ms
                again = Pending("retry", carried.place, name=carried.name(number), ms=left_ms)
                if left_ms <= 0 or not await step(again):
                    return
                waited_ms += max(0, self._watch.now_ms - began_ms - int(_PAUSE_MS))  # beyond the pause itself
            else:
                await step(Pending("retry", name="first"))
            yield number

    async def polls(self) -> AsyncIterator[None]:
        """Again when somebody has changed what was looked at; if nobody ever does, for ever."""
        carried, number = Carried(sys._getframe(1)), 0  # noqa: SLF001 - whose loop it is
        await step(Pending("retry", name="first"))
        while True:
            yield
            number += 1
            await step(Pending("retry", carried.place, name=carried.name(number), ms=math.inf))

    async def found(self, statement: str, *args: Any) -> Rows:
        """As by `polls`; what finds nothing leaves nothing behind, so that it is looked for once there is something."""
        async for _ in self.polls():
            async with _ExploreTransaction(self, "read committed", FOUND) as tx:
                rows = await tx.sql(statement, *args)
            if rows.rows:
                return rows
        raise AssertionError

    async def decide(self, rule: Rule, state: State, request: Request) -> Outcome:
        """Read the clock, apply the rule."""
        now = await self.now_ms()
        outcome = rule(state, request, now)
        if wrong := no_outcome(rule, request, outcome):
            raise UsageError(wrong)
        self._watch.decided(request, state, outcome)
        if self._slow is not None and (work_ms := self._slow(request)):
            await step(Pending("sleep", name=WORK, ms=work_ms))
        return outcome

    def note(self, *, reads: State | None = None, writes: State | None = None) -> None:
        """What the last step saw, or made visible."""
        self._watch.noted(reads, writes)


_MOST_CARRIED = 4


class Carried:
    """What a loop of tries carries from one to the next, which then need not do what the last one did.

    A CAS that fails with the newer value, a read at the end of a try, `if number:`. By the locals of whoever runs the
    loop that were there before it, and by whether it looks at the number of its try.
    """

    def __init__(self, frame: FrameType) -> None:
        """Remember how they are now."""
        self._frame = frame
        self._before = dict(frame.f_locals)
        self._in_a_row = 0
        self.place = (frame.f_code.co_filename, frame.f_lineno) if frame.f_code.co_filename != __file__ else ()
        """Where the loop is, if it is one of a script's."""

    def name(self, number: int) -> str:
        """Of the `Pending` before try `number`: CARRIED where it may go on although nobody has changed anything."""
        now = self._frame.f_locals
        before, self._before = self._before, {name: now[name] for name in self._before if name in now}
        changed = any(not _same(value, self._before.get(name)) for name, value in before.items())
        changed = changed or (number == 1 and _counts(self._frame.f_code, now))
        self._in_a_row = self._in_a_row + 1 if changed else 0
        return CARRIED if 0 < self._in_a_row <= _MOST_CARRIED else ""


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and isinstance(one, _VALUES) and bool(one == other))


def _counts(code: CodeType, now: Mapping[str, Any]) -> bool:
    """Whether a loop looks at the number of its try: a local that is 0 after the first one, and is read."""
    numbers = {name for name, value in now.items() if type(value) is int and value == 0}
    return bool(numbers) and any(
        "LOAD" in one.opname and not numbers.isdisjoint(one.argval if isinstance(one.argval, tuple) else (one.argval,))
        for one in dis.get_instructions(code)
        if isinstance(one.argval, str | tuple)
    )


class _ExploreTransaction(Transaction):
    """BEGIN at a named level; COMMIT on leaving, ROLLBACK on an exception: each a step."""

    def __init__(self, session: ExploreSession, isolation: Isolation, name: str = "", *, alone: bool = False) -> None:
        self._session = session
        self._isolation: Isolation = isolation
        self._name = name
        self._alone = alone

    async def __aenter__(self) -> Transaction:
        await step(Pending("begin", isolation=self._isolation))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                await step(Pending("commit"))
            except ConnectionLost:
                self._session.changed = True  # a COMMIT without an answer may have been done
                raise
            self._session.changed = True
        elif not issubclass(kind, ConnectionLost | GeneratorExit):
            await step(Pending("rollback"))

    async def sql(self, statement: str, *args: Any) -> Rows:
        rows: Rows = await step(
            Pending("sql", (statement, *args), name=self._name, isolation=self._isolation, alone=self._alone)
        )
        return rows

    def note(self, *, reads: State | None = None, writes: State | None = None) -> None:
        self._session.note(reads=reads, writes=writes)


class _Beside(AbstractAsyncContextManager[Any]):
    """A daemon of this caller's."""

    def __init__(self, name: str, work: Callable[[Session], Coroutine[Any, Any, None]], *, apart: bool) -> None:
        self._begin = Pending("beside", (work, apart), name=name)

    async def __aenter__(self) -> None:
        await step(self._begin)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or not issubclass(kind, GeneratorExit):
            await step(Pending("beside-end", name=self._begin.name))


class _Mutex(AbstractAsyncContextManager[Any]):
    """An in-process lock; first come, first served."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __aenter__(self) -> None:
        await step(Pending("lock", name=self._name))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or not issubclass(kind, GeneratorExit):
            await step(Pending("unlock", name=self._name))


class _Pooled(AbstractAsyncContextManager[Any]):
    """A connection out of a pool; first come, first served."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._number = 0

    async def __aenter__(self) -> None:
        wants = f"wants a connection: all {self._size} are taken" if self._size > 1 else "wants the one connection"
        self._number = await step(Pending("take", (wants,), name=str(self._size)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or not issubclass(kind, GeneratorExit):
            await step(Pending("give", (self._number,), name=str(self._size)))


class _SecondConnection(Transaction):
    """Statements on it are by themselves."""

    def __init__(self, session: ExploreSession) -> None:
        self._session = session

    async def sql(self, statement: str, *args: Any) -> Rows:
        rows: Rows = await step(Pending("second", (statement, *args)))
        return rows

    def note(self, *, reads: State | None = None, writes: State | None = None) -> None:
        self._session.note(reads=reads, writes=writes)


CLOCK = reads("clock")
TIME = writes("clock")
"""A step that reads the clock, and one that moves it."""


def fixed_touch(pending: Pending, process: int, name: str) -> Touch:
    """What a step touches that is no store's. `name` is the lock's, as in every schedule."""
    match pending.kind:
        case "lock" | "unlock":
            return writes(f"mutex:{process}:{name}")
        case "take" | "give":
            return writes(f"pool:{process}")
        case "effect" | "effect-end":
            return writes("effects")
        case "clock":
            return CLOCK
        case _:
            return NOWHERE
