"""The tally of one cell: findings and figures of every slice, added up and concluded."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.burst.cells import Bound
from harness.burst.measurement import Counts, Overlap
from harness.burst.perform import STUCK
from harness.judge import Explanation, Finding, Latencies
from harness.model import ABORTED, Evidence, Operation, Status

_NEVER = 1 << 63


@dataclass(slots=True)
class Tally:
    """What is known so far of one cell under one load."""

    bound: Bound
    control: Bound | None
    judged: int = 0
    apart: int = 0
    broken: int = 0
    undecided: int = 0
    unanswered: int = 0
    unjudged: int = 0
    order_broken: int = 0
    order_unknown: int = 0
    control_bursts: int = 0
    control_broken: int = 0
    checker_error: str = ""
    requests: int = 0
    attempts: int = 0
    overruns: int = 0
    retries: int = 0
    commands: int = 0
    elapsed_s: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    by_invariant: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    spreads_us: list[float] = field(default_factory=list)
    latencies: Latencies = field(default_factory=Latencies)
    counterexample: Explanation | None = None
    failures: list[str] = field(default_factory=list)
    probes_asked: int = 0
    last_bursts: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def add(self, evidence: Evidence, finding: Finding) -> None:
        """Count one burst, or one group of keys, of the cell under test.

        A burst whose requests did not overlap could not have broken, so it proves nothing: it
        counts as `apart`, for the control as for the cell under test, unless it broke all the same.
        """
        if not (finding.broken or overlapped(evidence)):
            self.apart += 1
            self.count(evidence.operations)
            return
        self.judged += 1
        self.broken += finding.broken
        self.order_broken += finding.order == "illegal"
        self.order_unknown += finding.order == "unknown"
        self.unjudged += finding.order == "unknown" and not finding.broken
        if finding.checker_error:
            self.checker_error = self.checker_error or finding.checker_error
        for name, breaches in finding.breaches.items():
            self.asked[name] += 1
            self.by_invariant[name] += bool(breaches)
        self.overruns += self.bound.scenario.overruns(evidence)
        self.undecided += not any(map(_decided, evidence.operations))
        self.unanswered += any(operation.returned_ns is None for operation in evidence.operations)
        self.count(evidence.operations)

    def add_probes(self, evidence: Evidence) -> None:
        """Ask the invariants of probes alone: evidence whose burst was judged before."""
        self.probes_asked += len(evidence.probes)
        broken = False
        for invariant in self.bound.scenario.invariants():
            if "probe" not in invariant.applies:
                continue
            self.asked[invariant.name] += len(evidence.probes)
            if any(True for _breach in invariant.check(evidence)):
                self.by_invariant[invariant.name] += 1
                broken = True
        self.broken += broken

    def count(self, operations: Iterable[Operation]) -> None:
        """Count operations by status, decision and error, and their latencies."""
        attempts = set()
        for operation in operations:
            self.requests += 1
            self.statuses[STUCK if operation.error == STUCK else operation.status] += 1
            if operation.reply is not None:
                self.decisions[operation.reply.decision] += 1
            if operation.error:
                self.errors[operation.error] += 1
            if operation.request.attempt:
                attempts.add(operation.request.attempt)
            if operation.returned_ns is not None:
                self.latencies.add(operation.returned_ns - operation.invoked_ns)
        self.attempts += len(attempts)

    def add_control(self, evidence: Evidence, finding: Finding) -> None:
        """Count one burst of the control."""
        if not (finding.broken or overlapped(evidence)):
            return
        self.control_bursts += 1
        self.control_broken += finding.broken

    def counts(self) -> Counts:
        """The figures as a value."""
        statuses = self.statuses
        return Counts(
            bursts=self.judged + self.apart,
            requests=self.requests,
            attempts=self.attempts,
            ok=statuses[Status.OK],
            failed=statuses[Status.FAILED],
            unknown=statuses[Status.UNKNOWN],
            stuck=statuses[STUCK],
            overruns=self.overruns,
            retries=self.retries,
            errors=dict(self.errors),
            by_decision=dict(self.decisions),
        )

    def overlap(self) -> Overlap:
        """How well the load overlapped."""
        return Overlap(
            control=self.control.strategy.title if self.control else None,
            control_bursts=self.control_bursts,
            control_broken=self.control_broken,
            release_spread_us=round(statistics.median(self.spreads_us), 3) if self.spreads_us else None,
        )


def overlapped(evidence: Evidence) -> bool:
    """Whether two requests were under way at once: one began before another had its answer."""
    latest = 0
    for operation in sorted(evidence.operations, key=lambda operation: operation.invoked_ns):
        if operation.invoked_ns < latest:
            return True
        latest = max(latest, operation.returned_ns if operation.returned_ns is not None else _NEVER)
    return False


def _decided(operation: Operation) -> bool:
    return operation.reply is not None and operation.reply.decision != ABORTED.decision
