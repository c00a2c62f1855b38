"""Verdicts: a pass is earned, a doubt is named, a violation wins."""

from dataclasses import replace

import pytest

from harness.judge import Facts, Finding, conclude, conclude_part
from harness.judge.partitions import UNDATED
from harness.judge.score import Score, Weight
from harness.model import Verdict

GOOD = Facts(judged=100, control="naive", control_bursts=10, control_broken=9)


def test_held_is_earned() -> None:
    """Nothing was seen, and the same load broke the control."""
    assert conclude(GOOD) == (
        Verdict.HELD,
        "none of 100 broke, while under the same load naive broke in 9 of 10",
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lost": "valkey restarted"}, "the run was disturbed: valkey restarted"),
        ({"checker_error": "boom"}, "the judge failed: boom"),
        ({"judged": 0}, "nothing ran"),
        ({"complete": False}, "the run was interrupted"),
        ({"undecided": 100}, "every request was aborted, or nobody was answered"),
        ({"unanswered": 1}, "somebody got no answer in 1 of 100"),
        ({"undecided": 1}, "nothing was decided in 1 of 100"),
        ({"unjudged": 2}, "the judge ran out of time or memory in 2 of 100"),
        (
            {"unjudged": 2, "unjudged_why": UNDATED},
            "in 2 of 100 the order depends on an instant that nobody knows",
        ),
        ({"control": None}, "no control ran: nothing shows that this load finds anything"),
        (
            {"control_bursts": 0, "control_broken": 0},
            "the control naive did not run: nothing shows that this load finds anything",
        ),
        (
            {"control_broken": 4},
            "the control naive broke in only 4 of 10: nothing shows that this load finds anything",
        ),
    ],
)
def test_every_doubt_is_inconclusive(change: dict[str, object], reason: str) -> None:
    """Each doubt alone is enough, and is said in one sentence."""
    assert (Verdict.INCONCLUSIVE, reason) == conclude(replace(GOOD, **change))  # type: ignore[arg-type]


def test_what_is_left_out_is_said() -> None:
    """It counts among the killed, of which there must not be more than are whole."""
    verdict, reason = conclude(replace(GOOD, undated=1))
    assert verdict is Verdict.HELD
    assert reason.endswith("; 1 more was left out, where a worker was killed at an unknown instant")
    killed = replace(GOOD, judged=100, cut_off=49)
    assert conclude(replace(killed, undated=2))[0] is Verdict.HELD
    said = "a worker was killed in 52 of 103: too few are whole"
    assert conclude(replace(killed, undated=3)) == (Verdict.INCONCLUSIVE, said)


def test_why_some_have_no_verdict() -> None:
    """The reason that is the same for all of them; of several, that more time may help."""
    weight = Weight(overlapped=True, decided=True, unanswered=False)
    undated, late = (Finding("unknown", unknown_why=why) for why in (UNDATED, "no answer within 20 s"))
    for pieces, said in (((undated,), UNDATED), ((undated, undated), UNDATED), ((undated, late), ""), ((late,), "")):
        score = Score()
        for number, piece in enumerate(pieces):
            score.weigh(weight, piece, str(number))
        assert (score.unjudged, score.unjudged_why) == (len(pieces), said)


@pytest.mark.parametrize(
    "change",
    [{}, {"lost": "gone"}, {"checker_error": "boom"}, {"complete": False}, {"control": None}],
)
def test_a_violation_wins_over_every_doubt(change: dict[str, object]) -> None:
    """What was seen was seen."""
    found = conclude(replace(GOOD, broken=3, **change))  # type: ignore[arg-type]
    assert found == (Verdict.VIOLATED, "3 of 100 broke")


def test_half_of_the_control_is_enough() -> None:
    """The control must break in at least half of its bursts."""
    assert conclude(replace(GOOD, control_broken=5))[0] == Verdict.HELD


def test_where_half_of_the_orders_are_right() -> None:
    """Half of what the control breaks where all meet."""
    half = Score(judged=100).facts("naive", 100, 25, lost=None, complete=True, control_needed=0.25)
    assert conclude(half)[0] is Verdict.HELD
    assert conclude(replace(half, control_broken=24)) == (
        Verdict.INCONCLUSIVE,
        "the control naive broke in only 24 of 100: nothing shows that this load finds anything",
    )


def test_order_and_rule_have_verdicts_of_their_own() -> None:
    """One question may be violated while another one held, failed or was never asked."""
    facts = replace(GOOD, broken=3, checker_error="boom", unjudged=1)
    assert conclude_part(facts, 3)[0] == Verdict.VIOLATED
    assert conclude_part(facts, 0)[0] == Verdict.HELD
    assert conclude_part(facts, 0, unjudged=1)[0] == Verdict.INCONCLUSIVE
    assert conclude_part(facts, 0, error="boom")[0] == Verdict.INCONCLUSIVE
    assert conclude_part(facts, 0, asked=0) == (Verdict.INCONCLUSIVE, "this was never asked")
