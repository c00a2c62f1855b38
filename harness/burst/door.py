"""What is known of how requests met inside a service of one's own, where no control can show it.

Two handlers overlapped where one request had arrived before another's handler was done, by the stamps of the
service itself, or by what its owner knows of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Handled(NamedTuple):
    """A request of a burst as the service stamped it, in ns of its own clock; 0 where it did not."""

    arrived_ns: int
    returned_ns: int


@dataclass(slots=True)
class Door:
    """Adds up bursts. `arrival_us` and `handler_us` are its owner's figures, None where none are given.

    A burst is `known` where its stamps, or the owner's figures in their place, say whether handlers overlapped;
    it has `met` where they did. `given`: the owner's figures took part.
    """

    arrival_us: float | None = None
    handler_us: float | None = None
    known: int = 0
    met: int = 0
    given: bool = False
    spreads_us: list[float] = field(default_factory=list)
    _waiting: dict[int, list[Handled]] = field(default_factory=dict)

    def take(self, burst: int, handled: Handled) -> None:
        """Remember a request of a burst that has still to be judged."""
        self._waiting.setdefault(burst, []).append(handled)

    def weigh(self, burst: int, *, judged: bool) -> None:
        """Count a burst; its stamps are forgotten."""
        stamps = [one for one in self._waiting.pop(burst, ()) if one.arrived_ns]
        if len(stamps) > 1:
            first, last = min(stamps).arrived_ns, max(stamps).arrived_ns
            self.spreads_us.append((last - first) / 1000)
        found = self._overlapped(stamps)
        if judged and found is not None:
            self.known += 1
            self.met += found

    def _overlapped(self, stamps: Sequence[Handled]) -> bool | None:
        """Whether any two handlers were at work at once; None where nobody knows."""
        if len(stamps) > 1:
            if self.handler_us is None and not all(one.returned_ns for one in stamps):
                return None
            self.given = self.given or not all(one.returned_ns for one in stamps)
            done_ns = 0
            for arrived_ns, returned_ns in sorted(stamps):
                if arrived_ns < done_ns:
                    return True
                done_ns = max(done_ns, returned_ns or arrived_ns + round((self.handler_us or 0) * 1000))
            return False
        if self.arrival_us is None or self.handler_us is None:
            return None
        self.given = True
        return self.arrival_us < self.handler_us

    @property
    def spread_us(self) -> float | None:
        """The median of how far apart the requests of a burst arrived, by the service's stamps."""
        return round(statistics.median(self.spreads_us), 3) if self.spreads_us else None
