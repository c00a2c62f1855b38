"""Judging one piece of evidence: order, rule and being stuck are told apart."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from harness.judge import judge_evidence
from harness.model import STUCK, Breach, Evidence, Invariant, State, Status, UsageError
from tests.judge.histories import Counters, operation


def evidence(*sums: int, rest: int | None = None) -> Evidence:
    """Overlapping adds to one counter that were told these sums."""
    return Evidence(
        name="1",
        keys=("k",),
        operations=[
            operation("add", times=(0, 9), values={"sum": one}, id=str(number)) for number, one in enumerate(sums)
        ],
        initial={"k": None},
        rest=None if rest is None else {"k": rest},
    )


def at_most_two(given: Evidence) -> Iterator[Breach]:
    """An invariant about the number of operations."""
    if len(given.operations) > 2:
        yield Breach("more than two", tuple(one.request.id for one in given.operations))


LIMIT = Invariant("limit", "at most two", at_most_two)
FAILS = Invariant("fails", "cannot be answered", lambda _evidence: 1 / 0)  # type: ignore[arg-type,return-value]
PROBED = Invariant("probed", "asked of probes only", at_most_two, ("probe",))


def test_order_and_rule_are_both_fine() -> None:
    """An order exists and the invariant holds."""
    found = judge_evidence(evidence(1, 2, rest=2), Counters(), [LIMIT, PROBED], "burst")
    assert (found.order, found.breaches, found.broken) == ("legal", {"limit": ()}, False)


def test_order_holds_and_the_rule_does_not() -> None:
    """Perfectly serialised, and still wrong."""
    found = judge_evidence(evidence(1, 2, 3), Counters(), [LIMIT], "burst")
    assert (found.order, found.broken) == ("legal", True)
    assert found.breaches["limit"][0].says == "more than two"


def test_the_rule_holds_and_order_does_not() -> None:
    """No order explains two equal sums; the finding names them."""
    found = judge_evidence(evidence(1, 1), Counters(), [LIMIT], "burst")
    assert (found.order, found.unordered, found.breaches) == ("illegal", ("0", "1"), {"limit": ()})
    assert found.broken


@pytest.mark.parametrize("words", ["", None])
def test_a_breach_without_words_is_one(words: Any) -> None:
    """It has the invariant's: whoever looks at what was said sees that something broke."""
    silent = Invariant("silent", "the cup is whole", lambda _evidence: [Breach(words)])
    found = judge_evidence(evidence(1, 2, rest=2), Counters(), [silent], "burst")
    assert (found.broken, found.breaches["silent"][0].says) == (True, "the cup is whole")


@pytest.mark.parametrize("answer", [True, None])
def test_an_invariant_that_gives_no_list_is_told_so(answer: Any) -> None:
    """A check that answers whether all is well says nothing of what broke."""
    mistaken = Invariant("mistaken", "", lambda _evidence: answer)
    found = judge_evidence(evidence(1, 2, rest=2), Counters(), [mistaken], "burst")
    says = f"it must give a list of harness.Breach, empty where all is well, not {answer}"
    assert (found.checker_error, found.broken) == (f"'mistaken' failed: TypeError: {says}", False)


def test_what_was_lost_shows_at_rest() -> None:
    """Every answer fits, the value left behind does not."""
    assert judge_evidence(evidence(1, 2, rest=1), Counters(), [], "burst").order == "illegal"


def test_a_checker_that_fails_is_no_pass() -> None:
    """Its text is kept, the invariant has no answer, the others have."""
    found = judge_evidence(evidence(1), Counters(), [FAILS, LIMIT], "burst")
    assert found.checker_error == "'fails' failed: ZeroDivisionError: division by zero"
    assert (found.breaches, found.broken) == ({"limit": ()}, False)


def test_what_never_lets_go_is_asked_once() -> None:
    """Whoever ended it has said why: no invariant, and no later burst, need wait for the same again."""

    def endless(_evidence: Evidence) -> Iterator[Breach]:
        raise UsageError("rule.py:3: still running")

    with pytest.raises(UsageError, match="still running"):
        judge_evidence(evidence(1, 2), Counters(), [Invariant("endless", "never told", endless), LIMIT], "burst")


def test_a_rule_that_fails_leaves_the_order_unknown() -> None:
    """The judge's own failure is never a verdict."""

    class Broken(Counters):
        def allowed(self, *asked: Any) -> Iterable[State]:
            raise KeyError(asked[1].operation)

    found = judge_evidence(evidence(1), Broken(), [LIMIT], "burst")
    assert (found.order, found.checker_error) == ("unknown", "the rule failed: KeyError: 'add'")
    assert not found.broken


def unanswered(error: str) -> Evidence:
    """One add that nobody was answered."""
    lost: Any = operation("add", times=(0, None), status=Status.UNKNOWN, id="0")
    return Evidence("1", ("k",), [lost._replace(error=error)], initial={"k": None})


def test_stuck_is_a_violation_and_a_lost_connection_is_not() -> None:
    """Only who lived and was never answered is stuck."""
    stuck = judge_evidence(unanswered(STUCK), Counters(), [], "burst")
    lost = judge_evidence(unanswered("connection-lost"), Counters(), [], "burst")
    assert (stuck.stuck, stuck.broken) == (("0",), True)
    assert (lost.stuck, lost.broken, lost.order) == ((), False, "legal")
