"""The anomalies of transaction isolation, played on a real PostgreSQL one step at a time.

Anomalies and cases are those of Hermitage (Martin Kleppmann, github.com/ept/hermitage, CC BY 4.0), the expected
cells those of PostgreSQL's documentation, chapter "Transaction Isolation", and of Hermitage's own runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from harness.burst.cells import Bound
from harness.burst.plan import Cell
from harness.explore.engine import Explorer, Options, Schedule
from harness.explore.event import Choice
from harness.explore.replay import Replay
from harness.model import Claim, Conditions, Outcome, RaceError, Reply, Request, Rule, State, StatementRefused
from harness.stores import PostgresConnection, Stores
from harness.strategy import Isolation, Scenario, Session, Strategy

LEVELS: tuple[Isolation, ...] = ("read committed", "repeatable read", "serializable")
ANOMALIES = {
    "G0": "dirty write",
    "G1a": "aborted read",
    "G1b": "intermediate read",
    "G1c": "circular information flow",
    "OTV": "observed transaction vanishes",
    "PMP": "predicate-many-preceders",
    "P4": "lost update",
    "G-single": "read skew",
    "G2-item": "write skew",
    "G2": "anti-dependency cycle",
}
EXPECTED: Mapping[str, frozenset[str]] = {
    "read committed": frozenset({"G0", "G1a", "G1b", "G1c", "OTV"}),
    "repeatable read": frozenset(ANOMALIES) - {"G2-item", "G2"},
    "serializable": frozenset(ANOMALIES),
}
"""What each level prevents."""

_COMMIT, _ABORT = "COMMIT", "ROLLBACK"
_SERIALIZATION = ("40001", "40P01")
_START = "INSERT INTO test (id, value) VALUES (1, 10), (2, 20)"


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a case.

    For each transaction what it was answered, rows or a number of rows, and the code that ended it, or ""; who had
    to wait; `rest` are the rows left behind.
    """

    answers: Mapping[str, Sequence[Any]]
    errors: Mapping[str, str]
    waited: frozenset[str]
    rest: Mapping[int, int]

    def both_committed(self) -> bool:
        """Nobody was refused."""
        return not any(self.errors.values())

    def told(self) -> str:
        """In one line."""
        parts = [
            f"{name} {'got ' + self.errors[name] if self.errors[name] else 'ended'}"
            f"{', saw ' + '; '.join(map(str, answers)) if answers else ''}"
            for name, answers in self.answers.items()
        ]
        return f"{'. '.join(parts)}. Left: {', '.join(f'{key} => {value}' for key, value in self.rest.items())}"


@dataclass(frozen=True, slots=True)
class Case:
    """One way to try an anomaly: steps in their order, and whether what was seen shows that it was prevented."""

    anomaly: str
    title: str
    steps: Sequence[tuple[str, str]]
    prevented: Callable[[Seen], bool]
    waits: str = ""
    """Who has to wait for another's lock, at every level."""


def _steps(text: str) -> list[tuple[str, str]]:
    """`T1 u1=11; T2 r1; T1 commit` as transactions and statements."""
    found = []
    for part in text.split(";"):
        name, _, what = part.strip().partition(" ")
        found.append((name, _statement(what)))
    return found


def _statement(what: str) -> str:
    if what in {"commit", "abort"}:
        return _COMMIT if what == "commit" else _ABORT
    if what[0] == "u" and what[1].isdigit():
        key, _, value = what[1:].partition("=")
        return f"UPDATE test SET value = {value} WHERE id = {key}"  # noqa: S608 - our own words
    if what[0] == "r" and what[1].isdigit():
        return f"SELECT value FROM test WHERE id = {what[1:]}"  # noqa: S608 - our own words
    if what.startswith("where "):
        return f"SELECT id, value FROM test WHERE {what.removeprefix('where ')} ORDER BY id"  # noqa: S608 - our own words
    return what


def _mixed(seen: Seen) -> bool:
    return (seen.rest[1], seen.rest[2]) not in {(11, 21), (12, 22)}


def _whole(seen: Seen) -> bool:
    """The third one saw all of a transaction or nothing of it, and nothing of it vanished."""
    first, second, third, fourth = (answer[0][0] for answer in seen.answers["T3"])
    return (first, second) in {(11, 19), (10, 20)} and (fourth, third) in {(11, 19), (12, 18), (10, 20)}


