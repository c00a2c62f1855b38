"""Verdicts, breaches and claims: what is said about a strategy, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from harness.model.history import Evidence


class Verdict(StrEnum):
    """What was found. A pass is earned: the default of every doubt is `inconclusive`."""

    VIOLATED = "violated"
    HELD = "held"
    PROVED = "proved"
    BOUNDED = "bounded"
    INCONCLUSIVE = "inconclusive"

    @property
    def good(self) -> bool:
        """Whether nothing was found although it could have been."""
        return self in {Verdict.HELD, Verdict.PROVED, Verdict.BOUNDED}


_RANK = {
    Verdict.PROVED: 0,
    Verdict.HELD: 1,
    Verdict.BOUNDED: 2,
    Verdict.INCONCLUSIVE: 3,
    Verdict.VIOLATED: 4,
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst verdict of several; `inconclusive` for none at all."""
    return max(verdicts, key=_RANK.__getitem__, default=Verdict.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that does not hold, in the domain's words.

    `operations` names the ids of the requests or attempts concerned.
    `amount` is the domain count (how many too many, how much was lost).
    """

    says: str
    operations: tuple[str, ...] = ()
    amount: float = 1.0


@dataclass(frozen=True, slots=True)
class Invariant:
    """A sentence that must be true of what happened.

    `check` gives one breach for each way in which the evidence contradicts it. `applies`
    names the kinds of evidence that it can be asked of: a `burst` is closed and starts idle,
    `sustained` evidence is one key group's whole history, `probe` evidence holds nothing but
    requests made after every lease had passed in silence.
    """

    name: str
    says: str
    check: Callable[[Evidence], Iterable[Breach]]
    applies: tuple[Literal["burst", "sustained", "probe"], ...] = ("burst", "sustained")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a strategy says of itself under given conditions.

    `errors` names the error codes that its callers are told to expect (`40001`).
    """

    kind: Literal["holds", "breaks", "not-applicable"]
    reason: str = ""
    breaks_under: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions under which a claim is made: `size` requests meet in `processes`. Faults: `Claim.breaks_under`."""

    processes: int = 2
    size: int = 2
