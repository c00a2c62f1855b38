"""Four ways to carry an attempt: plain, with a key, with an undo, with steps that are written down.

What a flow asks of the stores goes through the strategy as ever; what it asks of the outside goes to a real service.
Each way is what an engineer would write: a call that got no answer is made once more, or is made up for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from harness.burst.session import LoadSession, VirtualProcess
from harness.flows.outside import ask
from harness.model import NOTHING, Attempt, ConnectionLost, GaveUp, Reply, Request, Rule, StoreFault
from harness.stores import PostgresConnection, RedisConnection, Targets
from harness.strategy import Rows, Scenario, Strategy

LEASE_S = 1.0
"""For so long without a step, whoever carries a saga is taken for alive."""

Say = Callable[..., None]


class Ground:
    """What an attempt stands on in one process: the stores, under a strategy and a rule, and the outside service."""

    def __init__(
        self, scenario: Scenario, strategy: Strategy, rule: Rule, targets: Targets, port: int, *,
        executor: str = "", tell: Callable[[str, str], None] = lambda _what, _told: None,
    ) -> None:  # fmt: skip
        """`port` is the outside service's; `executor` is who asks it; `tell` hears of each thing done and its reply."""
        self.scenario = scenario
        self.strategy = strategy
        self.rule = rule
        self.targets = targets
        self.port = port
        self.executor = executor
        self.tell = tell
        self._process = VirtualProcess()
        self._sessions: dict[asyncio.AbstractEventLoop, LoadSession] = {}

    async def session(self) -> LoadSession:
        """The session of this event loop: a workflow that is resumed may run in another."""
        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            assert self.targets.postgres is not None
            postgres = await PostgresConnection.open(self.targets.postgres, self.targets.schema)
            redis = None if self.targets.redis is None else await RedisConnection.open(self.targets.redis)
            self._sessions[loop] = LoadSession(
                "flow", self.targets.prefix, self._process, redis=redis, postgres=postgres
            )
        return self._sessions[loop]

    async def close(self) -> None:
        """Close this event loop's session."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    async def apply(self, attempt: Attempt, number: int, operation: str, args: dict[str, Any]) -> Reply:
        """Request `number` of an attempt: its id is the same when it is made again."""
        request = Request(
            operation, attempt.keys, args or NOTHING, f"{attempt.id}.{number}", attempt.id, attempt.role
        )  # fmt: skip
        reply = await self.strategy.apply(await self.session(), request, self.rule)
        self.tell(operation, reply.decision)
        return reply

    async def sql(self, statement: str, *args: Any) -> Rows:
        """A statement of our own, in the run's schema."""
        return await (await self.session()).sql(statement, *args)

    async def effect(self, attempt: Attempt, name: str, key: str) -> None:
        """Ask it of the outside service, with an idempotency key or "". Raises ConnectionLost."""
        await ask(self.port, do="effect", name=name, attempt=attempt.id, key=key, by=self.executor)


class Inline:
    """Plain code. `keyed`: it sends an idempotency key."""

    def __init__(self, ground: Ground, executor: str, say: Say, *, keyed: bool = False) -> None:
        """`executor` names the process, the same when it is started again; `say` tells its parent what happens."""
        self.ground = ground
        self.executor = executor
        self.say = say
        self.keyed = keyed

    async def open(self) -> None:
        """Get ready."""
        await self.ground.session()

    async def perform(self, attempt: Attempt) -> None:
        """Carry an attempt that was delivered. Raises StoreFault."""
        await self.ground.scenario.flow(PlainFlow(self, attempt))

    async def recover(self, *, others: bool) -> None:
        """Go on with what a process of this name, or `others` too, left unfinished: nobody wrote it down."""

    async def effect(self, attempt: Attempt, name: str, key: str) -> None:
        """A call, and another where the first got no answer."""
        try:
            await self.ground.effect(attempt, name, key if self.keyed else "")
        except ConnectionLost:
            await self.ground.effect(attempt, name, key if self.keyed else "")


class PlainFlow:
    """A flow's requests and effects as they come."""

    def __init__(self, way: Inline, attempt: Attempt) -> None:
        """Of one attempt."""
        self.attempt = attempt
        self.way = way
        self.number = 0

    async def apply(self, operation: str, **args: Any) -> Reply:
        """Under the strategy."""
        self.number += 1
        return await self.way.ground.apply(self.attempt, self.number, operation, args)

    async def effect(self, name: str, *, id: str = "", undo: str = "") -> None:  # noqa: A002, ARG002 - nothing is undone
        """Of the outside service."""
        self.number += 1
        await self.way.effect(self.attempt, name, id)

    async def wait(self) -> bool:
        """An attempt that is alone waits for nobody."""
        return False


class Compensating(Inline):
    """Code that makes up for what it did, as long as it lives."""

    async def perform(self, attempt: Attempt) -> None:
        """Undo what was done where the rest does not come about."""
        flow = CompensatedFlow(self, attempt)
        try:
            await self.ground.scenario.flow(flow)
        except StoreFault:
            await flow.make_up()
            raise


class CompensatedFlow(PlainFlow):
    """It knows what is to be undone."""

    def __init__(self, way: Inline, attempt: Attempt) -> None:
        """Nothing yet."""
        super().__init__(way, attempt)
        self.undos: list[str] = []

    async def effect(self, name: str, *, id: str = "", undo: str = "") -> None:  # noqa: A002, ARG002 - no key is sent
        """One call; where it got no answer, all is undone."""
        self.number += 1
        self.undos += [undo] if undo else []
        try:
            await self.way.ground.effect(self.attempt, name, "")
        except ConnectionLost as lost:
            await self.make_up()
            raise GaveUp(f"{name}: {lost}") from None

    async def make_up(self) -> None:
        """The last first."""
        while self.undos:
            await self.way.ground.effect(self.attempt, self.undos.pop(), "")


