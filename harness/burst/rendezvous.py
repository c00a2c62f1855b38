"""Where the processes of a load meet: a deadline in shared memory that all spin up to.

Waking from a sleep spreads a release over tens of microseconds, which hides most races. So a
process only sleeps until the last one has arrived; then the first process sets a deadline a
little ahead, and everybody spins through its last fraction of a millisecond.
"""

from __future__ import annotations

import mmap
import time

LEAD_NS = 200_000
_SLOTS = 4
_NAP_S = 0.00003
_READY_AT = 8


class Rendezvous:
    """One meeting after the other between `processes` processes, over a shared file.

    Words of 64 bits, each stored whole: 0 stop flag, 1 to 4 deadlines in turn, from 8 on one per process: how many
    meetings it has arrived at.
    """

    def __init__(self, fd: int, process: int, processes: int) -> None:
        """`fd` is a file of at least `size(processes)` bytes shared by all."""
        self._map = mmap.mmap(fd, size(processes))
        self.words = memoryview(self._map).cast("q")
        """As they lie there: the first says whether to stop, for who asks at every turn of a loop."""
        self._process = process
        self._processes = processes
        self._met = 0

    @property
    def stopped(self) -> bool:
        """Whether the parent asked everybody to stop."""
        return self.words[0] != 0

    def close(self) -> None:
        """Unmap."""
        self.words.release()
        self._map.close()

    def stop(self) -> None:
        """Ask everybody to stop at the next meeting."""
        self.words[0] = 1

    def reset(self) -> None:
        """Begin a new series of meetings; only while nobody waits."""
        self._met = 0
        for index in range(1, _READY_AT + self._processes):
            self.words[index] = 0
        self.words[0] = 0

    def arrived(self, process: int) -> int:
        """How many meetings a process has come to."""
        return int(self.words[_READY_AT + process])

    def release(self, meeting: int) -> int:
        """When those of a meeting, from 1 on, are let go, in monotonic ns: now, where that was before; 0 until then."""
        come = [self.arrived(process) for process in range(self._processes)]
        if max(come) > meeting:
            return time.monotonic_ns()
        return int(self.words[1 + meeting % _SLOTS]) if min(come) == meeting else 0

    def begin(self) -> None:
        """In a worker: forget the meetings of an earlier series."""
        self._met = 0

    def arrive(self) -> None:
        """Say that this process is ready for the next meeting."""
        self._met += 1
        self.words[_READY_AT + self._process] = self._met

    def wait(self, patience_s: float) -> int:
        """Nap until the deadline is set; the deadline, in monotonic ns, to `spin` up to.

        0 when `patience_s` ran out or everybody was told to stop: call again, or give up.
        """
        words = self.words
        slot = 1 + self._met % _SLOTS
        everybody = range(_READY_AT, _READY_AT + self._processes)
        give_up = time.monotonic() + patience_s
        while True:
            deadline = words[slot]
            if deadline:
                break
            if self._process == 0 and all(words[index] >= self._met for index in everybody):
                # The slot after next is cleared by the only writer, while nobody can wait for it.
                words[1 + (self._met + 2) % _SLOTS] = 0
                words[slot] = time.monotonic_ns() + LEAD_NS
                continue
            if words[0] or time.monotonic() > give_up:
                return 0
            time.sleep(_NAP_S)
        return deadline


def spin(deadline_ns: int) -> None:
    """Hold this core until the deadline has come."""
    clock = time.monotonic_ns
    while clock() < deadline_ns:
        pass


def size(processes: int) -> int:
    """Bytes that a rendezvous of so many processes needs."""
    return (_READY_AT + processes) * 8
