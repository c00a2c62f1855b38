"""A report is built from the last one: read, work for a while, write. Now and then the work outlives a lock's lease.

A lease frees the lock of a holder that has died, and cannot tell it from one that is slow. The slow one works on,
another has the lock, and the later write of the two undoes the other's; if the slow one then gives the lock back
without looking whose it is, a third is let in beside the second. A token stops the third. Only a store that refuses
the late write, a renewal that comes in time, or a lock without an end stops the first two: and a lock without an
end is kept by the dead.
"""

from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any, Self

from harness import (
    Breach,
    Claim,
    Evidence,
    Forms,
    Invariant,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    RowLayout,
    Rule,
    Scenario,
    Signature,
    State,
)

LEASE_MS = 100
SLOW_MS = 160
"""Longer than the lease."""
SELDOM = 20
"""Of so many that come alone, as in a sustained load, one is slow: were it every other, a lock whose late holders are
refused and begin again would be busy with nothing else."""

BETWEEN = NotExpressible("the work lies between the read and the write, and no command of a store waits for it")
OUTLIVED = Claim("breaks", "the slow one's work outlives its lease, and what it writes then undoes another's")
STRANGERS = Claim("breaks", "the slow one gives back a lock that is another's, and a third is let in beside that one")
FREED = {
    "redis-lock:no-lease": Claim(
        "holds", "no holder is ever too late, and the dead keep it for ever", breaks_under=("crash", "lost-reply")
    ),
    "redis-lock-fenced": Claim(
        "holds", "a late write is refused; the slow give up where many wait", errors=("aborted",)
    ),
}
ALONE = "of two that are quick, one is built from the other, or from what came between"
LENT = "a report of one that is quick is the next one's beginning"
LEASED = ("no-token", "constant-token", "set-then-expire", "reentrant", "whole-flow", "steal")


def built(version: int, after: str) -> Reply:
    """What the caller is told: the version, and whose report it was built from."""
    return Reply("built", {"version": version, "after": after})


def build(state: State, request: Request, now_ms: int) -> Outcome:
    """The next version, by whoever asks."""
    last = state[request.key]
    version = last["version"] + 1
    return Outcome({request.key: {"version": version, "by": request.id}}, built(version, last["by"]))


