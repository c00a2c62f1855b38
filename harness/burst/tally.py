"""The tally of one cell: findings and figures of every slice, added up and concluded."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from harness.burst.cells import Bound
from harness.burst.door import Door
from harness.burst.measurement import Counts, Overlap
from harness.burst.parts import Parts
from harness.judge import (
    NEEDED_CONTROL_RATE,
    Contradiction,
    Explanation,
    Finding,
    Latencies,
    Meeting,
    Recording,
    Score,
    failed,
    overlapped,
    weight_of,
)
from harness.judge.partitions import UNDATED
from harness.model import STUCK, Effect, Evidence, Operation, RaceError, Status


@dataclass(slots=True)
class Tally(Score):
    """What is known so far of one cell under one load. `recording` takes the history of the cell under test.

    `sent_ns`: when requests were really sent, by id, where that is not when they began. `door`: how they met in a
    service of one's own.
    """

    bound: Bound
    control: Bound | None
    recording: Recording | None = None
    control_bursts: int = 0
    control_broken: int = 0
    requests: int = 0
    attempts: int = 0
    overruns: int = 0
    retries: int = 0
    commands: int = 0
    elapsed_s: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    spreads_us: list[float] = field(default_factory=list)
    latencies: Latencies = field(default_factory=Latencies)
    parts: list[Parts] = field(default_factory=list)
    counterexample: Explanation | None = None
    contradiction: Contradiction | None = None
    failures: list[str] = field(default_factory=list)
    killed: int = 0
    resumed: int = 0
    expired: int = 0
    """Bursts of which a request was not let in because its login had run out: they count for nothing."""
    in_vain: int = 0
    """Bursts for the answers of which somebody waited until they lost their patience."""
    cut: set[int] = field(default_factory=set)
    struck: set[int] = field(default_factory=set)
    """Bursts in which a request of a killed worker was asked again; `shown` of them were judged."""
    shut: list[tuple[int, Operation]] = field(default_factory=list)
    """Requests of killed workers that were asked again, and told to try later, or nothing; with their bursts."""
    shown: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    last_bursts: dict[int, tuple[tuple[str, ...], Sequence[Effect]]] = field(default_factory=dict)
    """Their keys, which are to be asked whether they still work, and their effects, which are not to be repeated."""
    sent_ns: dict[str, int] = field(default_factory=dict)
    door: Door | None = None
    silent_since_s: float = 0.0
    """Monotonic seconds when its last burst had ended: nobody has asked for these keys since."""

    def add(self, evidence: Evidence, finding: Finding, burst: int | None = None) -> None:
        """Count one burst, or without a number one group of keys, of the cell under test."""
        if self.recording is not None:
            self.recording.piece(evidence, burst)
        weight = weight_of(evidence)
        sound = not (finding.broken or finding.checker_error)
        if burst in self.struck and sound and finding.unknown_why == UNDATED:
            self.undated += 1  # no search would find out; the others show what comes of a second delivery
            self.count(evidence.operations, self.judged + self.apart)
            return
        if burst in self.cut:  # nobody expects an answer there
            self.cut_off += 1
            weight = weight._replace(decided=True, unanswered=False)
        judged = self.weigh(weight, finding, evidence.name)
        self.shown += judged and burst in self.struck
        if self.door is not None and burst is not None:
            self.door.weigh(burst, judged=judged)
        if judged:
            try:
                self.overruns += self.bound.scenario.overruns(evidence)
                if burst is not None and evidence.rest is not None and (end := self.bound.scenario.ending(evidence)):
                    self.endings[end] += 1
            except RaceError:
                raise  # it never lets go: nobody need ask it again
            except Exception as error:
                self.checker_error = self.checker_error or failed("overruns and endings", error)
        self.count(evidence.operations, None if burst is None else self.judged + self.apart)

    def add_probes(self, evidence: Evidence, burst: int) -> None:
        """Ask the invariants of probes: evidence whose burst was judged before."""
        if self.recording is not None:
            self.recording.probes(evidence.probes, burst)
        self.weigh_probes(evidence, self.bound.scenario.invariants())

    def count(self, operations: Iterable[Operation], place: int | None = None) -> None:
        """Count operations by status, decision and error, and their latencies.

        `place` is where they belong among the parts of the load; without it, when each was answered.
        """
        attempts = set()
        parts = self.parts[-1] if self.parts else None
        for operation in operations:
            self.requests += 1
            self.statuses[STUCK if operation.error == STUCK else operation.status] += 1
            if operation.reply is not None:
                self.decisions[operation.reply.decision] += 1
            if operation.error:
                self.errors[operation.error] += 1
            attempt = operation.request.attempt
            start = not attempt or attempt not in attempts
            if attempt:
                attempts.add(attempt)
            if operation.returned_ns is not None:
                sent_ns = self.sent_ns.get(operation.request.id, operation.invoked_ns)
                duration_ns = operation.returned_ns - sent_ns
                self.latencies.add(duration_ns)
                if parts is not None:
                    parts.add(operation.returned_ns if place is None else place, duration_ns, start=start)
        self.attempts += len(attempts)

    def add_control(self, evidence: Evidence, finding: Finding) -> None:
        """Count one burst of the control."""
        if not (finding.broken or overlapped(evidence.operations)):
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
            killed=self.killed,
            resumed=self.resumed,
            retries=self.retries,
            errors=dict(self.errors),
            by_decision=dict(self.decisions),
        )

    def seen_again(self) -> str:
        """Why nothing is known of what comes of a request that is delivered twice; "" where it is."""
        if not self.resumed:
            return "no killed worker had a request open, so that none was delivered twice"
        if self.shown and self.shown >= self.undated:
            return ""
        return f"a request was delivered twice in {len(self.struck):,}, of which only {self.shown:,} could be judged"

    def meeting(self) -> Meeting | None:
        """How requests met in a service of one's own; None where a control shows it, or it is none."""
        door = self.door
        if door is None or self.control is not None:
            return None
        return Meeting(door.met, door.known, given=door.given)

    def overlap(self) -> Overlap:
        """How well the load overlapped."""
        return Overlap(
            control=self.control.strategy.title if self.control else None,
            control_bursts=self.control_bursts,
            control_broken=self.control_broken,
            control_needed=NEEDED_CONTROL_RATE * self.bound.scenario.control_breaks,
            release_spread_us=round(statistics.median(self.spreads_us), 3) if self.spreads_us else None,
            arrival_spread_us=self.door.spread_us if self.door is not None else None,
            meeting=self.meeting(),
        )
