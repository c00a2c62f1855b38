"""Requests wait in a table in PostgreSQL; one consumer takes them in order, decides, and answers.

The row of a request is its place in the queue, its answer, and the memory of it: the change of the state, the answer
and the end of the request are one transaction. So what a dead consumer had not committed is as if it had never begun,
and a request that is delivered again finds its row, and in it the answer. Callers look for theirs again and again.

The order is the consumer's, not the queue's. Numbers are drawn when a row is inserted, and rows are seen when they are
committed, so that a lower number may come after a higher one. A second consumer that takes what the first has not
locked (FOR UPDATE SKIP LOCKED, as in every job queue) works beside it, and one that waits for the first row's lock
does as soon as a lower number comes. A lock that only one consumer holds makes the second a spare one.
"""

import json

from harness import Claim, Conditions, Daemon, Reply, Request, Rule, Scenario, Session, Strategy, Transaction

TABLES = (
    """
CREATE TABLE IF NOT EXISTS queued_requests (
  id text PRIMARY KEY, number bigint GENERATED ALWAYS AS IDENTITY, queue text, message text, answer text,
  ended boolean NOT NULL DEFAULT false
)
""",
    "CREATE INDEX IF NOT EXISTS waiting_requests ON queued_requests (queue, number) WHERE NOT ended",
)
ADMITTED = "GRANT SELECT, INSERT ON queued_requests TO PUBLIC"
"""In a schema that only callers may use."""

PUT = "INSERT INTO queued_requests (queue, id, message) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING"
ANSWER = "SELECT answer FROM queued_requests WHERE id = $1 AND answer IS NOT NULL"
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
FIRST = "SELECT id, message FROM queued_requests WHERE queue = $1 AND NOT ended ORDER BY number LIMIT 1"
FOR_UPDATE = f"{FIRST} FOR UPDATE"
SKIP_LOCKED = f"{FOR_UPDATE} SKIP LOCKED"
END = "UPDATE queued_requests SET ended = true WHERE queue = $1 AND id = $2"
END_WITH = "UPDATE queued_requests SET ended = true, answer = $3 WHERE queue = $1 AND id = $2"


class PgQueue(Strategy):
    """One consumer that takes requests from a table."""

    name = "pg-queue"
    family = "an owner"
    summary = "requests wait in a table; one consumer decides, and commits change, answer and end together"
    stops_helping = "a second consumer beside the first, and whoever writes past the queue"
    earns_its_cost = "six-writers"
    needs = {"postgres": "14"}
    enforces = "owner"
    repeatable = True  # by the row: what is half done there is not begun again, but after a crash
    tables = TABLES
    statements = frozenset({PUT, ANSWER, FIRST, FOR_UPDATE, SKIP_LOCKED, END, END_WITH})
    one_of = frozenset({PUT, END, END_WITH})
    variants = {
        "skip-locked": "two consumers, each takes the first request that the other has not locked",
        "first-row": "two consumers, each waits for the lock of the first request's row",
        "spare": "two consumers, of which one waits for the other's lock (safe)",
        "ack-first": "a request leaves the queue before it is worked on",
        "two-transactions": "the change is committed before the answer and the end of the request",
        "credentials": "callers may put requests into the queue, and only the consumer may write the state (safe)",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario."""
        super().__init__(scenario, variant)
        if self.guarded:
            self.tables = (*TABLES, ADMITTED)

    @property
    def guarded(self) -> bool:
        """Whether callers are refused what they write themselves."""
        return self.variant == "credentials"

    @property
    def locked(self) -> bool:
        """Whether only one consumer works at any time, however many there are."""
        return self.variant not in {"skip-locked", "first-row"}

    @property
    def half(self) -> bool:
        """Whether a request may be left half done, by two transactions."""
        return self.variant in {"ack-first", "two-transactions"}

    def claims(self, conditions: Conditions) -> Claim:
        """Holds with one consumer at work that leaves nothing half done."""
        if not self.locked:
            return Claim("breaks", self.variants[self.variant])
        reason = self.variants[self.variant] if self.half else "one consumer decides one request at a time"
        return Claim("holds", reason, breaks_under=("crash", "lost-reply") if self.half else ())

    def daemons(self) -> dict[str, Daemon]:
        """One consumer; two, where it matters how they keep apart."""
        if self.locked and self.variant != "spare":
            return {"consumer": self.consume}
        return {f"consumer{number}": self.consume for number in (1, 2)}

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Put the request into the queue, look for the answer in its row."""
        id_ = session.own_key(f"request-{request.id}-{request.key}")  # ids begin anew with every load, keys do not
        message = [request.operation, request.keys, dict(request.args), request.id, request.attempt, request.role]
        queue = session.own_key(self.title)
        await session.sql(PUT, queue, id_, json.dumps(message, separators=(",", ":")))
        ((answer,),) = (await session.found(ANSWER, id_)).rows
        decision, values, now_ms = json.loads(answer)
        session.decided_at(now_ms)
        return Reply(decision, values)

    async def consume(self, session: Session, rule: Rule) -> None:
        """Work on the first request there is, for ever."""
        queue = session.own_key(self.title)
        while True:
            async for _ in session.polls():
                await session.found(FIRST, queue)  # without a lock, or two would wait for each other's looking
                if await self._handle_first(session, rule, queue):
                    break

    async def _handle_first(self, session: Session, rule: Rule, queue: str) -> bool:
        """False where another consumer has it: to look for it at once would only keep that one from its work."""
        first = {"skip-locked": SKIP_LOCKED, "first-row": FOR_UPDATE}.get(self.variant, FIRST)
        answer = ""
        async with session.transaction("read committed") as tx:
            if self.locked:
                await tx.sql(LOCK, queue)
            found = (await tx.sql(first, queue)).rows
            if not found:
                return False
            ((id_, message),) = found
            if self.variant == "ack-first":
                await tx.sql(END, queue, id_)
            else:
                answer = await self._decide(session, tx, rule, message)
            if not self.half:
                await tx.sql(END_WITH, queue, id_, answer)
        if self.half:
            async with session.transaction("read committed") as tx:
                answer = answer or await self._decide(session, tx, rule, message)
                await tx.sql(END_WITH, queue, id_, answer)
        return True

    async def _decide(self, session: Session, tx: Transaction, rule: Rule, message: str) -> str:
        """Make the change of one request; its answer."""
        operation, keys, args, id_, attempt, role = json.loads(message)
        request = Request(operation, tuple(keys), args, id_, attempt, role)
        state = await self.rows.load(tx, request.keys)
        outcome = await session.decide(rule, state, request)
        await self.rows.save(tx, state, outcome.changes)
        return json.dumps([outcome.reply.decision, dict(outcome.reply.values), session.now_at_ms])
