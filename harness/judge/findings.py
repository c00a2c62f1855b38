"""Judging one burst, or one group of connected keys: order and rule, never mixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.judge.partitions import Budget, OrderFound, check_order
from harness.judge.states import Rest
from harness.judge.wing_gong import Outcome
from harness.model import NOTHING, STUCK, Breach, Evidence, Invariant, RaceError, Spec, described

Kind = Literal["burst", "sustained", "probe"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one piece of evidence.

    `unordered` and `longest` are ids of operations, given where `order` is illegal: the fewest that cannot
    be ordered, and the longest order of what came before; `fewest` where there was time to look for fewer.
    `breaches` has an entry for every invariant that was asked and answered. `unknown_why` says why the order is not
    known.
    `checker_error` is the text of an exception of the rule or of an invariant: whatever was
    not answered because of it is not known, and never held.
    """

    order: Outcome
    unordered: tuple[str, ...] = ()
    longest: tuple[str, ...] = ()
    fewest: bool = False
    breaches: Mapping[str, tuple[Breach, ...]] = field(default_factory=lambda: NOTHING)
    stuck: tuple[str, ...] = ()
    unknown_why: str = ""
    checker_error: str = ""

    @property
    def broken(self) -> bool:
        """Whether anything is a violation: no order, a breach, or a request that is stuck."""
        return self.order == "illegal" or bool(self.stuck) or any(self.breaches.values())


def judge_evidence(
    evidence: Evidence,
    spec: Spec,
    invariants: Sequence[Invariant],
    kind: Kind,
    budget: Budget | None = None,
) -> Finding:
    """Ask for an order and for every invariant that applies to this kind of evidence."""
    errors: list[str] = []
    try:
        order = _order(evidence, spec, budget)
    except RaceError:
        raise  # it never lets go: nobody need ask it again
    except Exception as error:  # the rule is the user's
        errors.append(f"the rule failed: {described(error)}")
        order = OrderFound("unknown", why=errors[0])
    breaches: dict[str, tuple[Breach, ...]] = {}
    for invariant in invariants:
        if kind not in invariant.applies:
            continue
        try:
            breaches[invariant.name] = breaches_of(invariant, evidence)
        except RaceError:
            raise  # likewise
        except Exception as error:
            errors.append(failed(invariant.name, error))
    stuck = tuple(operation.request.id for operation in evidence.operations if operation.error == STUCK)
    found = (order.outcome, order.unordered, order.longest, order.fewest)
    return Finding(*found, breaches, stuck, order.why, "; ".join(errors))


def asked_of(invariants: Iterable[Invariant], mode: str) -> list[str]:
    """The names of those that can be asked of a run in `burst` or `sustained` mode, its probes among it."""
    kinds = {"burst", "probe"} if mode == "burst" else {mode}
    return [invariant.name for invariant in invariants if kinds & {*invariant.applies}]


def breaches_of(invariant: Invariant, evidence: Evidence) -> tuple[Breach, ...]:
    """What an invariant finds; a breach without words has the invariant's.

    Raises whatever the user's check does, TypeError where it gives something else.
    """
    answer: object = invariant.check(evidence)
    if not isinstance(answer, Iterable):
        raise TypeError(f"it must give a list of harness.Breach, empty where all is well, not {answer!r:.60}")
    found = tuple(answer)
    for one in found:
        if not isinstance(one, Breach):
            raise TypeError(f"it must yield harness.Breach, not {one!r:.60}")
    unnamed = invariant.says or invariant.name or "an invariant is broken"
    return tuple(one if one.says else replace(one, says=unnamed) for one in found)


def failed(name: str, error: Exception) -> str:
    """What is said of a user's checker that raised."""
    return f"'{name}' failed: {described(error)}"


def _order(evidence: Evidence, spec: Spec, budget: Budget | None) -> OrderFound:
    rest = Rest(evidence.rest, evidence.rest_ms) if evidence.rest is not None else None
    return check_order(
        evidence.operations,
        spec,
        evidence.initial,
        rest,
        budget,
        unix_ns=evidence.monotonic_to_unix_ns or _unix_ns(evidence),
    )


def _unix_ns(evidence: Evidence) -> int:
    """What to add to monotonic time, from the first operation that recorded its instant; else 0."""
    for operation in evidence.operations:
        if operation.now_ms and operation.returned_ns is not None:
            return operation.now_ms * 1_000_000 - operation.invoked_ns
    return 0