CASES = (
    Case("G0", "dirty write", _steps("T1 u1=11; T2 u1=12; T1 u2=21; T1 commit; T2 u2=22; T2 commit"),
         lambda seen: not _mixed(seen), "T2"),
    Case("G1a", "aborted read", _steps("T1 u1=101; T2 r1; T1 abort; T2 r1; T2 commit"),
         lambda seen: ((101,),) not in seen.answers["T2"]),
    Case("G1b", "intermediate read", _steps("T1 u1=101; T2 r1; T1 u1=11; T1 commit; T2 r1; T2 commit"),
         lambda seen: ((101,),) not in seen.answers["T2"]),
    Case("G1c", "circular information flow", _steps("T1 u1=11; T2 u2=22; T1 r2; T2 r1; T1 commit; T2 commit"),
         lambda seen: not (seen.answers["T1"][-1:] == [((22,),)] and seen.answers["T2"][-1:] == [((11,),)])),
    Case("OTV", "observed transaction vanishes",
         _steps("T1 u1=11; T1 u2=19; T2 u1=12; T1 commit; T3 r1; T2 u2=18; T3 r2; T2 commit; T3 r2; T3 r1; T3 commit"),
         _whole, "T2"),
    Case("PMP", "by a reader",
         _steps("T1 where value = 30; T2 INSERT INTO test (id, value) VALUES (3, 30); T2 commit;"
                " T1 where value % 3 = 0; T1 commit"),
         lambda seen: seen.answers["T1"][1] == ()),
    Case("PMP", "by a writer",
         _steps("T1 UPDATE test SET value = value + 10; T2 DELETE FROM test WHERE value = 20; T1 commit;"
                " T2 where value = 20; T2 commit"),
         lambda seen: bool(seen.errors["T2"]) or not (seen.answers["T2"][0] == 0 and seen.answers["T2"][1]), "T2"),
    Case("P4", "lost update", _steps("T1 r1; T2 r1; T1 u1=11; T2 u1=11; T1 commit; T2 commit"),
         lambda seen: not seen.both_committed(), "T2"),
    Case("G-single", "read skew", _steps("T1 r1; T2 r1; T2 r2; T2 u1=12; T2 u2=18; T2 commit; T1 r2; T1 commit"),
         lambda seen: seen.answers["T1"][1] == ((20,),)),
    Case("G-single", "by predicates",
         _steps("T1 where value % 5 = 0; T2 UPDATE test SET value = 12 WHERE value = 10; T2 commit;"
                " T1 where value % 3 = 0; T1 commit"),
         lambda seen: seen.answers["T1"][1] == ()),
    Case("G-single", "by a writer",
         _steps("T1 r1; T2 u1=12; T2 u2=18; T2 commit; T1 DELETE FROM test WHERE value = 20; T1 commit"),
         lambda seen: bool(seen.errors["T1"])),
    Case("G2-item", "write skew",
         _steps("T1 where id IN (1, 2); T2 where id IN (1, 2); T1 u1=11; T2 u2=21; T1 commit; T2 commit"),
         lambda seen: not seen.both_committed()),
    Case("G2", "anti-dependency cycle",
         _steps("T1 where value % 3 = 0; T2 where value % 3 = 0; T1 INSERT INTO test (id, value) VALUES (3, 30);"
                " T2 INSERT INTO test (id, value) VALUES (4, 42); T1 commit; T2 commit"),
         lambda seen: not seen.both_committed()),
)  # fmt: skip


class Unplayable(RaceError):
    """A case did not run as it is written: exit 3."""


class _Aborted(Exception):
    """Leaves a transaction on purpose."""


class _Transactions(Scenario):
    """The transactions of one case, each a request."""

    name = "isolation"

    def __init__(self, case: Case) -> None:
        self.case = case
        self.names = tuple(dict.fromkeys(name for name, _what in case.steps))

    def rule(self, _state: State, _request: Request, _now_ms: int) -> Outcome:
        """Nobody asks."""
        return Outcome({}, Reply("done"))

    def allowed(
        self, state: State, _request: Request, _now_ms: int, _reply: Reply | None, _rule: Rule
    ) -> Iterable[State]:
        """What is right is for the case to say."""
        yield state

    def burst(self, _rng: Random, _size: int) -> Sequence[Request]:
        """One for each transaction."""
        return [Request("run", ("test",), {"name": name}) for name in self.names]


