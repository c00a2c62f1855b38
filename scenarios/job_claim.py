"""Workers claim jobs; a job is given to one of them, and what has ended stays as it is.

"Is it free?" and "it is mine" are two steps, and both workers take the first free job. Any
free job will do, which is a rule with a choice: whoever comes second may as well have the
next one. Where a runner thinks a job late and hands it out again, it is that one job or none
(`named`). A worker that has finished writes `done`, unless somebody has cancelled meanwhile:
if it does not look (`blind`), no lock in the world helps; where it does (`ended`), the first end stays.
Jobs that must not run together (`one-lock`) are different rows: whoever skips, or locks, the row of his own
job does not notice the other's. An index that lets one of them be at work does, and so does a rule by which
only the first in the line may be taken (`head-of-line`): then both want the same row, unless it is skipped.

A queue that hears nothing of a job hands it out again: where its visibility timeout is shorter than the job's delay,
two workers hold one job, and run it when it is due. That it was put into the queue once (`unique-enqueue`) says nothing
of how often it is handed out; whoever has to claim it in the job's own store first (`redelivered`) may be refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple, Self

from harness import (
    Attempt,
    Breach,
    ChildRowLayout,
    Claim,
    Evidence,
    Flow,
    Forms,
    Invariant,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    Rows,
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

ANY = "any"
"""In place of a job's name: whichever is free."""
AT_WORK = "j3"
"""The job that `w0` is at work on from the beginning."""
JOBS = {"j1": ["free", ""], "j2": ["free", ""], AT_WORK: ["claimed", "w0"]}
"""Name to state and worker."""

NONE, COMPLETED, LATE = Reply("none"), Reply("completed"), Reply("late")
CANCELLED, TOO_LATE = Reply("cancelled"), Reply("too late")


def claimed(job: str) -> Reply:
    """What a worker is told that has got one."""
    return Reply("claimed", {"job": job})


# In Redis a queue is the JSON of its jobs.

CLAIM = """
local jobs, first = cjson.decode(redis.call('GET', KEYS[1])), nil
for name, job in pairs(jobs) do
  if job[1] == 'free' and (ARGV[2] == 'any' or ARGV[2] == name) and (not first or name < first) then first = name end
end
if not first then return false end
jobs[first] = {'claimed', ARGV[1]}
redis.call('SET', KEYS[1], cjson.encode(jobs))
return first
"""
CLAIM_ALONE = CLAIM.replace(
    "local jobs, first = cjson.decode(redis.call('GET', KEYS[1])), nil",
    """local jobs, first = cjson.decode(redis.call('GET', KEYS[1])), nil
for name, job in pairs(jobs) do
  if job[1] == 'claimed' and name ~= 'j3' then return false end
end""",
)
CLAIM_HEAD = """
local jobs, head = cjson.decode(redis.call('GET', KEYS[1])), nil
for name, job in pairs(jobs) do
  local open = job[1] == 'free' or job[1] == 'claimed'
  if name ~= 'j3' and open and (not head or name < head) then head = name end
end
if not head or jobs[head][1] ~= 'free' or (ARGV[2] ~= 'any' and ARGV[2] ~= head) then return false end
jobs[head] = {'claimed', ARGV[1]}
redis.call('SET', KEYS[1], cjson.encode(jobs))
return head
"""
END = """
local jobs = cjson.decode(redis.call('GET', KEYS[1]))
local job = jobs[ARGV[1]]
if not (%s) then return 0 end
job[1] = '%s'
redis.call('SET', KEYS[1], cjson.encode(jobs))
return 1
"""
COMPLETE = END % ("job[1] == 'claimed' and job[2] == ARGV[2]", "done")
COMPLETE_BLINDLY = END % ("true", "done")
CANCEL = END % ("job[1] == 'free' or job[1] == 'claimed'", "cancelled")

# In PostgreSQL a job is a row. One statement looks for the first that is free, and then for that one again.

