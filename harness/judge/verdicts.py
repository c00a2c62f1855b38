"""From tallies to verdicts. A pass is earned: every doubt is `inconclusive`, with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from harness.model import Verdict

NEEDED_CONTROL_RATE = 0.5
"""The control must break in at least this share of the bursts that it breaks where all meet, or the load proves
nothing."""


class Meeting(NamedTuple):
    """How requests met in a service of one's own, in bursts: handlers overlapped in `met` of the `known`.

    `given`: by what the service's owner said of it, at least in part, rather than by its stamps alone.
    """

    met: int
    known: int
    given: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What a load run found, counted in pieces of evidence: bursts, or groups of keys.

    In `apart` no two requests overlapped: they are not among the `judged`. `broken` were violated,
    `unjudged` have no verdict (the judge's budget ran out), in
    `undecided` every answer was `aborted` or none at all, in `unanswered` somebody got no answer;
    in `cut_off` a worker was killed on purpose; `undated` more of those are left out, whose order depends on an instant
    that nobody knows. `control` names
    the strategy known to break that ran under the same load, None where none did, and `control_needed` the share of its
    bursts that it has to break. `lost` says
    what happened to a store, a worker or the clock, `checker_error` what a rule or an invariant raised. `meeting`
    stands in for a control where there can be none.
    """

    judged: int = 0
    apart: int = 0
    broken: int = 0
    unjudged: int = 0
    unjudged_why: str = ""
    undecided: int = 0
    unanswered: int = 0
    cut_off: int = 0
    undated: int = 0
    control: str | None = None
    control_bursts: int = 0
    control_broken: int = 0
    control_needed: float = NEEDED_CONTROL_RATE
    lost: str | None = None
    checker_error: str | None = None
    complete: bool = True
    meeting: Meeting | None = None


def conclude(facts: Facts) -> tuple[Verdict, str]:
    """The verdict of a load run and the reason for it, one sentence.

    A violation wins over everything. Without one, `held` only if the load could have found one.
    """
    if facts.broken:
        return Verdict.VIOLATED, f"{facts.broken:,} of {facts.judged:,} broke"
    doubt = _doubt(facts)
    if doubt:
        return Verdict.INCONCLUSIVE, doubt
    if facts.control is None and facts.meeting is not None:
        met, known, given = facts.meeting
        how = "by the figures given for it" if given else "by its own stamps"
        return (
            Verdict.HELD,
            f"none of {facts.judged:,} broke, while requests met inside the service in {met:,} of {known:,}, {how}",
        )
    rate = f"{facts.control} broke in {facts.control_broken:,} of {facts.control_bursts:,}"
    were = "was" if facts.undated == 1 else "were"
    left_out = f"; {facts.undated:,} more {were} left out, where a worker was killed at an unknown instant"
    said = f"none of {facts.judged:,} broke, while under the same load {rate}{left_out if facts.undated else ''}"
    return Verdict.HELD, said


def conclude_part(
    facts: Facts, broken: int, *, asked: int | None = None, unjudged: int = 0, error: str = ""
) -> tuple[Verdict, str]:
    """The verdict of one question alone: the order, or one invariant.

    `broken`, `asked`, `unjudged` and `error` are this question's own; the run's doubts are shared.
    """
    judged = facts.judged if asked is None else asked
    if broken:
        return Verdict.VIOLATED, f"{broken:,} of {judged:,} broke"
    if asked == 0:
        return Verdict.INCONCLUSIVE, "this was never asked"
    own = dataclasses.replace(facts, judged=judged, broken=0, unjudged=unjudged, checker_error=error or None)
    return conclude(own)


def _doubt(facts: Facts) -> str:
    """Why nothing can be said although nothing was found; empty where there is no reason."""
    control, judged = facts.control, facts.judged
    blind = "nothing shows that this load finds anything"
    rate = f"{facts.control_broken:,} of {facts.control_bursts:,}"
    too_calm = facts.control_broken < facts.control_needed * facts.control_bursts
    doubts = (
        (facts.lost is not None, f"the run was disturbed: {facts.lost}"),
        (facts.checker_error is not None, f"the judge failed: {facts.checker_error}"),
        (judged == 0 and facts.apart > 0, f"no two requests overlapped in any of {facts.apart:,}: nothing could break"),
        (judged == 0, "nothing ran"),
        (not facts.complete, "the run was interrupted"),
        (facts.undecided >= judged, "every request was aborted, or nobody was answered"),
        (facts.unanswered > 0, f"somebody got no answer in {facts.unanswered:,} of {judged:,}"),
        (2 * (facts.cut_off + facts.undated) > judged + facts.undated, _too_few(facts)),
        (facts.undecided > 0, f"nothing was decided in {facts.undecided:,} of {judged:,}"),
        (facts.unjudged > 0, unsure(facts.unjudged, judged, facts.unjudged_why)),
        *_doubts_of_meeting(facts),
        (control is None and facts.meeting is None, f"no control ran: {blind}"),
        (control is not None and facts.control_bursts == 0, f"the control {control} did not run: {blind}"),
        (control is not None and too_calm, f"the control {control} broke in only {rate}: {blind}"),
    )
    return next((reason for holds, reason in doubts if holds), "")


def _too_few(facts: Facts) -> str:
    killed, judged = facts.cut_off + facts.undated, facts.judged + facts.undated
    return f"a worker was killed in {killed:,} of {judged:,}: too few are whole"


def unsure(unjudged: int, judged: int, why: str) -> str:
    """Why the order of some is not known: `why` where that is known, or the judge's budget ran out."""
    of = f"in {unjudged:,} of {judged:,}"
    return f"{of} {why}" if why else f"the judge ran out of time or memory {of}"


def _doubts_of_meeting(facts: Facts) -> Iterator[tuple[bool, str]]:
    """Where no control can run: whether requests met inside the service, of which half must be known to have."""
    if facts.control is None and facts.meeting is not None:
        met, known, _given = facts.meeting
        blind = "nothing shows that this load finds anything"
        yield known == 0, f"nobody knows whether requests met inside the service: {blind}"
        yield (
            2 * known < facts.judged,
            f"only of {known:,} of {facts.judged:,} is it known whether requests met: {blind}",
        )
        yield (
            met < NEEDED_CONTROL_RATE * known,
            f"requests met inside the service in only {met:,} of {known:,}: {blind}",
        )
