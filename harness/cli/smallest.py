"""The smallest schedule that breaks, looked for once a load has broken something."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from harness.cli.explore_command import saved
from harness.cli.options import Output
from harness.model import UsageError

if TYPE_CHECKING:
    from harness.burst import Load, Measurement, StoresOptions
    from harness.burst.cells import Bound
    from harness.explore import Brief
    from harness.stores import Stores

MINIMISE_S = 2.0
"""Seconds in which it is looked for."""


class Smallest:
    """Looks for it, and adds it to the document."""

    def __init__(self, load: Load) -> None:
        """Nothing is found yet."""
        self.load = load
        self.found: Brief | None = None

    async def look(self, bound: Bound, stores: Stores, measured: Measurement) -> bool:
        """Explore for a moment, on the stores of the load; false where that was interrupted."""
        from harness.burst.anew import ANSWERED
        from harness.explore import explore_briefly
        from harness.model import Verdict

        if measured.verdict is Verdict.VIOLATED:
            broken = {name for name, number in measured.by_invariant.items() if number}
            # Shut out by what a dead one keeps: that breaks without a second delivery.
            crash = broken == {ANSWERED.name} and measured.order is not Verdict.VIOLATED
            self.found = await explore_briefly(bound, stores, self.load, MINIMISE_S, crash=crash)
        return self.found is None or self.found.complete

    async def look_behind(self, measured: Measurement, options: StoresOptions) -> bool:
        """The same for the strategy behind race serve, on a store of our own: that of the service nobody can reach."""
        from harness.burst.cells import bind
        from harness.explore import explore_briefly_alone
        from harness.model import Verdict

        if measured.verdict is Verdict.VIOLATED:
            bound = bind(measured.cell, self.load)
            self.found = await explore_briefly_alone(bound, options, self.load, MINIMISE_S)
        return self.found is None or self.found.complete

    def with_found(self, document: dict[str, Any], output: Output, measured: Measurement) -> dict[str, Any]:
        """The document with what was found in it; the same where nothing was looked for."""
        from harness.results.exploration import minimised

        found, file = self.found, None
        if found is None:
            return document
        with contextlib.suppress(UsageError):  # the result, kept in the same folder, is shown first
            file = saved(None, output, measured.cell, found.options, found.smallest, measured.started_at)
        return minimised(document, found, file)