CLAIM_ROW = """
UPDATE jobs SET state = 'claimed', worker = $2 WHERE key = $1 AND state = 'free' AND member = (
    SELECT member FROM jobs WHERE key = $1 AND state = 'free' AND ($3 = 'any' OR member = $3)
    ORDER BY member LIMIT 1
) RETURNING member
"""
CLAIM_UNLOCKED = """
UPDATE jobs SET state = 'claimed', worker = $2 WHERE key = $1 AND member = (
    SELECT member FROM jobs WHERE key = $1 AND state = 'free' AND ($3 = 'any' OR member = $3)
    ORDER BY member LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING member
"""
CLAIM_FIRST = """
UPDATE jobs SET state = 'claimed', worker = $2 WHERE key = $1 AND state = 'free' AND ($3 = 'any' OR member = $3)
AND member = (
    SELECT member FROM jobs WHERE key = $1 AND state IN ('free', 'claimed') AND member <> 'j3' ORDER BY member LIMIT 1
) RETURNING member
"""
CLAIM_FIRST_UNLOCKED = CLAIM_FIRST.replace("LIMIT 1", "LIMIT 1 FOR UPDATE SKIP LOCKED")
ALONE = " AND NOT EXISTS (SELECT FROM jobs WHERE key = $1 AND state = 'claimed' AND member <> 'j3') AND member = ("
# An index in which all jobs at work that exclude each other are the same lets one of them in.
ONE_AT_WORK = """
CREATE UNIQUE INDEX IF NOT EXISTS one_at_work ON locked_jobs (key) WHERE state = 'claimed' AND member <> 'j3'
"""
COMPLETE_ROW = """
UPDATE jobs SET state = 'done' WHERE key = $1 AND member = $2 AND state = 'claimed' AND worker = $3
"""
COMPLETE_ROW_BLINDLY = "UPDATE jobs SET state = 'done' WHERE key = $1 AND member = $2 AND $3::text IS NOT NULL"
CANCEL_ROW = """
UPDATE jobs SET state = 'cancelled' WHERE key = $1 AND member = $2 AND state IN ('free', 'claimed')
"""

SAME_ROW = "the row that is written is one that was read: the stale snapshot shows as 40001"
SKEW = "each writes the row of its own job, and the other's is a row that it only read"
SKEWED = (
    "pg-conditional", "pg-skip-locked", "pg-skip-locked:wait", "pg-version", "pg-repeatable-read",
    "pg-repeatable-read:no-retry", "pg-advisory:repeatable-read", "pg-for-update:repeatable-read",
)  # fmt: skip
AGAIN = Claim("holds", "its one UPDATE looks again at the row that it waited for")
NAMED = Claim("holds", "nobody looks for a job: the row of the one that is named is waited for, not skipped")
HEAD = "the head of the line is locked, so it is skipped, and the next one taken beside it"
NEXT = "who comes too late for the first job is told that there is none"


def claim_of(request: Request, _now_ms: int) -> tuple[str, str]:
    """Who claims, and which."""
    return (worker_of(request), request.args["job"])


def worker_of(request: Request) -> str:
    """The attempt that runs the job, or whoever asks."""
    return request.attempt or request.id


def completion_of(request: Request, _now_ms: int) -> tuple[str, str]:
    """Which, and by whom."""
    return (request.args["job"], request.args["worker"])


def job_of(request: Request, _now_ms: int) -> tuple[str]:
    """Which."""
    return (request.args["job"],)


def told_job(raw: bytes | None, _request: Request) -> Reply:
    """Read the name of a job, or that there was none."""
    return NONE if raw is None else claimed(raw.decode())


def row_job(rows: Rows, _request: Request) -> Reply:
    """Read the job's row, if there is one."""
    return claimed(rows.rows[0][0]) if rows.rows else NONE


def told_end(count: Any, request: Request) -> Reply:
    """Read how many jobs have ended so."""
    if request.operation == "complete":
        return COMPLETED if count else LATE
    return CANCELLED if count else TOO_LATE


def script(source: str, arguments: Any, reply: Any = told_end) -> ScriptForm:
    """A form for Redis."""
    return ScriptForm(source, arguments, reply)


def statement(sql: str, arguments: Any, reply: Any = None) -> StatementForm:
    """A form for PostgreSQL, where the key comes first."""
    read = reply or row_count(told_end)
    return StatementForm(sql, lambda request, now_ms: (request.key, *arguments(request, now_ms)), read)


def called_job(rows: Rows, _request: Request) -> Reply:
    """Read which job a function has claimed."""
    job = rows.rows[0][0]
    return claimed(job) if job else NONE


class Claims(NamedTuple):
    """How a job is claimed, in each language; `row_unlocked` takes what nobody has locked."""

    script: str
    row: str
    row_unlocked: str
    function: str


FIRST_FREE = Claims(CLAIM, CLAIM_ROW, CLAIM_UNLOCKED, "claim_job")
WHILE_ALONE = Claims(
    CLAIM_ALONE,
    CLAIM_ROW.replace(" AND member = (", ALONE),
    CLAIM_UNLOCKED.replace(" AND member = (", ALONE),
    "claim_alone",
)
HEAD_OF_LINE = Claims(CLAIM_HEAD, CLAIM_FIRST, CLAIM_FIRST_UNLOCKED, "claim_head")