class _AtLevel(Strategy):
    """Runs a transaction's statements at one level."""

    name = "isolation"
    family = "postgres"
    needs: Mapping[str, str] = {"postgres": "14"}

    def __init__(self, scenario: _Transactions, isolation: Isolation) -> None:
        super().__init__(scenario)
        self.case = scenario.case
        self.isolation: Isolation = isolation
        self.answers: dict[str, list[Any]] = {name: [] for name in scenario.names}
        self.errors = dict.fromkeys(scenario.names, "")

    def claims(self, conditions: Conditions) -> Claim:  # noqa: ARG002 - nothing depends on them
        """Nothing."""
        return Claim("holds")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:  # noqa: ARG002 - no rule is asked
        """One statement after the other, up to COMMIT or ROLLBACK."""
        name = request.args["name"]
        try:
            async with session.transaction(self.isolation) as tx:
                for who, what in self.case.steps:
                    if who != name or what == _COMMIT:
                        continue
                    if what == _ABORT:
                        raise _Aborted  # noqa: TRY301 - how a transaction is left
                    rows = await tx.sql(what)
                    self.answers[name].append(rows.rows if what.startswith("SELECT") else rows.count)
        except _Aborted:
            pass
        except StatementRefused as error:
            self.errors[name] = error.code
        return Reply("done")


@dataclass(frozen=True, slots=True)
class Played:
    """A case at a level, and what was seen."""

    case: Case
    level: Isolation
    seen: Seen
    prevented: bool


async def play(
    stores: Stores, cases: Sequence[Case] = CASES, levels: Sequence[Isolation] = LEVELS,
    progress: Callable[[int], None] = lambda _done: None,
) -> list[Played]:  # fmt: skip
    """Every case at every level. Raises Unplayable, ConnectionLost, StatementRefused."""
    assert stores.postgres is not None
    aside = await PostgresConnection.open(stores.postgres, stores.schema)
    played: list[Played] = []
    try:
        await aside.script(f"CREATE TABLE {stores.schema}.test (id int PRIMARY KEY, value int)")
        for level in levels:
            for case in cases:
                seen = await _play(stores, aside, case, level)
                played.append(Played(case, level, seen, case.prevented(seen)))
                progress(len(played))
    finally:
        await aside.close()
    return played


async def _play(stores: Stores, aside: PostgresConnection, case: Case, level: Isolation) -> Seen:
    await aside.script(f"TRUNCATE test; {_START}")
    scenario = _Transactions(case)
    strategy = _AtLevel(scenario, level)
    bound = Bound(Cell(scenario.name, strategy.name, "default"), scenario, strategy, Claim("holds"))
    letters = dict(zip(scenario.names, "ABC", strict=False))
    choices = [Choice("step", letters[name]) for name, _what in case.steps]
    async with Explorer(bound, stores, Options(size=len(scenario.names))) as explorer:
        schedule = await explorer.play(Replay(choices, lenient=True))
    if schedule is None or explorer.disturbed:
        raise Unplayable(f"{case.anomaly} at {level}: {explorer.disturbed or 'it could not be played'}; run it again")
    seen = _seen(schedule, strategy, letters, (await aside.sql("SELECT id, value FROM test ORDER BY id")).rows)
    for name, code in seen.errors.items():
        if code and code not in _SERIALIZATION:  # refused for another reason, an anomaly would look prevented
            raise Unplayable(f"{case.anomaly} at {level}: {name} was refused with {code}; nothing can be said")
    if seen.waited != frozenset(filter(None, [case.waits])):
        raise Unplayable(f"{case.anomaly} at {level}: {_waited(seen.waited)} waited, which is not as it is written")
    return seen


def _waited(names: Iterable[str]) -> str:
    return " and ".join(sorted(names)) or "nobody"


def _seen(
    schedule: Schedule, strategy: _AtLevel, letters: Mapping[str, str], rows: Sequence[Sequence[Any]]
) -> Seen:  # fmt: skip
    waited = {event.choice.caller for event in schedule.events if event.blocked}
    return Seen(
        strategy.answers, strategy.errors, frozenset(name for name, letter in letters.items() if letter in waited),
        dict(rows),  # type: ignore[arg-type] # of two columns
    )  # fmt: skip


def prevents(played: Sequence[Played], level: Isolation) -> dict[str, bool]:
    """For each anomaly, whether none of its cases showed it at this level."""
    return {
        anomaly: all(one.prevented for one in played if (one.case.anomaly, one.level) == (anomaly, level))
        for anomaly in ANOMALIES
    }
