"""The score of pieces of evidence, bursts or groups of keys: what was found in how many, added up."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.judge.findings import Finding, breaches_of, failed
from harness.judge.partitions import UNDATED
from harness.judge.verdicts import NEEDED_CONTROL_RATE, Facts, Meeting, conclude, conclude_part, unsure
from harness.model import ABORTED, Breach, Evidence, Invariant, Operation, RaceError, Verdict

_NEVER = 1 << 63


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What is said in the end: of everything, of the order alone, and of each invariant."""

    verdict: Verdict
    reason: str
    order: Verdict
    invariants: Mapping[str, Verdict]


class Weight(NamedTuple):
    """What a piece of evidence can show: whether requests overlapped, anything was decided, anybody got no answer."""

    overlapped: bool
    decided: bool
    unanswered: bool


def weight_of(evidence: Evidence) -> Weight:
    """What this evidence can show."""
    operations = evidence.operations
    return Weight(
        overlapped(operations),
        any(map(_decided, operations)),
        any(operation.returned_ns is None for operation in operations),
    )


@dataclass(slots=True, kw_only=True)
class Score:
    """What was found so far. `amounts` adds up the domain's own counts: how many too many, how much was lost."""

    judged: int = 0
    apart: int = 0
    broken: int = 0
    undecided: int = 0
    unanswered: int = 0
    unjudged: int = 0
    unjudged_why: str = ""
    """Why those have no verdict, where it is the same for all and neither time nor memory."""
    order_broken: int = 0
    order_unknown: int = 0
    checker_error: str = ""
    by_invariant: Counter[str] = field(default_factory=Counter)
    amounts: dict[str, float] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    cut_off: int = 0
    undated: int = 0
    """Pieces that were left out: a worker was killed there, and the order depends on an instant that nobody knows."""
    known_broken: set[str] = field(default_factory=set)
    known_apart: set[str] = field(default_factory=set)
    """Names of pieces: a probe may find broken what is, or what nothing had been said of."""

    def weigh(self, weight: Weight, finding: Finding, name: str, *, alone: bool = False) -> bool:
        """Count one piece, by its name; False where it only counts as `apart`.

        Where no two requests overlapped nothing could have broken, which proves nothing, unless it broke
        all the same. `alone`: the question is whether this history is right, not what a load can find.
        """
        if not (alone or finding.broken or weight.overlapped):
            self.apart += 1
            self.known_apart.add(name)
            return False
        self.judged += 1
        self.broken += finding.broken
        if finding.broken:
            self.known_broken.add(name)
        self.order_broken += finding.order == "illegal"
        self.order_unknown += finding.order == "unknown"
        if finding.order == "unknown" and not finding.broken:
            why = finding.unknown_why if finding.unknown_why == UNDATED else ""
            self.unjudged_why = why if not self.unjudged or self.unjudged_why == why else ""
            self.unjudged += 1
        if finding.checker_error:
            self.checker_error = self.checker_error or finding.checker_error
        for invariant, breaches in finding.breaches.items():
            self.asked[invariant] += 1
            self._add(invariant, breaches)
        self.undecided += not weight.decided
        self.unanswered += weight.unanswered
        return True

    def weigh_probes(self, evidence: Evidence, invariants: Iterable[Invariant]) -> None:
        """Ask the invariants of probes alone: evidence whose burst was judged before."""
        broken = False
        for invariant in invariants:
            if "probe" not in invariant.applies:
                continue
            try:
                breaches = breaches_of(invariant, evidence)
            except RaceError:
                raise  # it never lets go: nobody need ask it again
            except Exception as error:
                self.checker_error = self.checker_error or failed(invariant.name, error)
                continue
            self.asked[invariant.name] += len(evidence.probes)
            self._add(invariant.name, breaches)
            broken = broken or bool(breaches)
        if broken and evidence.name not in self.known_broken:
            self.known_broken.add(evidence.name)
            self.broken += 1
            if evidence.name in self.known_apart:  # none of its requests met, and it broke all the same
                self.known_apart.remove(evidence.name)
                self.apart -= 1
                self.judged += 1

    def _add(self, name: str, breaches: Sequence[Breach]) -> None:
        self.by_invariant[name] += bool(breaches)
        if breaches:
            self.amounts[name] = self.amounts.get(name, 0) + sum(breach.amount for breach in breaches)

    def facts(
        self,
        control: str | None,
        control_bursts: int,
        control_broken: int,
        *,
        lost: str | None,
        complete: bool,
        meeting: Meeting | None = None,
        control_needed: float = NEEDED_CONTROL_RATE,
    ) -> Facts:
        """The facts that a verdict rests on."""
        return Facts(
            judged=self.judged,
            apart=self.apart,
            broken=self.broken,
            unjudged=self.unjudged,
            unjudged_why=self.unjudged_why,
            undecided=self.undecided,
            unanswered=self.unanswered,
            cut_off=self.cut_off,
            undated=self.undated,
            control=control,
            control_bursts=control_bursts,
            control_broken=control_broken,
            control_needed=control_needed,
            lost=lost,
            checker_error=self.checker_error or None,
            complete=complete,
            meeting=meeting,
        )

    def conclude(self, facts: Facts, names: Sequence[str], title: str) -> Conclusion:
        """The verdicts of a run of strategy `title` with invariants `names`."""
        verdict, reason = conclude(facts)
        if facts.control is None and (
            facts.meeting is None or self.broken
        ):  # a control shows by itself that this load finds what there is
            facts = dataclasses.replace(facts, control=title, control_bursts=self.judged, control_broken=self.broken)
        error = self.checker_error
        order, _why = conclude_part(facts, self.order_broken, unjudged=self.order_unknown, error=error)
        invariants = {
            name: conclude_part(facts, self.by_invariant[name], asked=self.asked[name], error=error)[0]
            for name in names
        }
        return Conclusion(verdict, reason, order, invariants)

    def conclude_alone(self, names: Sequence[str]) -> Conclusion:
        """The verdicts of a history by itself: held where a legal order explains it and nothing is broken."""
        reason = self._doubt()
        verdict = Verdict.INCONCLUSIVE if reason else Verdict.HELD
        order = self._part(self.order_broken, bool(self.order_unknown or self.checker_error or not self.judged))
        invariants = {
            name: self._part(self.by_invariant[name], bool(self.checker_error or not self.asked[name]))
            for name in names
        }
        if self.broken:
            verdict, reason = Verdict.VIOLATED, f"{self.broken:,} of {self.judged:,} broke"
        return Conclusion(verdict, reason or "a legal order explains every answer", order, invariants)

    def _doubt(self) -> str:
        doubts = (
            (bool(self.checker_error), f"the judge failed: {self.checker_error}"),
            (self.judged == 0, "nothing ran"),
            (self.undecided >= self.judged, "every request was aborted, or nobody was answered"),
            (self.unjudged > 0, unsure(self.unjudged, self.judged, self.unjudged_why)),
        )
        return next((reason for holds, reason in doubts if holds), "")

    @staticmethod
    def _part(broken: int, doubt: bool) -> Verdict:
        if broken:
            return Verdict.VIOLATED
        return Verdict.INCONCLUSIVE if doubt else Verdict.HELD


def overlapped(operations: Iterable[Operation]) -> bool:
    """Whether two requests were under way at once: one began before another had its answer."""
    latest = 0
    for operation in sorted(operations, key=lambda operation: operation.invoked_ns):
        if operation.invoked_ns < latest:
            return True
        latest = max(latest, operation.returned_ns if operation.returned_ns is not None else _NEVER)
    return False


def _decided(operation: Operation) -> bool:
    return operation.reply is not None and operation.reply.decision != ABORTED.decision