class LockLease(Scenario):
    """Versions of one report, each built from the one before."""

    name = "lock-lease"
    summary = "work under a lease: the slow outlive it, and strangers give locks back"
    invariant = "no report that was built is lost"
    goes_wrong = "a lock runs out, or never does"
    symptoms = {
        "two held the lock at once": "--strategy redis-lock",
        "somebody else's lock was given back": "--strategy redis-lock:no-token --rule overrun --size 3",
        "a job overwrote a newer result": "--strategy redis-lock:no-token",
        "a lock that nobody holds is never free": "--strategy redis-lock:no-lease --faults crash",
    }
    initial_value: Any = {"version": 0, "by": ""}
    rules = {"default": build, "overrun": build}
    operations = {"build": Signature({"takes_ms": int}, {"version": int, "after": str}, "built", ("built",))}
    lock_lease_ms = LEASE_MS
    bursts = 60
    rows = RowLayout(
        {"report": "bigint", "built_by": "text"},
        lambda report: (report["version"], report["by"]),
        lambda row: {"version": row[0], "by": row[1]},
        "reports",
    )
    forms: dict[str, Forms | NotExpressible] = dict.fromkeys(
        ("command", "multi", "lua", "sql", "unique", "procedure", "procedure-unlocked"), BETWEEN
    )
    claims = {
        **dict.fromkeys(("redis-lock", *(f"redis-lock:{variant}" for variant in LEASED)), OUTLIVED),
        "redis-lock:no-token": Claim(
            "breaks", "as with a token; and the slow one gives back a lock that is another's, so that a third gets in"
        ),
        **FREED,
        "redis-lock-fenced:last-write": Claim("breaks", "a late write comes before the first one of the new holder"),
        "redis-lock-fenced:unchecked": OUTLIVED,
        "redis-lock-renewed:too-late": OUTLIVED,
    }

    other_forms = {"overrun": forms}

    def under(self, rule: str) -> Self:
        """As the rule has it: what the slow one does when its lease is over is its own risk, and nobody else's."""
        if rule == "overrun":
            self.claims = {**dict.fromkeys(("redis-lock:no-token", "redis-lock:constant-token"), STRANGERS), **FREED}
            self.invariant = ALONE
        return super().under(rule)

    def work_ms(self, request: Request) -> float:
        """What building takes."""
        takes_ms: float = request.args.get("takes_ms", 0)
        return takes_ms

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """One is slow, unless two are all and it is its own risk; of requests that come alone, now and then one."""
        slow = size if size == 2 and self.executed == "overrun" else rng.randrange(size if size > 1 else SELDOM)
        return [Request("build", ("report",), {"takes_ms": SLOW_MS * (place == slow)}) for place in range(size)]

    def probe(self, key: str) -> Request:
        """One that is quick."""
        return Request("build", (key,), {"takes_ms": 0})

    def invariants(self) -> Sequence[Invariant]:
        """What is lost, and who was let in."""
        alone = Invariant("the quick are alone", ALONE, let_in_together)
        if self.executed == "overrun":
            return [alone, Invariant("a lock is its holder's", LENT, undone)]
        return [Invariant("nothing is lost", self.invariant, lost), alone]

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """What the rule says; where it is the slow one's own risk, what that one writes late may undo or be undone."""
        if self.executed != "overrun" or not request.args.get("takes_ms"):
            outcome = rule(state, request, now_ms)
            if reply is None or outcome.reply.same(reply):
                yield {**state, **outcome.changes}
            return
        yield state
        last = state[request.key]["version"] + 1
        for version in range(1, last + 1) if reply is None else [reply.values["version"]]:
            yield {**state, request.key: {"version": version, "by": request.id}}


def lost(evidence: Evidence) -> Iterator[Breach]:
    """Compare what was told with what is there; a report of which nobody was told counts or not."""
    for key, report in (evidence.rest or {}).items():
        builds = [one for one in evidence.operations if one.request.key == key]
        told = sum(one.reply is not None and one.reply.decision == "built" for one in builds)
        unknown = sum(one.status == "unknown" for one in builds)
        shows = report["version"] - evidence.initial[key]["version"]
        if not told <= shows <= told + unknown:
            amount = told - shows if shows < told else shows - told - unknown
            reports = "1 report was" if told == 1 else f"{told} reports were"
            yield Breach(f"{reports} built, and the last one is version {shows}", amount=amount)


def let_in_together(evidence: Evidence) -> Iterator[Breach]:
    """Two that were quick, and so within any lease, and were built from the same report."""
    first: dict[tuple[str, str], str] = {}
    for one in evidence.operations:
        if one.reply is None or one.reply.decision != "built" or one.request.args.get("takes_ms"):
            continue
        other = first.setdefault((one.request.key, one.reply.values["after"]), one.request.id)
        if other != one.request.id:
            yield Breach("two that were quick were at work at once", (other, one.request.id))


def undone(evidence: Evidence) -> Iterator[Breach]:
    """From the last report back to the first: who was quick is among those it was built from, unless a slow one is."""
    told = {one.request.id: one for one in evidence.operations if one.reply and one.reply.decision == "built"}
    quick = {id_: one for id_, one in told.items() if not one.request.args.get("takes_ms")}
    for key, report in (evidence.rest or {}).items():
        chain, by = [], report["by"]
        while by in quick and by not in chain:
            chain.append(by)
            by = quick[by].reply.values["after"]  # type: ignore[union-attr] # these have one
        others = [id_ for id_, one in quick.items() if one.request.key == key and id_ not in chain]
        if chain and others and by == evidence.initial[key]["by"]:
            yield Breach(
                "two that were quick were at work at once, and one undid the other's report", (others[0], chain[0])
            )