def forms_of(
    complete: str, complete_row: str, complete_called: str, claims: Claims = FIRST_FREE
) -> Mapping[str, Forms | NotExpressible]:
    """All forms, with these completions and claims; `complete_called` names a function."""

    def claim_row(sql: str) -> StatementForm:
        return statement(sql, claim_of, row_job)

    ends = {"complete": statement(complete_row, completion_of), "cancel": statement(CANCEL_ROW, job_of)}
    return {
        "command": NotExpressible("one command cannot look for a free job"),
        "multi": NotExpressible("it looks for a free job before it claims it"),
        "unique": NotExpressible("a job is there already: its row changes, none is new"),
        "lua": {
            "claim": script(claims.script, claim_of, told_job),
            "complete": script(complete, completion_of),
            "cancel": script(CANCEL, job_of),
        },
        "sql": {"claim": claim_row(claims.row), **ends},
        "skip-locked": {"claim": claim_row(claims.row_unlocked), **ends},
        **procedure_forms(
            claim=statement(f"SELECT {claims.function}($1, $2, $3)", claim_of, called_job),
            complete=statement(f"SELECT {complete_called}($1, $2, $3)", completion_of, first_value(told_end)),
            cancel=statement("SELECT cancel_job($1, $2)", job_of, first_value(told_end)),
        ),
    }


UNIQUE: Forms = {
    "claim": statement(CLAIM_ROW.replace("jobs", "locked_jobs"), claim_of, row_job),
    "complete": statement(COMPLETE_ROW.replace("jobs", "locked_jobs"), completion_of),
    "cancel": statement(CANCEL_ROW.replace("jobs", "locked_jobs"), job_of),
}
"""As if there were nothing to exclude: the index refuses."""


def guarded(state: State, request: Request, now_ms: int) -> Outcome:
    """The first free job; what was cancelled, or is another's, is not completed."""
    jobs = state[request.key]
    name = request.args["job"]
    if request.operation == "claim":
        free = free_jobs(jobs, name)
        return Outcome({request.key: given(jobs, free[0], request)}, claimed(free[0])) if free else Outcome({}, NONE)
    now, worker = jobs.get(name, ("", ""))
    if request.operation == "complete":
        if [now, worker] != ["claimed", request.args["worker"]]:
            return Outcome({}, LATE)
        return Outcome({request.key: {**jobs, name: ["done", worker]}}, COMPLETED)
    if now not in {"free", "claimed"}:
        return Outcome({}, TOO_LATE)
    return Outcome({request.key: {**jobs, name: ["cancelled", worker]}}, CANCELLED)


def blind(state: State, request: Request, now_ms: int) -> Outcome:
    """The same, but whoever has finished writes so."""
    if request.operation != "complete":
        return guarded(state, request, now_ms)
    jobs, name = state[request.key], request.args["job"]
    return Outcome({request.key: {**jobs, name: ["done", jobs[name][1]]}}, COMPLETED)


def handed_out(state: State, request: Request, now_ms: int) -> Outcome:
    """Whoever was handed a job runs it: it was put into the queue once."""
    jobs, name = state[request.key], request.args["job"]
    if request.operation != "claim" or name not in jobs:
        return guarded(state, request, now_ms)
    return Outcome({request.key: given(jobs, name, request)}, claimed(name))


def alone(state: State, request: Request, now_ms: int) -> Outcome:
    """The first free job, while none of those that exclude each other is at work."""
    if request.operation == "claim" and at_work(state[request.key]):
        return Outcome({}, NONE)
    return guarded(state, request, now_ms)


def first_in_line(state: State, request: Request, now_ms: int) -> Outcome:
    """Of those that exclude each other the first that has not ended, if it is free: never the one behind it."""
    if request.operation != "claim":
        return guarded(state, request, now_ms)
    jobs = state[request.key]
    head = min((name for name in jobs if name != AT_WORK and jobs[name][0] in {"free", "claimed"}), default="")
    if not head or jobs[head][0] != "free" or request.args["job"] not in {ANY, head}:
        return Outcome({}, NONE)
    return Outcome({request.key: given(jobs, head, request)}, claimed(head))


def at_work(jobs: Mapping[str, Sequence[str]]) -> list[str]:
    """Those of which only one may be: all but the one that somebody is at work on from the beginning."""
    return sorted(name for name, (now, _worker) in jobs.items() if now == "claimed" and name != AT_WORK)


