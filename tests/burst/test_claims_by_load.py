"""Every claim, put to the test: what holds is held under load, and what breaks is caught.

Both ways: a harness that says `held` of a mutant is useless, and so is one that cries wolf
about what is tricky but safe. Verdicts only, no times: other tests may run meanwhile, since bursts that were pulled
apart are followed by more.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.burst import Cell
from harness.model import Verdict
from harness.results.claims import as_claimed, shown_to_callers
from harness.strategy.loader import find_scenario, strategies

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.burst import Measurement
    from harness.model import Claim
    from tests.burst.conftest import Loads
    from tests.conftest import Ended

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.xdist_group("claims by load")  # one fleet for all of them

LOADED = ("double-submit", "counter")
"""What is loaded under every strategy: of the others every order of two requests is run, which costs less."""
SPREAD = {
    "last-owner": ("pg-conditional", "pg-for-update:parent"),
    "register": ("naive", "watch"),
    "text": ("pg-read-committed", "lua", "pg-serializable"),
    "rate-limit": ("multi", "replica-lag"),
    "idempotency-key": ("lua",),
    "token-rotation": ("pg-conditional",),
    "booking": ("pg-exclusion:do-nothing",),
    "refund": ("pg-conditional:total",),
    "invoice-number": ("pg-unique",),
    "get-or-create": ("pg-unique",),
    "places": ("pg-conditional:total", "cart=pg-read-committed,*=pg-advisory"),
    "cron-job": ("pg-unique", "pg-advisory:try"),
    "job-claim": ("pg-skip-locked",),
    "team-move": ("pg-for-update",),
    "roster": ("pg-for-update:second-connection",),
    "lock-lease": ("redis-lock:no-token",),
    "credits": ("redis-lock:whole-flow",),
    "subscription": ("pg-conditional",),
    "six-writers": ("admin=pg-read-committed,*=pg-procedure:revoked", "admin=naive,*=actor", "admin=naive,*=queue"),
}
"""Of the others, what bursts of four may show and two requests do not: several rows per key, several keys."""
CELLS = [
    *(Cell(scenario, strategy.name) for scenario in LOADED for strategy in strategies()),
    *(Cell(scenario, title) for scenario, titles in SPREAD.items() for title in titles),
    Cell("subscription", "lua", "blind"),
    Cell("roster", "lua", "delete"),
]
FAMILIES = (
    "naive", "atomic", "lua", "watch", "mutex", "redis-lock", "actor", "queue", "pg-read-committed", "pg-for-update",
    "pg-conditional", "pg-serializable", "pg-advisory", "pg-procedure", "pg-queue",
)  # fmt: skip
FIRST = {
    *(Cell("double-submit", name) for name in FAMILIES), Cell("counter", "multi"),
    Cell("last-owner", "pg-conditional"), Cell("rate-limit", "replica-lag"), Cell("team-move", "pg-for-update"),
    Cell("subscription", "lua", "blind"),
}  # fmt: skip
"""One of each kind; of the others every order of two requests is run, too, in less time."""
RARE = {"pg-queue:first-row"}
"""What only exploring shows: a lower number is committed just after a higher one was taken."""
VARIANTS = [
    title
    for strategy in strategies()
    for number, variant in enumerate(strategy.variants)
    if (title := f"{strategy.name}:{variant}") not in RARE and (number % 3 == 0 or "RACE_MATRIX" in os.environ)
]
"""One of three, of every strategy the first; all of them in `make matrix`. Every order of two is run of each."""


def name_of(cell: Cell) -> str:
    """As a test is called."""
    return "-".join(filter(None, (cell.scenario, cell.strategy, cell.rule)))


def told(measurement: Measurement) -> str:
    """Everything that helps to understand a wrong verdict."""
    overlap = measurement.overlap
    return (
        f"{measurement.verdict} ({measurement.reason}); order {measurement.order}, {measurement.invariants};"
        f" {measurement.counts}; {overlap}; {measurement.counterexample}"
    )


@pytest.mark.parametrize(
    "cell",
    [pytest.param(cell, marks=[] if cell in FIRST else [pytest.mark.long], id=name_of(cell)) for cell in CELLS],
)
def test_the_verdict_is_the_claim(loads: Loads, cell: Cell) -> None:
    """For every strategy, with two processes."""
    claim = loads.claim(cell)
    if claim.kind == "not-applicable":
        pytest.skip(claim.reason)
    bear_out(loads, cell, claim)


@pytest.mark.parametrize(
    "strategy",
    [pytest.param(one, marks=pytest.mark.matrix if "second" in one else pytest.mark.long) for one in VARIANTS],
)
def test_every_variant(loads: Loads, strategy: str) -> None:
    """Every mutant where it breaks something, every tricky-but-safe form where there is one."""
    claims = [(cell, loads.claim(cell)) for cell in (Cell(scenario, strategy) for scenario in LOADED)]
    claims = [(cell, claim) for cell, claim in claims if claim.kind != "not-applicable"]
    if not claims:
        pytest.skip("of scenarios with layouts of their own, and explored there")
    bear_out(loads, *min(claims, key=lambda one: one[1].kind == "holds"))


def bear_out(loads: Loads, cell: Cell, claim: Claim) -> None:
    """Assert that the load's verdict, and what callers were shown, is what was claimed."""
    found = loads.judge(cell)
    shown = shown_to_callers(found.counts.errors, found.counts.by_decision)
    expected = Verdict.HELD if claim.kind == "holds" else Verdict.VIOLATED
    assert expected is found.verdict, told(found)
    assert as_claimed(claim, found.verdict, shown), told(found)
    again = find_scenario(cell.scenario)().refused_again.get(cell.strategy)  # shown to a second delivery: here is none
    assert any(code in shown for code in claim.errors) == bool({*claim.errors} - {again}), told(found)


@pytest.mark.parametrize("scenario", LOADED)
def test_the_in_process_lock_holds_within_one_process(alone: Loads, scenario: str) -> None:
    """The same strategy that two processes break."""
    found = alone.judge(Cell(scenario, "mutex"))
    assert found.verdict is Verdict.HELD, told(found)


@pytest.mark.load
@pytest.mark.long
def test_inserts_that_deadlock_in_an_exclusion_constraint(race: Callable[..., Ended]) -> None:
    """Each puts its row into the index and waits for the others: whoever does not try again is shown 40P01.

    By the command of docs/choosing.md.
    """
    page = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"which only a load shows, .*\n`race (run booking .*)`", page)
    for seed in range(1, 6):  # how many insert in the same instant is chance
        ended = race(*words.split(), "--seed", str(seed), "--json")
        found = json.loads(ended.stdout)
        assert (ended.code, found["verdict"], found["as_claimed"]) == (0, "held", True), ended.stdout
        if found["counts"]["errors"]:
            break
    assert {*found["counts"]["errors"]} == {"40P01"}
