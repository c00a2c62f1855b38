"""The flows by name, what may happen to an attempt, and what each flow comes to then."""

from __future__ import annotations

from collections.abc import Sequence

from harness.model import UsageError
from harness.strategy import End

FAULTS = {
    "twice": "delivered twice",
    "lost": "reply lost",
    "killed": "killed after it",
    "gone": "never comes back",
}
"""What is really made: the attempt is delivered to two processes; the outside service hangs up after the deed; the
process is killed between the deed and the news, and started again; the same, and only another one lives on."""

FLOWS = {
    "inline": "plain code; a call without an answer is made again",
    "idempotent": "the same, with an idempotency key at the outside",
    "compensating": "a call without an answer is undone",
    "saga": "steps are written down; an open one is undone",
    "saga:idempotent": "the same with a key; an open one is made again",
    "durable": "a DBOS workflow; an open step is made again",
    "durable:idempotent": "the same, with an idempotency key at the outside",
}
"""By name, what each is."""

CLAIMS: dict[str, tuple[End, End, End, End]] = {
    "inline": ("twice", "twice", "stranded", "stranded"),
    "idempotent": ("once", "once", "stranded", "stranded"),
    "compensating": ("twice", "undone", "stranded", "stranded"),
    "saga": ("once", "undone", "undone", "undone"),
    "saga:idempotent": ("once", "once", "once", "once"),
    "durable": ("once", "twice", "twice", "stranded"),
    "durable:idempotent": ("once", "once", "once", "stranded"),
}
"""What is claimed of each flow, by fault."""

BROKEN: frozenset[End] = frozenset({"twice", "stranded", "unpaid"})
"""Ends that are no way to treat a customer; what was made up for is one."""

CONTROL = "inline"
"""Breaks under every fault: where it does not, the fault has met nobody, and a flow beside it has shown nothing."""

ALL = "all"
NO_DBOS = "the durable flow needs DBOS: pip install 'race-harness[durable]', or leave it out of --flow"


def claimed(flow: str, fault: str) -> End:
    """What a flow comes to under a fault."""
    return CLAIMS[flow][list(FAULTS).index(fault)]


def broken_claims(flow: str, faults: Sequence[str]) -> dict[str, End]:
    """Of these faults those that a flow claims to break under, and what it comes to."""
    return {fault: end for fault in faults if (end := claimed(flow, fault)) in BROKEN}


def faults_named(names: Sequence[str]) -> list[str]:
    """Each once, in the table's order; all where none is named. Raises UsageError."""
    for name in names:
        if name != ALL and name not in FAULTS:
            raise UsageError(f"unknown fault '{name}'; --flow has: {', '.join(FAULTS)}; or all")
    return [fault for fault in FAULTS if not names or ALL in names or fault in names]


def flows_named(names: Sequence[str]) -> list[str]:
    """Each once, in the order asked for. Raises UsageError."""
    found: list[str] = []
    for name in names:
        if name != ALL and name not in FLOWS:
            raise UsageError(f"unknown flow '{name}'; there are: {', '.join(FLOWS)}; or all")
        found += FLOWS if name == ALL else [name]
    return list(dict.fromkeys(found))