def free_jobs(jobs: Mapping[str, Sequence[str]], name: str) -> list[str]:
    """Those that may be given to who asks for that one, or for any."""
    return sorted(job for job, (now, _worker) in jobs.items() if now == "free" and name in {ANY, job})


def given(jobs: Mapping[str, Any], job: str, request: Request) -> dict[str, Any]:
    """The jobs once this one is claimed."""
    return {**jobs, job: ["claimed", worker_of(request)]}


class JobClaim(Scenario):
    """Each job is one worker's, and what has ended stays."""

    name = "job-claim"
    summary = "two workers claim a job at once; a job has one worker, and an end is an end"
    goes_wrong = "two get in where one may"
    symptoms = {
        "two workers did one job": "--strategy naive",
        "a delayed task was handed to two workers": "--strategy naive --rule named",
        "a delayed task ran twice when it was due": "--strategy actor --rule unique-enqueue",
        "a cancelled job was finished after all": "--strategy lua --rule blind",
        "two jobs with one lock ran together": "--strategy pg-skip-locked --rule one-lock",
        "done and cancelled, and mails for both": "--strategy pg-conditional:ignore-count --rule ended",
    }
    invariant = "a job is given to one worker"
    refusals = ("none", "late", "too late")
    rules = {
        "any": guarded, "named": guarded, "one-lock": alone, "head-of-line": first_in_line, "ended": guarded,
        "redelivered": guarded, "unique-enqueue": handed_out, "blind": blind,
    }  # fmt: skip
    wrong = {
        "blind": "a completion that comes late undoes a cancellation",
        "unique-enqueue": "a job that was put into the queue once is handed out twice, and run twice",
    }
    initial_value: Any = JOBS
    operations = {
        "claim": Signature({"job": str}, {"job": str}, "claimed", ("claimed", "none")),
        "complete": Signature({"job": str, "worker": str}, {}, "", ("completed", "late")),
        "cancel": Signature({"job": str}, {}, "", ("cancelled", "too late")),
    }
    rows = ChildRowLayout(
        "queues",
        "jobs",
        split=lambda jobs: ((), jobs),
        join=lambda _queue, jobs: {name: list(cells) for name, cells in jobs.items()},
        columns={"state": "text", "worker": "text"},
    )
    layouts = {
        "unique": replace(rows, parent="locked_queues", children="locked_jobs", functions=(ONE_AT_WORK,)),
        **procedure_layouts(rows, __file__),
    }
    forms = forms_of(COMPLETE, COMPLETE_ROW, "complete_job")
    other_forms = {
        **dict.fromkeys(("named", "ended", "redelivered"), forms),
        "one-lock": {**forms_of(COMPLETE, COMPLETE_ROW, "complete_job", WHILE_ALONE), "unique": UNIQUE},
        "head-of-line": forms_of(COMPLETE, COMPLETE_ROW, "complete_job", HEAD_OF_LINE),
        "blind": forms_of(COMPLETE_BLINDLY, COMPLETE_ROW_BLINDLY, "complete_blindly"),
    }
    claims = {
        **dict.fromkeys(
            ("pg-conditional:ignore-count", "pg-unique:ignore-count"),
            Claim("not-applicable", "a claim answers with its row, not with a count"),
        ),
        "pg-for-update:repeatable-read": Claim("holds", SAME_ROW, errors=("40001",)),
    }

    def under(self, rule: str) -> Self:
        """Where it is about one job, there is no next one to be told of."""
        if rule == ANY:
            self.claims = {**self.claims, "pg-conditional": Claim("breaks", NEXT)}
        if rule == "one-lock":
            self.claims = {**self.claims, **dict.fromkeys(SKEWED, Claim("breaks", SKEW))}
        if rule == "head-of-line":
            self.claims = {**self.claims, "pg-skip-locked": Claim("breaks", HEAD), "pg-procedure:no-lock": AGAIN}
        if rule == "ended":
            self.claims = {title: claim for title, claim in self.claims.items() if "ignore-count" not in title}
            self.claims["pg-procedure:no-lock"] = AGAIN
            self.claims["pg-skip-locked"] = NAMED
        return super().under(rule)

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """Any job that is free, not only the first."""
        if request.operation != "claim" or self.executed in {"head-of-line", "unique-enqueue"}:
            yield from super().allowed(state, request, now_ms, reply, rule)
            return
        jobs = state[request.key]
        free = [] if self.executed == "one-lock" and at_work(jobs) else free_jobs(jobs, request.args["job"])
        for job in free:
            if reply is None or reply == claimed(job):
                yield {**state, request.key: given(jobs, job, request)}
        if not free and (reply is None or reply == NONE):
            yield state

    def burst(self, rng: Random, size: int) -> Sequence[Request | Attempt]:
        """Two want a job, then anything; under `ended` and `blind`, one is completed and cancelled."""
        if self.executed in HANDED_OUT_TWICE:
            return [Attempt(("queue",))] * size
        wanted = "j1" if self.executed == "named" else ANY
        first = [claim(wanted)] * 2
        if self.executed in {"ended", "blind"}:
            first = [complete(), cancel(AT_WORK)]
        if self.executed == "one-lock":
            first = [claim("j1"), claim("j2")]
        # Where the head of the line is cancelled, who waits for its row is told that there is none, too.
        cancelled = [AT_WORK] if self.executed in {"head-of-line", "ended"} else sorted(JOBS)
        asked = (complete,) if self.executed == "ended" else (lambda: claim(wanted), complete)
        rest = (rng.choice((*(one() for one in asked), cancel(rng.choice(cancelled)))) for _ in range(size - 2))
        return [*first, *rest][:size]

    async def flow(self, flow: Flow) -> None:
        """A worker that was handed a job, now that it is due."""
        if await flow.apply("claim", job="j1") == claimed("j1"):
            await flow.effect("run")
            await flow.apply("complete", job="j1", worker=flow.attempt.id)

    def invariants(self) -> Sequence[Invariant]:
        """Two sentences: about the beginning, and about the end."""
        together = "of jobs that exclude each other one is at work"
        return [
            *([Invariant("run once", "a job is run once", run_twice)] if self.executed in HANDED_OUT_TWICE else []),
            Invariant("one worker", self.invariant, given_twice),
            Invariant("an end is an end", "what was completed or cancelled stays so", undone),
            *([Invariant("one at a time", together, side_by_side)] if self.executed in ONE_AT_A_TIME else []),
        ]


