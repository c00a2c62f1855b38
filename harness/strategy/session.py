"""The session: one caller's way to stores, clock, randomness, sleep, locks and owners.

Each thing done through it is a step, the point at which a scheduler may let somebody
else go first. The load engine runs steps as they come; an explorer grants them one at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal

from harness.model import Outcome, Reply, Request, Rule, State

Isolation = Literal["read committed", "repeatable read", "serializable"]
OWN = "@"
"""What the name of a strategy's own key begins with, behind the run's prefix: a queue, say. The names of requests' keys
begin otherwise, so that a store can tell one from the other."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement gave: its rows as tuples, and how many rows it touched."""

    rows: tuple[tuple[Any, ...], ...]
    count: int


class Transaction(ABC):
    """An open transaction. Leaving its block commits; an exception rolls back."""

    @abstractmethod
    async def sql(self, statement: str, *args: Any) -> Rows:
        """Run one statement with $1, $2 ... as arguments. Raises StatementRefused, ConnectionLost."""

    @abstractmethod
    def note(self, *, reads: State | None = None, writes: State | None = None) -> None:
        """Say what the last statement read or wrote in the rule's own terms. No step."""


class Session(ABC):
    """One caller's session. Every method but `key`, `own_key`, `beside`, `token`, `note` and `decided_at` is a step."""

    memory: dict[Any, Any]
    """Shared by all callers of this virtual process, and by nobody else."""

    lock_lease_ms: int
    """How long a lock in a store is leased to its holder, in milliseconds."""

    now_at_ms: int
    """The instant of the last decision, as Unix time in milliseconds."""

    @abstractmethod
    def key(self, name: str) -> str:
        """The name in the store of a key: inside the namespace of this run."""

    @abstractmethod
    def own_key(self, name: str) -> str:
        """The name in the store of something that is no key of a request: a queue of the strategy's own."""

    @abstractmethod
    def redis(self, *command: str | float | bytes) -> Awaitable[Any]:
        """Send one command; its reply with bulk strings as bytes. Raises CommandRefused, ConnectionLost."""

    @abstractmethod
    def read_copy(self, *command: str | float | bytes) -> Awaitable[Any]:
        """Send one command that reads to the replica, which may be behind; where the strategy names its lag."""

    @abstractmethod
    async def shared(self, *commands: tuple[str | int | float | bytes, ...]) -> Any:
        """Send commands together over the one connection of this virtual process, for all its callers; the last reply.

        Nobody else's come in between on that connection: one command, or MULTI to EXEC. A strategy whose callers use
        more than a connection of their own says so (`connects`).
        """

    @abstractmethod
    async def reconnect(self) -> None:
        """Lose the connection to Redis, and open a new one as clients do; where the strategy `connects`."""

    @abstractmethod
    def script(self, source: str, keys: tuple[str, ...], *args: str | float | bytes) -> Awaitable[Any]:
        """Run a Lua script by its digest (EVALSHA), loading it where the server lost it."""

    @abstractmethod
    def function(self, source: str, keys: tuple[str, ...], *args: str | float) -> Awaitable[Any]:
        """Call the function whose body is that Lua (FCALL), registering it where the server does not know it yet."""

    @abstractmethod
    def transaction(self, isolation: Isolation) -> AbstractAsyncContextManager[Transaction]:
        """BEGIN at this isolation level, which is always named, never the server's default."""

    @abstractmethod
    async def sql(self, statement: str, *args: Any) -> Rows:
        """One statement in a transaction of its own, at read committed."""

    @abstractmethod
    def mutex(self, name: str) -> AbstractAsyncContextManager[Any]:
        """A lock in the memory of this virtual process: other processes do not see it."""

    @abstractmethod
    def pooled(self, size: int) -> AbstractAsyncContextManager[Any]:
        """Have one of the `size` connections to PostgreSQL that all callers of this virtual process share.

        Whoever finds all of them taken waits, first come, first served, and for ever. The first that a caller has is
        its own; whoever needs a second one takes it in the same way, and uses it by `second`.
        """

    @abstractmethod
    def second(self) -> Transaction:
        """This caller's second connection to PostgreSQL, to read from while a transaction is open on its own.

        Each statement there commits by itself, and sees only what is committed. One that writes or locks is refused.
        """

    @abstractmethod
    def beside(
        self, name: str, work: Callable[[Session], Coroutine[Any, Any, None]], *, apart: bool = False
    ) -> AbstractAsyncContextManager[Any]:
        """Run a daemon of this caller's process, until the block is left or the process is gone.

        `apart`: it is a process of its own, which does not see the caller's die. Its session is another one.
        """

    @abstractmethod
    async def ask(self, request: Request, of: str = "") -> Reply:
        """Send a request to the owner of a key, the first of its keys if no other is named, and wait for the answer.

        An owner may ask another one. Raises ConnectionLost where that one is gone, Deadlocked where it waits for this
        one: it has not begun then, and will not.
        """

    @abstractmethod
    async def tell(self, request: Request, of: str) -> Reply:
        """In an owner: let the owner of another key answer whoever asked, and go on.

        What this gives, PASSED_ON, is what `own` gives back.
        """

    @abstractmethod
    async def now_ms(self) -> int:
        """Read this caller's clock: Unix time in milliseconds."""

    @abstractmethod
    async def sleep_ms(self, ms: float) -> None:
        """Sleep."""

    @abstractmethod
    def token(self) -> str:
        """A value that nobody else has: from this session's random source."""

    @abstractmethod
    def retries(self, limit: int = 100) -> AsyncIterator[int]:
        """Count from 0 up to `limit` tries, with a growing random pause between; each further one is a retry."""

    @abstractmethod
    def polls(self) -> AsyncIterator[None]:
        """Look for something again and again, for as long as it takes, with a growing random pause between."""

    async def found(self, statement: str, *args: Any) -> Rows:
        """What a SELECT finds, once it finds anything: looked for again and again, as by `polls`."""
        async for _ in self.polls():
            if (rows := await self.sql(statement, *args)).rows:
                return rows
        raise AssertionError  # polls have no end

    @abstractmethod
    def note(self, *, reads: State | None = None, writes: State | None = None) -> None:
        """Say what the last step read or wrote in the rule's own terms. No step."""

    @abstractmethod
    async def decide(self, rule: Rule, state: State, request: Request) -> Outcome:
        """Read the clock, apply the rule, and think. The instant is recorded with the operation."""

    @abstractmethod
    def decided_at(self, now_ms: int) -> None:
        """Somebody else has decided, at this instant: a consumer, say. No step."""

    @abstractmethod
    async def instant_ms(self) -> int:
        """The clock for a native form, where the store's own clock may decide.

        The recorded instant then is an interval that ends with the operation.
        """
