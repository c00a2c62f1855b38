"""Whether requests met inside a service: by its stamps, by figures given, or not known; and what follows from it."""

from __future__ import annotations

import pytest

from harness.burst.door import Door, Handled
from harness.judge import Facts, Meeting, conclude
from harness.model import Verdict


@pytest.mark.parametrize(
    ("door", "stamps", "expected"),
    [
        (Door(), [(100, 300), (200, 400)], (1, 1, False)),
        (Door(), [(100, 200), (200, 400)], (1, 0, False)),
        (Door(), [(100, 900), (300, 400), (500, 600)], (1, 1, False)),
        (Door(), [(100, 0), (110, 0)], (0, 0, False)),
        (Door(), [], (0, 0, False)),
        (Door(), [(100, 300)], (0, 0, False)),
        (Door(handler_us=1), [(100, 0), (900, 0)], (1, 1, True)),
        (Door(handler_us=1), [(100, 0), (1200, 0)], (1, 0, True)),
        (Door(arrival_us=5, handler_us=10), [], (1, 1, True)),
        (Door(arrival_us=10, handler_us=5), [], (1, 0, True)),
        (Door(arrival_us=5), [], (0, 0, False)),
    ],
)
def test_handlers_overlap(door: Door, stamps: list[tuple[int, int]], expected: tuple[int, int, bool]) -> None:
    """Known, met, and whether figures were given."""
    for stamp in stamps:
        door.take(7, Handled(*stamp))
    door.weigh(7, judged=True)
    assert (door.known, door.met, door.given) == expected


@pytest.mark.parametrize(
    ("meeting", "verdict", "says"),
    [
        (Meeting(60, 100), Verdict.HELD, "met inside the service in 60 of 100, by its own stamps"),
        (Meeting(60, 100, given=True), Verdict.HELD, "by the figures given for it"),
        (Meeting(49, 100), Verdict.INCONCLUSIVE, "met inside the service in only 49 of 100"),
        (Meeting(0, 0), Verdict.INCONCLUSIVE, "nobody knows whether requests met"),
        (Meeting(20, 20), Verdict.INCONCLUSIVE, "only of 20 of 100 is it known"),
        (None, Verdict.INCONCLUSIVE, "no control ran"),
    ],
)
def test_what_follows(meeting: Meeting | None, verdict: Verdict, says: str) -> None:
    """Without a control, only known overlap lets anything hold."""
    found, reason = conclude(Facts(judged=100, meeting=meeting))
    assert found is verdict
    assert says in reason


def test_a_violation_needs_no_meeting() -> None:
    """It shows by itself that the load finds something."""
    assert conclude(Facts(judged=100, broken=1, meeting=Meeting(0, 0)))[0] is Verdict.VIOLATED