ONE_AT_A_TIME = {"one-lock", "head-of-line"}
"""Rules about jobs that exclude each other."""
HANDED_OUT_TWICE = {"redelivered", "unique-enqueue"}
"""Rules about a job that two workers hold, and run."""


def claim(job: str) -> Request:
    """A worker wants that one, or any."""
    return Request("claim", ("queue",), {"job": job})


def complete() -> Request:
    """The worker that was at work has finished."""
    return Request("complete", ("queue",), {"job": AT_WORK, "worker": "w0"})


def cancel(job: str) -> Request:
    """Somebody does not want it any more."""
    return Request("cancel", ("queue",), {"job": job})


def given_twice(evidence: Evidence) -> Iterator[Breach]:
    """Count whom each job was given to."""
    workers: dict[str, list[str]] = {}
    for one in evidence.operations:
        if one.reply is not None and one.reply.decision == "claimed":
            workers.setdefault(f"{one.request.key} {one.reply.values['job']}", []).append(one.request.id)
    for job, names in sorted(workers.items()):
        if len(names) > 1:
            yield Breach(f"{job.rpartition(' ')[2]} was given to {len(names)} workers", tuple(names), len(names) - 1)


def run_twice(evidence: Evidence) -> Iterator[Breach]:
    """Count the runs, which nobody can take back."""
    for key in evidence.keys:
        runs = tuple(one.attempt for one in evidence.effects if key in one.keys)
        if len(runs) > 1:
            yield Breach(f"j1 was run {len(runs)} times", runs, len(runs) - 1)


def undone(evidence: Evidence) -> Iterator[Breach]:
    """Compare what was told with what is there."""
    for one in evidence.operations:
        jobs = (evidence.rest or {}).get(one.request.key)
        if jobs is None or one.reply not in (COMPLETED, CANCELLED):
            continue
        end = "done" if one.reply == COMPLETED else "cancelled"
        now = jobs[one.request.args["job"]][0]
        if now != end:
            yield Breach(f"{one.request.args['job']} was {one.reply.decision}, and is {now}", (one.request.id,))


def side_by_side(evidence: Evidence) -> Iterator[Breach]:
    """Look for two at work at rest."""
    for jobs in (evidence.rest or {}).values():
        names = at_work(jobs)
        if len(names) > 1:
            yield Breach(f"{' and '.join(names)} ran together", tuple(jobs[name][1] for name in names), len(names) - 1)
