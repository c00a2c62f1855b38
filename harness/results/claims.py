"""Whether a strategy did what it says of itself: its claim against what was found."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from harness.model import ABORTED, Claim, Verdict


def as_claimed(claim: Claim, verdict: Verdict, shown: Mapping[str, int]) -> bool | None:
    """Whether the claim is met by a load; None where nothing can be said.

    `shown` counts what callers were shown instead of an answer, by error code, giving up
    (`aborted`) among them. They are no violation, but a strategy that claims to hold has to name them.
    """
    if verdict is Verdict.INCONCLUSIVE or claim.kind == "not-applicable":
        return None
    if claim.kind == "breaks":
        return verdict is Verdict.VIOLATED
    return verdict.good and not unnamed(claim, shown)


def explored_as_claimed(
    claim: Claim, verdict: Verdict, shown: Mapping[str, int], faults: Collection[str]
) -> bool | None:
    """Whether the claim is met where `faults` were explored; None where nothing can be said.

    That so few requests do not break what is said to break is nothing against the claim: it may take more.
    """
    if breaks(claim, faults):
        return True if verdict is Verdict.VIOLATED else None
    return as_claimed(claim, verdict, shown)


def breaks(claim: Claim, faults: Collection[str] = ()) -> bool:
    """Whether the claim is to break when these faults happen."""
    return claim.kind == "breaks" or (claim.kind == "holds" and any(fault in claim.breaks_under for fault in faults))


def both_as_claimed(claim: Claim, by_load: bool | None, explored: str | None) -> bool | None:
    """The answer of the load, unless exploring every order of a small burst shows that the claim is wrong.

    A claim to hold is refuted by a schedule that breaks. That none of a small burst breaks says nothing
    against a claim to break: it may need more requests, or what exploring does not control.
    """
    if claim.kind == "holds" and explored == Verdict.VIOLATED.value:
        return False
    return by_load


def unnamed(claim: Claim, shown: Mapping[str, int]) -> list[str]:
    """The error codes that callers were shown and that the claim does not name."""
    return sorted(code for code, count in shown.items() if count and code not in claim.errors)


def shown_to_callers(errors: Mapping[str, int], by_decision: Mapping[str, int]) -> dict[str, int]:
    """What callers were shown instead of an answer: errors, and having given up."""
    aborted = by_decision.get(ABORTED.decision, 0)
    return {**errors, **({ABORTED.decision: aborted} if aborted else {})}
