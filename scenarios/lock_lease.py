"""A report is built from the last one: read, work for a while, write. Now and then the work outlives a lock's lease.

A lease frees the lock of a holder that has died, and cannot tell it from one that is slow. The slow one works on,
another has the lock, and the later write of the two undoes the other's; if the slow one then gives the lock back
without looking whose it is, a third is let in beside the second. A token stops the third. Only a store that refuses
the late write, a renewal that comes in time, or a lock without an end stops the first two: and a lock without an
end is kept by the dead.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

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
LEASED = ("no-token", "constant-token", "set-then-expire", "reentrant", "whole-flow")


def built(version: int, after: str) -> Reply:
    """What the caller is told: the version, and whose report it was built from."""
    return Reply("built", {"version": version, "after": after})


class LockLease(Scenario):
    """Versions of one report, each built from the one before."""

    name = "lock-lease"
    summary = "work under a lease: the slow outlive it, and strangers give locks back"
    invariant = "no report that was built is lost"
    goes_wrong = "a lock runs out, or never does"
    symptoms = {
        "two held the lock at once": "--strategy redis-lock",
        "a job overwrote a newer result": "--strategy redis-lock:no-token",
        "a lock that nobody holds is never free": "--strategy redis-lock:no-lease --faults crash",
    }
    initial_value: Any = {"version": 0, "by": ""}
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
        "redis-lock:no-lease": Claim(
            "holds", "no holder is ever too late, and the dead keep it for ever", breaks_under=("crash", "lost-reply")
        ),
        "redis-lock-fenced": Claim(
            "holds", "a late write is refused; the slow give up where many wait", errors=("aborted",)
        ),
        "redis-lock-fenced:last-write": Claim("breaks", "a late write comes before the first one of the new holder"),
        "redis-lock-fenced:unchecked": OUTLIVED,
        "redis-lock-renewed:too-late": OUTLIVED,
    }

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """The next version, by whoever asks."""
        last = state[request.key]
        version = last["version"] + 1
        return Outcome({request.key: {"version": version, "by": request.id}}, built(version, last["by"]))

    def work_ms(self, request: Request) -> float:
        """What building takes."""
        takes_ms: float = request.args.get("takes_ms", 0)
        return takes_ms

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """One is slow; of requests that come alone, now and then one."""
        slow = rng.randrange(size if size > 1 else SELDOM)
        return [Request("build", ("report",), {"takes_ms": SLOW_MS * (place == slow)}) for place in range(size)]

    def probe(self, key: str) -> Request:
        """One that is quick."""
        return Request("build", (key,), {"takes_ms": 0})

    def invariants(self) -> Sequence[Invariant]:
        """What is lost, and who was let in."""
        beside = "of two that are quick, one is built from the other, or from what came between"
        return [
            Invariant("nothing is lost", self.invariant, lost),
            Invariant("the quick are alone", beside, let_in_together),
        ]


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
