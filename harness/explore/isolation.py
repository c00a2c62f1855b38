"""The isolation anomalies, played: each case at each level, its steps let through one at a time by the scheduler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from harness.explore.anomalies import LEVELS, Anomaly, Case
from harness.explore.caller import Caller
from harness.explore.event import Choice
from harness.explore.machine import Machine
from harness.explore.program import Cast, Cell
from harness.explore.replay import Replay
from harness.explore.world import World
from harness.model import Claim, Conditions, Reply, Request, Rule, StatementRefused, Step, StoreFault
from harness.stores import Stores
from harness.strategy import Isolation, RowLayout, Scenario, Session, Strategy

PATIENCE_S = 10.0
"""A case takes milliseconds; one that is not over by then shows nothing."""
_CLEAN_S = 1.0
_REST = "DELETE FROM test; INSERT INTO test VALUES (1, 10), (2, 20)"


@dataclass(frozen=True, slots=True)
class Answer:
    """A step that was taken, by its number from 1: what was sent, and what came back. `waited`: for a lock.

    `sent_ns` is on the schedule's own clock.
    """

    number: int
    transaction: str
    statement: str
    reply: str
    waited: bool
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Played:
    """A case at a level. `prevents`: what it shows, or None. `ends`: how each transaction ended.

    That is COMMIT, ROLLBACK, the SQLSTATE with which it was refused, or `waits`.
    """

    level: Isolation
    anomaly: Anomaly
    case: Case
    prevents: bool | None
    answers: tuple[Answer, ...]
    ends: dict[str, str]

    @property
    def expected(self) -> bool:
        """What the level should do."""
        return self.anomaly.expected(self.level)

    @property
    def differs(self) -> bool:
        """Whether something else was seen, or something that shows nothing."""
        return self.prevents is not self.expected


@dataclass(slots=True)
class IsolationTable:
    """All that was played. `stopped` says why that is not all; "" where it is. `complete`: nobody interrupted it."""

    anomalies: Sequence[Anomaly]
    played: list[Played] = field(default_factory=list)
    stopped: str = ""
    complete: bool = True

    def prevents(self, level: Isolation, anomaly: Anomaly) -> bool | None:
        """A cell: false where one of the anomaly's cases showed it, true where all were kept from it, else None."""
        found = [one.prevents for one in self.played if (one.level, one.anomaly) == (level, anomaly)]
        if False in found:
            return False
        return True if len(found) == len(anomaly.cases) and None not in found else None

    def lost(self, why: str) -> IsolationTable:
        """The same, where a store was lost meanwhile: nothing that was seen counts."""
        return IsolationTable(self.anomalies, [], f"a store was lost: {why}", self.complete)


async def play_anomalies(
    stores: Stores, anomalies: Sequence[Anomaly], progress: Callable[[int, int], None] = lambda _done, _total: None
) -> IsolationTable:
    """Every case at every level. `stores` must be open; `progress` is told how many of how many are done."""
    table = IsolationTable(anomalies)
    cases = [(level, anomaly, case) for level in LEVELS for anomaly in anomalies for case in anomaly.cases]
    try:
        async with Server(stores) as server:
            for number, (level, anomaly, case) in enumerate(cases):
                progress(number, len(cases))
                answers, ends = await server.play(case, level)
                table.played.append(Played(level, anomaly, case, _shown(case, answers, ends), answers, ends))
    except asyncio.CancelledError:  # Ctrl-C: what was seen before stands
        table.stopped, table.complete = "interrupted", False
    except StatementRefused as refused:
        table.stopped = f"the server refuses what every case begins with: {refused}"
    except StoreFault as fault:
        table.stopped = f"a store was lost: {fault}"
    except TimeoutError:
        level, anomaly, _case = cases[len(table.played)]
        table.stopped = f"{anomaly.name} at {level} was not over after {PATIENCE_S:g} s"
    return table


