"""A job is due every so many minutes; two replicas fire at the same tick, and an admin changes how often it is due.

Both replicas look when it ran last, both find it due, both run it. What helps is to claim the tick: a conditional
update, a lock that is held until the claim is written, a row for each tick that a unique index lets in once. A lock
alone does not (`unrecorded`): it keeps two apart that come together, and a replica whose clock is a second late finds
the lock given back, and runs the tick again.

And a scheduler that has run a job notes so (`edit`). If it saves the whole record that it has loaded, it undoes what an
admin has changed meanwhile in a field that it has no business with. Neither needs to decide on what the other
writes: it would be enough to write one's own fields.
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Self

from harness import (
    Breach,
    ChildRowLayout,
    Claim,
    Evidence,
    Forms,
    HashLayout,
    Invariant,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    RowLayout,
    Rule,
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    first_value,
    procedure_forms,
    procedure_layouts,
    row_count,
)

TICK = 7
"""The minute at which everybody fires; it ran at the one before."""
RUN, NOT_DUE, CHANGED = Reply("run"), Reply("not due"), Reply("changed")

# In Redis a job is a hash of two fields, in PostgreSQL a row of two columns.

RUN_DUE = """
local job = redis.call('HMGET', KEYS[1], 'every', 'last')
if tonumber(ARGV[1]) - job[2] < tonumber(job[1]) then return 0 end
redis.call('HSET', KEYS[1], 'last', ARGV[1])
return 1
"""
CHANGE = "redis.call('HSET', KEYS[1], 'every', ARGV[1]) return 1"

RUN_ROW = "UPDATE scheduled_jobs SET last = $2 WHERE key = $1 AND $2 - last >= every"
CHANGE_ROW = "UPDATE scheduled_jobs SET every = $2 WHERE key = $1"

# With a row for each tick, a unique index lets each in once.

RUN_TICK = """
INSERT INTO ticks (key, member) SELECT $1::text, $2::text FROM ticked_jobs
WHERE key = $1 AND $2::int - (SELECT max(member::int) FROM ticks WHERE key = $1) >= every
ON CONFLICT DO NOTHING
"""
CHANGE_TICKED = CHANGE_ROW.replace("scheduled_jobs", "ticked_jobs")

APART = "each writes fields of its own, and decides on none that the other writes"


def tick_of(request: Request, _now_ms: int) -> tuple[int]:
    """At which tick."""
    return (request.args["at"],)


def every_of(request: Request, _now_ms: int) -> tuple[int]:
    """How often from now on."""
    return (request.args["every"],)


def told(count: Any, request: Request) -> Reply:
    """Read how many jobs were written."""
    if request.operation == "edit":
        return CHANGED
    return RUN if count else NOT_DUE


def statement(sql: str, arguments: Any, cell: type = int) -> StatementForm:
    """A form for PostgreSQL, where the key comes first."""
    return StatementForm(
        sql,
        lambda request, now_ms: (request.key, *map(cell, arguments(request, now_ms))),
        row_count(told),
    )


def call(sql: str, arguments: Any) -> StatementForm:
    """A call of a function."""
    return StatementForm(sql, lambda request, now_ms: (request.key, *arguments(request, now_ms)), first_value(told))


class CronJob(Scenario):
    """Each tick once, and what was changed stays."""

    name = "cron-job"
    summary = "two replicas fire a job at the same tick, or save it while it is edited"
    goes_wrong = "two get in where one may"
    symptoms = {
        "the nightly job ran on every replica": "--strategy pg-read-committed",
        "a lock around the job, and it ran twice": "--strategy redis-lock --rule unrecorded",
        "the scheduler undid what an admin had changed": "--strategy pg-read-committed --rule edit",
    }
    invariant = "a job runs once a tick"
    refusals = ("not due",)
    initial_value: Any = {"every": 1, "last": TICK - 1}
    operations = {
        "tick": Signature({"at": int}, {}, "", ("run", "not due")),
        "edit": Signature({"every": int}, {}, "changed", ("changed",)),
    }
    wrong = {"unrecorded": "who has the lock runs, and writes down nowhere that the tick has run"}
    values = HashLayout(fields={"every": int, "last": int})
    rows = RowLayout(
        {"every": "int", "last": "int"},
        lambda job: (job["every"], job["last"]),
        lambda row: {"every": row[0], "last": row[1]},
        "scheduled_jobs",
    )
    layouts = {
        "unique": ChildRowLayout(
            "ticked_jobs",
            "ticks",
            split=lambda job: ((job["every"],), {str(job["last"]): ()}),
            join=lambda row, ticks: {"every": row[0], "last": max(map(int, ticks))},
            parent_columns={"every": "int"},
        ),
        **procedure_layouts(rows, __file__),
    }
    forms: Mapping[str, Forms | NotExpressible] = {
        "command": NotExpressible("one command cannot compare the last run with the tick"),
        "multi": NotExpressible("it looks when it ran last before it runs"),
        "lua": {"tick": ScriptForm(RUN_DUE, tick_of, told), "edit": ScriptForm(CHANGE, every_of, told)},
        "sql": {"tick": statement(RUN_ROW, tick_of), "edit": statement(CHANGE_ROW, every_of)},
        "unique": {"tick": statement(RUN_TICK, tick_of, str), "edit": statement(CHANGE_TICKED, every_of)},
        **procedure_forms(
            tick=call("SELECT run_tick($1, $2::int)", tick_of), edit=call("SELECT change_job($1, $2::int)", every_of)
        ),
    }
    other_forms = {"edit": forms}

    @property
    def rules(self) -> Mapping[str, Rule]:
        """One rule, under which different things meet; and one that records nothing."""
        return {"tick": self.rule, "edit": self.rule, "unrecorded": unrecorded}

    def under(self, rule: str) -> Self:
        """Who writes other fields than the other reads is not in his way."""
        if rule == "edit":
            holds = Claim("holds", APART)
            self.claims = {
                **dict.fromkeys(("naive:fields", "pg-read-committed:columns"), holds),
                "pg-unique:ignore-count": Claim("not-applicable", "one tick, and nobody to tell that it had run"),
                "pg-conditional:ignore-count": Claim("not-applicable", "one tick, and nobody to tell that it had run"),
                "pg-procedure:no-lock": holds,
            }
        return super().under(rule)

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """Run what is due, and note when; change how often it is."""
        job = state[request.key]
        if request.operation == "edit":
            return Outcome({request.key: {**job, "every": request.args["every"]}}, CHANGED)
        if request.args["at"] - job["last"] < job["every"]:
            return Outcome({}, NOT_DUE)
        return Outcome({request.key: {**job, "last": request.args["at"]}}, RUN)

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Two replicas fire, then anything; or one does while it is edited by all others; alone, each has its turn."""
        if size == 1:
            return [edit(rng) if rng.randrange(2) else tick()]
        if self.executed == "edit":
            return [tick(), *(edit(rng) for _ in range(size - 1))]
        return [tick(), tick(), *(rng.choice((tick(), edit(rng))) for _ in range(size - 2))]

    def invariants(self) -> Sequence[Invariant]:
        """About the replicas, and about the admin."""
        stays = "what was changed last stays so"
        return [Invariant("once a tick", self.invariant, run_twice), Invariant("changes stay", stays, undone)]


