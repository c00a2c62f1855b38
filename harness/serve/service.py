"""One cell as a worker process serves it: requests are performed one by one, on sessions of its pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

from harness.burst.owner import OwnerClient
from harness.burst.serving import connected
from harness.burst.session import LoadSession, VirtualProcess
from harness.burst.state import at_rest
from harness.model import (
    DENIED,
    CommandRefused,
    ConnectionLost,
    Deadlocked,
    Reply,
    Request,
    Rule,
    StatementRefused,
    Status,
    StoreFault,
    described,
    no_reply,
)
from harness.serve.pool import Pool
from harness.serve.refused import Refused
from harness.stores import RedisConnection, Targets
from harness.strategy import Scenario, Strategy
from harness.strategy.arities import arities
from harness.strategy.loader import nearest

TIMEOUT_S = 10.0
"""As in a load: who is not answered by then is stuck."""
_LOOK_S = 0.25
_WARM = 2
"""Sessions that a worker opens for a cell before its first request."""
_WORDS: Mapping[type, str] = {
    int: "a whole number", float: "a number", str: "a text", bool: "true or false", list: "a list", dict: "an object",
}  # fmt: skip


class Performed(NamedTuple):
    """What came of a request. The interval in Unix ms is the instant of its decision; 0 where nobody knows."""

    reply: Reply
    now_ms: int
    now_max_ms: int
    retries: int
    commands: int


class Patience:
    """Ends what takes longer than `TIMEOUT_S`: one look a moment at all of them, for a timer each would cost more."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._running: dict[asyncio.Task[Any], tuple[float, int]] = {}
        self._late: set[asyncio.Task[Any]] = set()

    async def watch(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            since = time.monotonic() - TIMEOUT_S
            self._cancel([task for task, (began, _cell) in self._running.items() if began < since])

    def begin(self, cell: int = 0) -> asyncio.Task[Any]:
        """From now on, for the task that runs, which serves this cell."""
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = time.monotonic(), cell
        return task

    def lose(self, cell: int) -> None:
        """End at once what waits in this cell: nobody is left who would answer."""
        self._cancel([task for task, (_began, of) in self._running.items() if of == cell])

    def _cancel(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        for task in tasks:
            self._late.add(task)
            task.cancel()

    def end(self, task: asyncio.Task[Any]) -> bool:
        """Whether it took too long; then its cancellation has been dealt with."""
        del self._running[task]
        if task not in self._late:
            return False
        self._late.discard(task)
        task.uncancel()
        return True


class Service:
    """A cell, bound in this process: its memory and its in-process locks are this process's."""

    def __init__(
        self,
        number: int,
        bound: tuple[Scenario, Strategy, Rule],
        targets: Targets,
        pool: Pool,
        patience: Patience,
        name: str,
    ) -> None:
        """`number` is the cell's; `targets` hold the namespace of this cell alone; `name` draws its tokens."""
        self._patience = patience
        self.number = number
        self.scenario, self.strategy, self.rule = bound
        self.targets = targets
        self.known: set[str] = set()
        self.seeded = self.strategy.store == "postgres" or self.scenario.initial_value is not None
        self.owner: tuple[OwnerClient, int] | None = None
        self._broken = ""
        self._name = name
        self._process = VirtualProcess()
        self._pool = pool
        self._home = pool.home(self._connect)
        self._reading = pool.home(lambda: self._connect(owner=True)) if self.strategy.guarded else self._home
        self._divided = self.strategy.applied(self.rule, "") is not self.rule or bool(self.scenario.duties)
        self._sessions = 0
        self._arities = arities(self.scenario)

    async def _connect(self, *, owner: bool = False) -> LoadSession:
        """A session of callers, who may not write where the strategy is guarded; `owner`: of who may in any case."""
        store = self.strategy.store
        redis, postgres = await connected(self.targets, store, self.strategy.guarded and not owner)
        replica = None
        if self.strategy.lag_ms is not None:
            assert self.targets.replica is not None
            replica = await RedisConnection.open(self.targets.replica)
        self._sessions += 1
        name = f"{self._name}.{self._sessions}"
        session = LoadSession(
            name, self.targets.prefix, self._process, redis=redis, postgres=postgres, replica=replica,
            rng=Random(f"{name}{time.time()}"),
        )  # fmt: skip
        if self.owner is not None:
            client, place = self.owner
            session.asks = lambda request, of: client.ask(request, of, place)
        session.serve(self.scenario)
        return session

    async def warm(self) -> None:
        """Open the first connections; where that fails, so will the first request, which says why."""
        sessions: list[LoadSession] = []
        with suppress(StoreFault):
            while len(sessions) < _WARM:
                sessions.append(await self._pool.take(self._home))
        for session in sessions:
            await self._pool.give(self._home, session)

    def broke(self, why: str) -> None:
        """A daemon that answers here has ended, by what its script does."""
        self._broken = why
        self._patience.lose(self.number)

    # What can be asked

    def check(self, request: Request) -> None:
        """Refuse what the rule would not understand. Raises Refused."""
        operation, args, known = request.operation, request.args, self.scenario.operations
        if known and operation not in known:
            raise Refused(404, f"unknown operation '{operation}' of {self.scenario.name}; {nearest(operation, known)}")
        wanted = known[operation].args if known else {}
        for name, kind in wanted.items():
            if name not in args:
                raise Refused(400, f"'{name}' is missing: {operation} takes {_told(wanted)} as JSON")
            if kind is not object and type(args[name]) is not kind:
                raise Refused(400, f"'{name}' must be {_WORDS.get(kind, kind.__name__)}, not {args[name]!r:.40}")
        if known and (unknown := [name for name in args if name not in wanted]):
            takes = nearest(unknown[0], wanted) if wanted else f"{operation} takes no arguments"
            raise Refused(400, f"unknown argument '{unknown[0]}'; {takes}")
        counts = self._arities.get(operation) or self._arities.get("", set())
        if counts and len(request.keys) not in counts:
            fitting = " or ".join(map(str, sorted(counts)))
            keys = "key" if counts == {1} else "keys, separated by commas"
            raise Refused(400, f"{operation} takes {fitting} {keys}, not {len(request.keys)}")
        if request.attempt and self.strategy.scope == "flow":
            raise Refused(501, held_whole(self.strategy))
        if self._broken:
            raise Refused(500, self._broken, {"outcome": Status.FAILED, "code": "script"})

    # Performing

    async def perform(self, request: Request) -> Performed:
        """Make one request. Raises Refused with what is known of the outcome."""
        try:
            session = await self._pool.take(self._home)
        except StoreFault as fault:
            raise Refused(503, str(fault), {"outcome": Status.FAILED, "code": fault.code}) from None
        session.request, session.changed = request.id, False
        session.now_at_ms = session.now_max_ms = 0
        commands, retried = session.commands, session.retried
        task, overdue = self._patience.begin(self.number), None
        try:
            rule = self.strategy.applied(self.rule, request.role) if self._divided else self.rule
            reply = await self.strategy.apply(session, request, rule)
            instant = _instant(session)
            performed = Performed(reply, *instant, session.retried - retried, session.commands - commands)
        except BaseException as error:
            overdue = self._patience.end(task)
            counts = {"retries": session.retried - retried, "commands": session.commands - commands}
            raise self._failure(TimeoutError() if overdue else error, session, counts) from None
        finally:
            if overdue is None:
                self._patience.end(task)
            await self._pool.give(self._home, session)
        if type(reply) is not Reply:
            raise Refused(500, no_reply(self.strategy.apply, reply), {"outcome": Status.UNKNOWN, "code": "script"})
        return performed

    def _failure(self, error: BaseException, session: LoadSession, counts: Mapping[str, Any]) -> BaseException:
        """What an error says of the outcome, as a load records it; the session is marked where it is of no more use."""
        outcome = Status.UNKNOWN
        match error:
            case Deadlocked():
                status, code, says = 503, error.code, str(error)
            case CommandRefused():
                # Who may not write at all has changed nothing by what was sent before.
                denied = self.strategy.guarded and error.code == DENIED
                outcome = Status.UNKNOWN if session.changed and not denied else Status.FAILED
                # A refused Redis command may leave the connection inside WATCH or MULTI.
                session.lost = not isinstance(error, StatementRefused)
                status, code, says = 503, error.code, f"the store refuses: {error}"
            case ConnectionLost():
                session.lost = True
                status, code, says = 503, error.code, f"the connection was lost: {error}"
            case TimeoutError() if self._broken:
                session.lost = True
                status, code, says = 500, "script", self._broken
            case TimeoutError():
                session.lost = True
                status, code, says = 503, "stuck", f"no answer within {TIMEOUT_S:.0f} s"
            case Exception():
                session.lost = True
                status, code, says = 500, "script", described(error)
            case _:
                session.lost = True
                return error
        now_ms, now_max_ms = _instant(session)
        known = {"outcome": outcome, "code": code, "now_ms": now_ms, "now_max_ms": now_max_ms, **counts}
        return Refused(status, says, known)

    async def rest(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values of these keys. Raises Refused."""
        if not keys:  # and perhaps no table yet
            return {}
        try:
            session = await self._pool.take(self._reading)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    return await at_rest(session, self.strategy, keys)
            except (StoreFault, TimeoutError):
                session.lost = True
                raise
            finally:
                await self._pool.give(self._reading, session)
        except TimeoutError:
            raise Refused(503, f"no answer within {TIMEOUT_S:.0f} s") from None
        except StoreFault as fault:
            raise Refused(503, str(fault), {"code": fault.code}) from None


def held_whole(strategy: Strategy) -> str:
    """Why the requests of an attempt are refused one by one."""
    return f"{strategy.title} holds an attempt together with its effects, which stay with the client: race run can"


def _instant(session: LoadSession) -> tuple[int, int]:
    """When it was decided: an interval whose end may be open until the answer."""
    now_ms, most = session.now_at_ms, session.now_max_ms
    return now_ms, most if most >= 0 else max(now_ms, time.time_ns() // 1_000_000)


def _told(args: Mapping[str, type]) -> str:
    return ", ".join(f"{name} ({_WORDS.get(kind, kind.__name__)})" for name, kind in args.items())
