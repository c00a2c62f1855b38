"""The rendezvous: nobody leaves before everybody arrived, and all leave together."""

from __future__ import annotations

import subprocess
import sys
import tempfile

from harness.burst.rendezvous import Rendezvous, size

PROCESS = """
import sys, time
from harness.burst.rendezvous import Rendezvous, spin
meeting = Rendezvous(int(sys.argv[1]), int(sys.argv[2]), 2)
meeting.begin()
for _ in range(200):
    meeting.arrive()
    at = 0
    while not at:
        at = meeting.wait(1.0)
    spin(at)
    print(at, time.monotonic_ns() >= at)
"""


def test_two_processes_leave_two_hundred_meetings_at_the_same_instants() -> None:
    """Every meeting has one deadline, a new one each time, and nobody leaves before it."""
    with tempfile.TemporaryFile() as file:
        file.truncate(size(2))
        fd = file.fileno()
        Rendezvous(fd, 2, 2).reset()
        both = [
            subprocess.Popen(
                [sys.executable, "-c", PROCESS, str(fd), str(number)], pass_fds=[fd], stdout=subprocess.PIPE, text=True
            )
            for number in range(2)
        ]
        first, second = (process.communicate(timeout=30)[0].splitlines() for process in both)
    assert first == second
    assert len(set(first)) == 200
    assert all(line.endswith("True") for line in first)


def test_a_process_that_waits_alone_is_told_when_to_give_up() -> None:
    """Without the others there is no release."""
    with tempfile.TemporaryFile() as file:
        file.truncate(size(2))
        meeting = Rendezvous(file.fileno(), 0, 2)
        meeting.arrive()
        assert meeting.wait(0.01) == 0


def test_a_stopped_meeting_releases_nobody() -> None:
    """Who waits when the parent stops the series is told so."""
    with tempfile.TemporaryFile() as file:
        file.truncate(size(2))
        meeting = Rendezvous(file.fileno(), 1, 2)
        meeting.arrive()
        meeting.stop()
        assert (meeting.wait(1.0), meeting.stopped) == (0, True)
