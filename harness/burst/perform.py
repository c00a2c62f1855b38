"""Performing requests and attempts: the record is written before and after, errors become statuses."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any

from harness.burst.record import OPERATION, Mark, Recorder
from harness.burst.session import LoadSession
from harness.model import (
    DENIED,
    NOTHING,
    STUCK,
    Attempt,
    CommandRefused,
    ConnectionLost,
    Deadlocked,
    RaceError,
    Reply,
    Request,
    Rule,
    StatementRefused,
    Status,
    StoreFault,
    UsageError,
    described,
    no_reply,
)
from harness.strategy import Scenario, Strategy

_monotonic_ns = time.monotonic_ns
_new = tuple.__new__
_YIELD_BELOW_S = 0.002
_LONGEST_WAIT_MS = 16
_MOST_WAITS = 800
"""An attempt waits for others longer than a lease: 6 s on average."""


class BrokenScript(Exception):
    """The user's rule, flow or strategy raised something that is no store fault."""


class Performer:
    """A cell made ready: its scenario, strategy and rule, with the counts of one order."""

    def __init__(self, scenario: Scenario, strategy: Strategy, rule: Rule, recorder: Recorder, work_us: int) -> None:
        """`work_us` is how long an effect takes, in microseconds."""
        self.scenario = scenario
        self.strategy = strategy
        self.rule = rule
        self.divided = bool(scenario.duties)
        self.recorder = recorder
        self.work_s = work_us / 1e6
        self.errors: Counter[str] = Counter()
        self.broken: str | None = None
        self.unanswered = STUCK

    async def item(self, session: LoadSession, caller: int, burst: int, item: Request | Attempt) -> None:
        """One request, or one attempt with all its requests and effects."""
        try:
            recorder = self.recorder
            who = recorder.who(caller, burst)
            await self.begun(session, who, item, item.keys, recorder.place(item.keys))
        except BaseException as error:
            self.ended_by(error)

    def begun(
        self,
        session: LoadSession,
        who: int,
        item: Request | Attempt,
        keys: tuple[str, ...],
        place: int,
        asked_ns: int = 0,
    ) -> Awaitable[Any]:
        """What is to be awaited of an item, on keys of its own, which `place` stands for. What it raises: `ended_by`.

        `who` stands for the caller and the burst, as the recorder says.
        A plain method: whoever awaits it in a loop needs no coroutine more around every item.
        """
        recorder = self.recorder
        if not isinstance(item, Attempt):
            return self.request(session, who, item.operation, keys, item.args, "", item.role, place, asked_ns=asked_ns)
        recorder.attempts = number = recorder.attempts + 1
        flow = session.flow
        if flow is None or flow.performer is not self:
            flow = session.flow = LoadFlow(self, session)
        flow.attempt = _new(Attempt, (keys, item.args, f"{recorder.prefix}a{number}", item.role))
        flow.who, flow.number, flow.place = who, number, place
        flow.waited = flow.asked_ns = 0
        if self.strategy.scope == "flow":  # what it waits for, its first request waits for
            session.request, flow.asked_ns = "", asked_ns or _monotonic_ns()
            return self.strategy.carry(session, flow.attempt, lambda: self.scenario.flow(flow))
        return self.scenario.flow(flow)

    def ended_by(self, error: BaseException) -> None:
        """An item ended by an error: a store's was recorded with its operation, any other ends the load. Raises it."""
        if isinstance(error, StoreFault | asyncio.CancelledError):
            return
        if isinstance(error, RaceError) or not isinstance(error, Exception):
            raise error
        self.broken = self.broken or described(error)
        raise BrokenScript(self.broken) from error

    async def request(
        self,
        session: LoadSession,
        who: int,
        operation: str,
        keys: tuple[str, ...],
        args: Mapping[str, Any],
        attempt: str,
        role: str,
        place: int,
        number: int = -1,
        kind: int = OPERATION,
        asked_ns: int = 0,
    ) -> Reply:
        """One request of attempt `number`, or of none. Raises StoreFault after it was recorded.

        `asked_ns` is when it was asked for, where that was before now.
        """
        recorder = self.recorder
        # A named tuple's own constructor is written in Python and costs twice as much.
        request: Request = _new(Request, (operation, keys, args, f"{recorder.prefix}{recorder.count}", attempt, role))
        session.request = request.id
        session.changed = False
        session.now_at_ms = session.now_max_ms = 0
        mark = recorder.begin(operation, place, args, role, who, number, asked_ns or _monotonic_ns(), kind)
        try:
            rule = self.strategy.applied(self.rule, role) if self.divided else self.rule
            reply = await self.strategy.apply(session, request, rule)
            if type(reply) is not Reply:
                raise UsageError(no_reply(self.strategy.apply, reply))  # noqa: TRY301 - recorded like any other error
        except BaseException as error:
            self._failed(session, mark, error)
            raise
        now_max_ms = session.now_max_ms
        if now_max_ms < 0:
            now_max_ms = time.time_ns() // 1_000_000
        recorder.end(mark, reply, session.now_at_ms, now_max_ms, _monotonic_ns())
        return reply

    async def again(self, session: LoadSession, request: Request, timeout_s: float) -> list[Any]:
        """A request that is delivered again.

        Status, decision, values, instant from and to, when answered, error, when asked.
        """
        session.request, session.changed, session.now_at_ms, session.now_max_ms = request.id, False, 0, 0
        asked_ns = _monotonic_ns()
        try:
            rule = self.strategy.applied(self.rule, request.role) if self.divided else self.rule
            async with asyncio.timeout(timeout_s):
                reply = await self.strategy.apply(session, request, rule)
        except TimeoutError:
            session.lost = True
            return [Status.UNKNOWN, None, {}, 0, 0, None, STUCK, asked_ns]
        except StoreFault as fault:  # the first delivery may have been applied all the same
            session.lost = not isinstance(fault, StatementRefused)
            return [Status.UNKNOWN, None, {}, 0, 0, None, fault.code, asked_ns]
        except Exception as error:
            self.broken = self.broken or described(error)
            raise BrokenScript(self.broken) from error
        now_max_ms = session.now_max_ms if session.now_max_ms >= 0 else time.time_ns() // 1_000_000
        answered_ns = _monotonic_ns()
        known = [session.now_at_ms, now_max_ms, answered_ns, "", asked_ns]
        return [Status.OK, reply.decision, dict(reply.values), *known]

    def _failed(self, session: LoadSession, mark: Mark, error: BaseException) -> None:
        """Record what an error says of the outcome."""
        status, code, returned = Status.UNKNOWN, "script", False
        if isinstance(error, CommandRefused):
            # Who may not write at all has changed nothing by what was sent before.
            denied = self.strategy.guarded and error.code == DENIED
            unknown = session.changed and not denied
            status, code, returned = (Status.UNKNOWN if unknown else Status.FAILED), error.code, True
            # A refused Redis command may leave the connection inside WATCH or MULTI.
            session.lost = not isinstance(error, StatementRefused | Deadlocked)
        elif isinstance(error, ConnectionLost):
            code, session.lost = error.code, True
        elif isinstance(error, asyncio.CancelledError):
            code, session.lost = self.unanswered, True
        self.errors[code] += 1
        now_ms = session.now_at_ms
        now_max_ms = max(now_ms, time.time_ns() // 1_000_000) if session.now_max_ms < 0 else session.now_max_ms
        self.recorder.end_badly(mark, status, code, now_ms, now_max_ms, _monotonic_ns() if returned else 0)

    async def work(self) -> None:
        """The effect's own time. Event loops round sleeps up to a millisecond, so short work yields instead."""
        if self.work_s >= _YIELD_BELOW_S:
            await asyncio.sleep(self.work_s)
            return
        until = time.monotonic() + self.work_s
        while time.monotonic() < until:  # noqa: ASYNC110 - nobody else ends it: time does
            await asyncio.sleep(0)


class LoadFlow:
    """What a flow is given: requests and effects of one attempt. A caller's next attempt reuses it."""

    __slots__ = ("_session", "asked_ns", "attempt", "number", "performer", "place", "waited", "who")

    def __init__(self, performer: Performer, session: LoadSession) -> None:
        """One for each caller; `attempt`, `number`, `place` and `who` are set for each attempt."""
        self.performer = performer
        self._session = session
        self.attempt: Attempt
        self.who = self.number = self.place = self.waited = self.asked_ns = 0

    def apply(self, operation: str, **args: Any) -> Awaitable[Reply]:
        """One request on the attempt's keys."""
        attempt, asked_ns = self.attempt, self.asked_ns
        self.asked_ns = 0
        return self.performer.request(
            self._session, self.who, operation, attempt.keys, args or NOTHING, attempt.id,
            attempt.role, self.place, self.number, asked_ns=asked_ns,
        )  # fmt: skip

    async def effect(self, name: str, *, id: str = "", undo: str = "") -> None:  # noqa: A002, ARG002 - for a service
        """Write down that it begins, let it take its time, write down that it ended."""
        performer = self.performer
        recorder, place = performer.recorder, self.place
        began_ns = _monotonic_ns()
        if performer.work_s > 0:
            mark = recorder.effect(name, place, self.who, self.number, began_ns)
            await performer.work()
            recorder.effect_end(mark, _monotonic_ns())
        else:
            recorder.instant(name, place, self.who, self.number, began_ns, _monotonic_ns())

    async def wait(self) -> bool:
        """Pause for a random time that grows to 16 ms, as between a strategy's own tries."""
        self.waited += 1
        await asyncio.sleep(random.random() * min(_LONGEST_WAIT_MS, 2**self.waited) / 1000)
        return self.waited < _MOST_WAITS