def unrecorded(state: State, request: Request, now_ms: int) -> Outcome:
    """Whoever has the lock runs."""
    if request.operation == "edit":
        return Outcome({request.key: {**state[request.key], "every": request.args["every"]}}, CHANGED)
    return Outcome({}, RUN)


def tick() -> Request:
    """A replica's clock has come to the tick."""
    return Request("tick", ("job",), {"at": TICK})


def edit(rng: Random) -> Request:
    """An admin changes how often."""
    return Request("edit", ("job",), {"every": rng.choice((5, 10))})


def run_twice(evidence: Evidence) -> Iterator[Breach]:
    """Count who ran each tick."""
    ran: dict[tuple[str, int], list[str]] = {}
    for one in evidence.operations:
        if one.reply == RUN:
            ran.setdefault((one.request.key, one.request.args["at"]), []).append(one.request.id)
    for (_job, at), names in ran.items():
        if len(names) > 1:
            yield Breach(f"the job ran {len(names)} times at tick {at}", tuple(names), len(names) - 1)


def undone(evidence: Evidence) -> Iterator[Breach]:
    """Compare what was asked for with what is there: the last one counts, and any may have been that."""
    for key, job in (evidence.rest or {}).items():
        edits = [one for one in evidence.operations if one.request.operation == "edit" and one.request.key == key]
        asked = {one.request.args["every"] for one in edits if one.status != "failed"}
        if any(one.reply == CHANGED for one in edits) and job["every"] not in asked:
            wanted = " or ".join(map(str, sorted(asked)))
            ids = tuple(one.request.id for one in edits if one.reply == CHANGED)
            yield Breach(f"it was set to every {wanted} minutes, and is every {job['every']}", ids)
