"""A report is built from the last one: read, work for a while, write. Now and then the work outlives a lock's lease.

A lease frees the lock of a holder that has died, and cannot tell it from one that is slow. The slow one works on,
another has the lock, and the later write of the two undoes the other's; if the slow one then gives the lock back
without looking whose it is, a third is let in beside the second. A token stops the third, where the look and the
release are one step: a script, DELIFEQ, or WATCH with MULTI. Between a GET and a DEL the lock runs out, and is
another's. Only a store that refuses the late write, a renewal that comes in time, or a lock without an end stops the
first two: and a lock without an end is kept by the dead.
"""

from collections.abc import Iterator, Sequence
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
    Scenario,
    Signature,
    State,
)

LEASE_MS = 150
SLOW_MS = 180
"""Longer than the lease, and by more than those who wait for it sleep between two looks."""
QUICK_MS = 50
"""Where a third may get in beside the second: still at work when the slow one ends, and shorter than the lease by more
than a machine often stands still."""
SELDOM = 20
"""Of so many that come alone, as in a sustained load, one is slow: were it every other, a lock whose late holders are
refused and begin again would be busy with nothing else."""

BETWEEN = NotExpressible("the work lies between the read and the write, and no command of a store waits for it")
OUTLIVED = Claim("breaks", "the slow one's work outlives its lease, and what it writes then undoes another's")
STRANGERS = Claim("breaks", "the slow one gives back a lock that is another's, and a third is let in beside that one")
STOLEN = Claim("breaks", "the slow one's lock is taken over by two at once, who both find it past its end")
FREED = {
    "redis-lock:no-lease": Claim(
        "holds", "no holder is ever too late, and the dead keep it for ever", breaks_under=("crash", "lost-reply")
    ),
    "redis-lock-fenced": Claim(
        "holds", "a late write is refused; the slow give up where many wait", errors=("aborted",)
    ),
}
KEPT = "no report that was built is lost"
ALONE = "of two that are quick, one is built from the other, or from what came between"
LEASED = (
    "no-token", "constant-token", "set-then-expire", "reentrant", "whole-flow", "steal", "delifeq", "watch-release",
    "watch-without-multi",
)  # fmt: skip


def built(version: int, after: str) -> Reply:
    """What the caller is told: the version, and whose report it was built from."""
    return Reply("built", {"version": version, "after": after})


def build(state: State, request: Request, now_ms: int) -> Outcome:
    """The next version, by whoever asks."""
    last = state[request.key]
    version = last["version"] + 1
    return Outcome({request.key: {"version": version, "by": request.id}}, built(version, last["by"]))


def build_in_time(state: State, request: Request, now_ms: int) -> Outcome:
    """By its own clock the slow one knows that its lease is over, and drops its work: what it writes undoes nothing."""
    return build(state, request, now_ms) if quick(request) else Outcome({}, Reply("late", {}))


def quick(request: Request) -> bool:
    """Whether its work ends within its lease."""
    return bool(request.args.get("takes_ms", 0) <= LEASE_MS)


class LockLease(Scenario):
    """Versions of one report, each built from the one before."""

    name = "lock-lease"
    summary = "work under a lease: the slow outlive it, and strangers give locks back"
    invariant = KEPT
    goes_wrong = "a lock runs out, or never does"
    symptoms = {
        "two held the lock at once": "--strategy redis-lock",
        "somebody else's lock was given back": "--strategy redis-lock:no-token --rule overrun --size 3",
        "a job overwrote a newer result": "--strategy redis-lock:no-token",
        "a lock that nobody holds is never free": "--strategy redis-lock:no-lease --faults crash",
    }
    initial_value: Any = {"version": 0, "by": ""}
    rules = {"default": build, "overrun": build_in_time}
    operations = {"build": Signature({"takes_ms": int}, {"version": int, "after": str}, "built", ("built", "late"))}
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
        """As the rule has it: where the slow drop their work, only what they do to the lock can do harm."""
        if rule == "overrun":
            strangers = dict.fromkeys(("redis-lock:no-token", "redis-lock:constant-token"), STRANGERS)
            self.claims = {**strangers, "redis-lock:steal": STOLEN, **FREED}
            self.invariant = ALONE
        return super().under(rule)

    def work_ms(self, request: Request) -> float:
        """What building takes."""
        takes_ms: float = request.args.get("takes_ms", 0)
        return takes_ms

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """One is slow, unless two are all and it drops its work; of requests that come alone, now and then one."""
        overrun = self.executed == "overrun"
        slow = size if size == 2 and overrun else rng.randrange(size if size > 1 else SELDOM)
        quick_ms = QUICK_MS * (overrun and size > 2)
        return [
            Request("build", ("report",), {"takes_ms": SLOW_MS if place == slow else quick_ms}) for place in range(size)
        ]

    def probe(self, key: str) -> Request:
        """One that is quick."""
        return Request("build", (key,), {"takes_ms": 0})

    def invariants(self) -> Sequence[Invariant]:
        """What is lost, and who was let in."""
        alone = Invariant("the quick are alone", ALONE, let_in_together)
        return [Invariant("nothing is lost", KEPT, lost), alone]


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
        if one.reply is None or one.reply.decision != "built" or not quick(one.request):
            continue
        other = first.setdefault((one.request.key, one.reply.values["after"]), one.request.id)
        if other != one.request.id:
            yield Breach("two that were quick were at work at once", (other, one.request.id))
