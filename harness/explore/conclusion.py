"""What exploring may conclude: a proof is a certificate that nothing reaches by default; what is missing is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from harness.judge import Finding
from harness.model import ABORTED, Evidence, Status, Verdict


@dataclass(slots=True)
class Conclusion:
    """What all schedules showed together.

    `unordered` counts those whose answers no order explains, `begun` those in which somebody took a
    step that others could notice; `decided` those in which somebody was given an answer that decides something.
    `unjudged` says why one could not be judged,
    `uncontrolled` what happened that no choice of the schedule explains, `stopped` why no more were run: each "" while
    there is nothing to say. `caps` keep it from being a proof. `errors` counts the schedules in which a caller was
    shown each, `overruns` those in which work outlived its own lease.
    """

    schedules: int = 0
    violated: int = 0
    unordered: int = 0
    begun: int = 0
    decided: int = 0
    unjudged: str = ""
    uncontrolled: str = ""
    stopped: str = ""
    caps: set[str] = field(default_factory=set)
    overruns: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(
        self, evidence: Evidence, finding: Finding, *, broke: bool, overrun: bool = False, steps: int = 0
    ) -> None:  # fmt: skip
        """One schedule more."""
        self.schedules += 1
        self.begun += bool(steps)
        self.violated += broke
        self.unordered += finding.order == "illegal"
        self.overruns += overrun
        self.errors.update({one.error for one in evidence.operations if one.error and one.returned_ns is not None})
        replies = [operation.reply for operation in evidence.operations if operation.status is Status.OK]
        self.decided += any(reply is not None and reply != ABORTED for reply in replies)
        if ABORTED in replies:
            self.errors[ABORTED.decision] += 1
            self.caps.add("a caller's tries ran out")
        if not self.unjudged and finding.checker_error:
            self.unjudged = finding.checker_error
        elif not self.unjudged and finding.order == "unknown":
            self.unjudged = f"the order of a schedule is not known: {finding.unknown_why or 'the judge gave up'}"

    def verdict(self, *, exhausted: bool) -> tuple[Verdict, str]:
        """With its reason. `exhausted`: the search left nothing out."""
        number = f"{self.schedules:,} schedule{'' if self.schedules == 1 else 's'}"
        if self.violated:
            return Verdict.VIOLATED, f"{self.violated:,} of {number} broke"
        for why in (self.uncontrolled, self.unjudged):
            if why:
                return Verdict.INCONCLUSIVE, why
        if not self.decided or not self.begun:
            return Verdict.INCONCLUSIVE, self.stopped or self._nothing(number)
        if exhausted and not self.stopped and not self.caps:
            same = "every schedule was run, or differs from one only in the order of independent steps"
            return Verdict.PROVED, f"{same}: {self.schedules:,}"
        caps = "; ".join(sorted(self.caps))
        return Verdict.BOUNDED, self.stopped or caps or "the search does not cover every schedule"

    def order(self, *, exhausted: bool, every: bool) -> Verdict:
        """Of the order alone: a rule may be wrong in all of them. Without `every`, one that broke was the end."""
        if self.unordered:
            return Verdict.VIOLATED
        if self.uncontrolled or self.unjudged or not self.decided or (self.violated and not every):
            return Verdict.INCONCLUSIVE
        return Verdict.PROVED if exhausted and not self.stopped and not self.caps else Verdict.BOUNDED

    def _nothing(self, number: str) -> str:
        """Why nothing was decided, and that nothing broke shows nothing."""
        if not self.schedules:
            nothing = "nothing ran"
        elif self.begun:
            nothing = f"in {number} every request was aborted, or nobody was answered"
        else:
            nothing = f"in {number} no caller asked its store for anything: others could not notice that it ran"
        return f"{nothing}: that nothing broke shows nothing"