STEPS = """
CREATE TABLE IF NOT EXISTS flow_attempts (
  attempt text PRIMARY KEY, owner text NOT NULL, until timestamptz NOT NULL, body text NOT NULL,
  ended boolean NOT NULL DEFAULT false
);
CREATE TABLE IF NOT EXISTS flow_steps (
  attempt text NOT NULL, number bigint NOT NULL, result text, PRIMARY KEY (attempt, number)
)
"""
_CLAIM = """
INSERT INTO flow_attempts (attempt, owner, until, body)
VALUES ($1::text, $2::text, clock_timestamp() + make_interval(secs => $3::float8), $4::text) ON CONFLICT DO NOTHING
"""
_TAKE_OVER = """
UPDATE flow_attempts SET owner = $1::text, until = clock_timestamp() + make_interval(secs => $2::float8)
WHERE NOT ended AND (owner = $1::text OR ($3::boolean AND until < clock_timestamp())) RETURNING attempt, body
"""
_ALIVE = """
UPDATE flow_attempts SET until = clock_timestamp() + make_interval(secs => $3::float8)
WHERE attempt = $1::text AND owner = $2::text
"""
_BEGIN = "INSERT INTO flow_steps (attempt, number) VALUES ($1::text, $2::bigint) ON CONFLICT DO NOTHING"
_RESULT = "SELECT result FROM flow_steps WHERE attempt = $1::text AND number = $2::bigint"
_DONE = "UPDATE flow_steps SET result = $3::text WHERE attempt = $1::text AND number = $2::bigint"
_ENDED = "UPDATE flow_attempts SET ended = true WHERE attempt = $1::text"
_LEFT = "SELECT count(*) FROM flow_attempts WHERE NOT ended"
_UNDONE = "undone"


class Saga(Inline):
    """Each step is written down before and after it.

    One that began and may have been done is undone, or, with a key, done again.
    """

    async def open(self) -> None:
        """Make the tables."""
        session = await self.ground.session()
        assert session.postgres is not None
        await session.postgres.script(f"SELECT pg_advisory_xact_lock(hashtext(current_schema())); {STEPS}")

    async def perform(self, attempt: Attempt) -> None:
        """Whoever writes it down first carries it."""
        body = json.dumps([attempt.keys, dict(attempt.args), attempt.id, attempt.role])
        claimed = await self.ground.sql(_CLAIM, attempt.id, self.executor, LEASE_S, body)
        if not claimed.count:
            self.say("waits")
            return
        await self._carry(attempt)

    async def _carry(self, attempt: Attempt) -> None:
        await self.ground.scenario.flow(SagaFlow(self, attempt))
        await self.ground.sql(_ENDED, attempt.id)

    async def recover(self, *, others: bool) -> None:
        """Take over what this process left, or what nobody has carried on for a lease."""
        async with asyncio.timeout(10 * LEASE_S):
            while True:
                taken = await self.ground.sql(_TAKE_OVER, self.executor, LEASE_S, others)
                for _attempt, body in taken.rows:
                    keys, args, id_, role = json.loads(body)
                    await self._carry(Attempt(tuple(keys), args, id_, role))
                if not others or not (await self.ground.sql(_LEFT)).rows[0][0]:
                    return
                await asyncio.sleep(LEASE_S / 10)


class SagaFlow(PlainFlow):
    """Steps that are known are not made again."""

    way: Saga

    async def _known(self) -> tuple[bool, str | None]:
        """Whether the next step was begun before, and its result where that is known."""
        self.number += 1
        sql = self.way.ground.sql
        await sql(_ALIVE, self.attempt.id, self.way.executor, LEASE_S)
        begun = await sql(_BEGIN, self.attempt.id, self.number)
        return not begun.count, (await sql(_RESULT, self.attempt.id, self.number)).rows[0][0]

    async def _done(self, result: str) -> None:
        await self.way.ground.sql(_DONE, self.attempt.id, self.number, result)

    async def apply(self, operation: str, **args: Any) -> Reply:
        """A transition that may have been made is made again: it knows its attempt."""
        _begun, result = await self._known()
        if result is not None:
            return Reply(*json.loads(result))
        reply = await self.way.ground.apply(self.attempt, self.number, operation, args)
        await self._done(json.dumps([reply.decision, dict(reply.values)]))
        return reply

    async def effect(self, name: str, *, id: str = "", undo: str = "") -> None:  # noqa: A002 - as in Flow
        """An effect that may have been done is undone, or done again under the same key."""
        begun, result = await self._known()
        if begun and result is None:
            self.way.ground.tell(f"reads that {name} was begun", "no result")
        if result == _UNDONE:
            raise GaveUp(name)
        if result is not None:
            return
        if begun and not self.way.keyed:
            await self._undo(name, undo)
        try:
            if self.way.keyed:
                await self.way.effect(self.attempt, name, id)
            else:
                await self.way.ground.effect(self.attempt, name, "")
        except ConnectionLost:
            await self._undo(name, undo)
        await self._done("done")

    async def _undo(self, name: str, undo: str) -> None:
        if undo:
            await self.way.ground.effect(self.attempt, undo, "")
        await self._done(_UNDONE)
        raise GaveUp(name)
