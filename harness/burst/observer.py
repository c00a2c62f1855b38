"""What somebody is told who looks on while bursts are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.judge import Finding
from harness.model import Evidence, Step


class Observer(Protocol):
    """Somebody who wants to know of each burst, not only what all of them come to."""

    def ordered(self, first: int, count: int) -> None:
        """These bursts are about to be made."""

    def burst(self, number: int, evidence: Evidence, finding: Finding, *, control: bool) -> None:
        """A burst was made and judged."""

    def shown(self, number: int, steps: Sequence[Step]) -> None:
        """A broken burst was chosen to be shown; these are its steps."""

    def probes(self, number: int, evidence: Evidence) -> None:
        """The keys of a burst were asked whether they still work."""