class Server:
    """A PostgreSQL with one connection for each transaction of a case, as an async context."""

    def __init__(self, stores: Stores) -> None:
        """The stores must be open."""
        self.scenario = _Cases()
        self.world = World(stores, Transactions(self.scenario), ("test",))

    async def __aenter__(self) -> Self:
        await self.world.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.world.close()

    async def play(self, case: Case, level: Isolation) -> tuple[tuple[Answer, ...], dict[str, str]]:
        """The answers to its steps, and how each transaction ended. Raises StoreFault, TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            await (await self.world.postgres(0)).script(_REST)
            async with self._machine(case, level) as machine:
                callers = dict(zip(case.transactions, machine.callers, strict=True))
                order = [Choice("step", callers[transaction].name) for transaction, _statement in case.steps]
                await machine.run(Replay(order, lenient=True))
                if machine.disturbed:
                    raise StoreFault("connection-lost", machine.disturbed)
                answers = _answers(case, machine, callers)
                return answers, {one: _end(answers, one, caller) for one, caller in callers.items()}

    @contextlib.asynccontextmanager
    async def _machine(self, case: Case, level: Isolation) -> AsyncIterator[Machine]:
        strategy = Transactions(self.scenario, level)
        cell = Cell(self.scenario, strategy, self.scenario.rule, processes=1, clock_steps=False)
        requests = [Request("transaction", ("test",), {"statements": case.of(one)}) for one in case.transactions]
        cast = Cast(cell, requests, {"test": "test"}, self.world)
        machine = Machine(self.world, cast, (), 0)
        try:
            yield machine
        finally:
            with contextlib.suppress(StoreFault, TimeoutError):  # a dead server has nothing to clean
                async with asyncio.timeout(_CLEAN_S):
                    await machine.clean()


class Transactions(Strategy):
    """A request is the statements of one transaction; the variant is its isolation level."""

    name = "transactions"
    family = "postgres"
    needs = {"postgres": "14"}  # noqa: RUF012 - as every strategy says it

    def claims(self, conditions: Conditions) -> Claim:  # noqa: ARG002 - no conditions matter
        """It protects no rule."""
        return Claim("not-applicable", "a level is judged by what it prevents")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:  # noqa: ARG002 - there is no rule
        """All statements; a refusal ends it."""
        *statements, last = request.args["statements"]
        level: Isolation = self.variant  # type: ignore[assignment] # a level by its name
        with contextlib.suppress(StatementRefused, _RolledBack):
            async with session.transaction(level) as tx:
                for statement in statements:
                    await tx.sql(statement)
                if last == "ROLLBACK":
                    raise _RolledBack
        return Reply("over")


class _RolledBack(Exception):
    """A transaction that its case rolls back."""


class _TestTable(RowLayout):
    """`test (id, value)`: a case reads and writes more than one row."""

    @property
    def schema(self) -> tuple[str, ...]:
        """One table."""
        return ("CREATE TABLE IF NOT EXISTS test (id int PRIMARY KEY, value int)",)


class _Cases(Scenario):
    """Where the cases play: no rule is tried."""

    name = "isolation"
    rows = _TestTable({"value": "int"}, lambda value: (value,), lambda row: row[0])


def _shown(case: Case, answers: Sequence[Answer], ends: dict[str, str]) -> bool | None:
    """What a play shows: nothing where somebody had to wait so long that the steps came in another order."""
    sent = [answer.sent_ns for answer in answers]
    if sent != sorted(sent):
        return None
    told = [""] * len(case.steps)
    for answer in answers:
        told[answer.number - 1] = f"{'waited: ' * answer.waited}{answer.reply}"
    return case.prevents(told, ends)


def _answers(case: Case, machine: Machine, callers: dict[str, Caller]) -> tuple[Answer, ...]:
    """What was sent and answered, in the order of the case; the ROLLBACK after a refusal is none of its steps."""
    shown: dict[str, list[tuple[Step, bool]]] = {caller.name: [] for caller in callers.values()}
    waiting: set[str] = set()
    for event in machine.events:
        if event.blocked:
            waiting.add(event.choice.caller)
        for step in event.steps:
            if step.kind == "sql":
                shown[step.caller].append((step, step.caller in waiting))
                waiting.discard(step.caller)
    found = []
    for number, (transaction, statement) in enumerate(case.steps, start=1):
        left = shown[callers[transaction].name]
        if left and left[0][0].command[0] == statement:
            step, waited = left.pop(0)
            found.append(Answer(number, transaction, statement, step.reply, waited, step.sent_ns))
    return tuple(found)


def _end(answers: Sequence[Answer], transaction: str, caller: Caller) -> str:
    """COMMIT, ROLLBACK, the SQLSTATE of its refusal, or `waits`."""
    own = [answer for answer in answers if answer.transaction == transaction]
    if own and own[-1].reply.startswith("! "):
        return own[-1].reply.removeprefix("! ")
    if own and not caller.alive:
        return own[-1].statement
    return "waits"
