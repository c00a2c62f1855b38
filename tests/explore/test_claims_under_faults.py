"""What every strategy claims of itself when something fails, borne out by every order of two requests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.explore import FAULTS, Exhaustive, Options, searching
from harness.model import Verdict
from harness.results.claims import breaks, explored_as_claimed
from harness.strategy.loader import strategies
from tests.explore.conftest import Stage

VARIANTS = ["lua:resend", "lua:remember", "redis-lock:no-lease", "redis-lock:set-then-expire", "redis-lock:no-token"]
TITLES = [kind.name for kind in strategies()] + VARIANTS
SLOW = {
    ("pg-serializable", "pause"),
    ("pg-repeatable-read", "pause"),
    ("pg-version", "pause"),
    ("redis-lock-fenced", "pause"),
    ("redis-lock-renewed", "pause"),
    *((name, fault) for name in ("queue", "pg-queue") for fault in FAULTS),
}
"""Hundreds of schedules on PostgreSQL, and so is what follows: in the table of explored verdicts, not in a test."""
CELLS = [("counter", title, fault) for title in TITLES for fault in FAULTS if (title, fault) not in SLOW] + [
    ("double-submit", title, fault)
    for title in ("naive", "atomic", "lua", *VARIANTS[:2], "redis-lock", "actor", "pg-for-update")
    for fault in FAULTS
    if (fault != "pause" and (fault, title) not in {("crash", "redis-lock"), ("lost-reply", "pg-for-update")})
    or title in {"naive", "redis-lock"}
]
THREE = {("counter", "actor", "crash"), ("counter", "actors", "crash")}
"""Two requests are too few for these."""
NOT_SHOWN = {("double-submit", "actor", "crash")}
"""What three do not show either: the successor's memory outweighs the store."""


@pytest.mark.long
@pytest.mark.parametrize(("scenario", "strategy", "fault"), CELLS)
def test_claims_under_a_fault(stage: Stage, scenario: str, strategy: str, fault: str) -> None:
    """Who claims to break under it does; who claims to hold is proved."""
    size = 3 if (scenario, strategy, fault) in THREE else 2
    options = Options(size=size, faults=(fault,), budget_s=30)
    claim = stage.explorer(scenario, strategy, options).bound.claim
    if claim.kind == "not-applicable":
        pytest.skip(claim.reason)
    found, _ = stage.explore(scenario, strategy, Exhaustive, options)
    met = explored_as_claimed(claim, found.verdict, found.errors, options.faults)
    if (scenario, strategy, fault) in NOT_SHOWN:
        assert met is None
    else:
        assert met is True, (found.verdict, found.reason, found.errors)
    if not breaks(claim, options.faults):
        expected = Verdict.BOUNDED if strategy == "pg-procedure" else Verdict.PROVED  # a function is not seen
        assert found.verdict is expected, found.reason


def test_the_stale_holder_writes(stage: Stage) -> None:
    """A pause past the lease: the lock is another's, and the one who slept writes what it decided before."""
    options = Options(faults=("pause",))
    _, smallest = stage.explore("counter", "redis-lock", Exhaustive, options, shrink=True)
    assert smallest is not None
    writes = [step.caller for step in smallest.steps if step.command[:2] == ("SET", "counter")]
    paused = next(choice.caller for choice in smallest.choices if choice.kind == "pause")
    assert (len(writes), writes[-1]) == (2, paused)


def test_a_late_write_of_a_dead_owner(stage: Stage) -> None:
    """Its successor has read already: one more acknowledged add than there is."""
    options = Options(size=3, faults=("crash",))
    found, smallest = stage.explore("counter", "actor", Exhaustive, options, shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert smallest.says == "2 adds were acknowledged but the counter shows 1"
    assert {caller for step in smallest.steps if (caller := step.caller).startswith("owner")} == {"owner", "owner.2"}


@pytest.mark.parametrize(
    ("scenario", "strategy", "rule", "options"),
    [
        # With a limit of one, the write that arrives late is the one that it covers.
        ("rate-limit", "actor", "sliding-log", Options(size=4, faults=("crash",))),
        ("rate-limit", "actors", "token-bucket", Options(size=4, faults=("crash",))),
        # Whoever asks again is refused by his own row, unless it has been cancelled.
        ("booking", "pg-exclusion", "", Options(size=3, seed=26, faults=("duplicate",))),
        # Whoever waits for one who is gone holds the lock meanwhile, until its lease is over.
        ("double-submit", "redis-lock:whole-flow", "wait", Options(size=3, faults=("lost-reply",))),
        # Whose lock is past its end steals it beside another one: two thieves, and one whose it was.
        ("counter", "redis-lock:steal", "", Options(size=3, faults=("lost-reply",))),
        pytest.param(
            "webhook",
            "redis-lock:steal",
            "re-read",
            Options(size=3, faults=("lost-reply",), budget_s=100),
            marks=pytest.mark.long,
        ),
    ],
    ids=str,
)
def test_what_takes_more_than_two(stage: Stage, scenario: str, strategy: str, rule: str, options: Options) -> None:
    """Two requests are proved right, and that is no reason to claim it of more."""
    for each, verdict in ((replace(options, size=2), Verdict.PROVED), (options, Verdict.VIOLATED)):
        explorer = stage.explorer(scenario, strategy, options, rule)
        claim = explorer.bound.claim
        found, _ = stage.explore(scenario, strategy, lambda: searching(options, claim), each, rule=rule)  # noqa: B023 - called at once
        assert found.verdict is verdict, found.reason
        assert breaks(claim, options.faults)


def test_an_answer_in_a_queue_outlasts_every_pause(stage: Stage) -> None:
    """Whoever comes back late, after a window of two minutes, finds it."""
    found, _ = stage.explore("rate-limit", "queue", Exhaustive, Options(size=1, faults=("pause",)))
    assert found.verdict is Verdict.PROVED, found.reason


@pytest.mark.long
def test_two_who_steal_the_lock_of_a_dead_one(stage: Stage) -> None:
    """Found by drawing: in order, one of three that dies comes late."""
    options = Options(size=3, faults=("crash",), search="random", budget_s=60)
    found, _ = stage.explore("counter", "redis-lock:steal", lambda: searching(options), options)
    assert found.verdict is Verdict.VIOLATED, found.reason


@pytest.mark.parametrize("strategy", ["actor", "actor:credentials", "actors", "actors:resumed-unfenced"])
def test_a_write_that_arrives_late_is_seen_where_others_did_something_else(stage: Stage, strategy: str) -> None:
    """It lifts a freeze. Where all take the same, as beside a bypass, it writes what is there already."""
    options = Options(faults=("crash",), budget_s=30)
    found, _ = stage.explore("six-writers", strategy, Exhaustive, options, rule="method")
    assert found.first is not None
    assert found.first.says == "an account that was frozen is not frozen any more"
    assert breaks(stage.explorer("six-writers", strategy, options, "method").bound.claim, options.faults)
    found, _ = stage.explore("six-writers", strategy, Exhaustive, options, rule="bypass")
    assert found.verdict is Verdict.PROVED
    assert not breaks(stage.explorer("six-writers", strategy, options, "bypass").bound.claim, options.faults)


@pytest.mark.parametrize(
    ("scenario", "rule"), [("webhook", "guarded"), ("webhook", "re-read"), ("idempotency-key", "")]
)
def test_a_request_of_an_attempt_that_comes_again_by_itself(stage: Stage, scenario: str, rule: str) -> None:
    """Nobody holds the lock for it: the attempt whose it was may be over, and another one at work."""
    options = Options(faults=("duplicate",), budget_s=60)
    explorer = stage.explorer(scenario, "redis-lock:whole-flow", options, rule)
    found, _ = stage.explore(scenario, "redis-lock:whole-flow", Exhaustive, options, rule=rule)
    assert (found.verdict, breaks(explorer.bound.claim, options.faults)) == (Verdict.VIOLATED, True)


@pytest.mark.parametrize(
    ("scenario", "rule", "strategy", "fault"),
    [
        ("webhook", "re-read", "redis-lock:no-lease", "crash"),
        ("webhook", "guarded", "redis-lock:set-then-expire", "lost-reply"),
        ("credits", "approval", "redis-lock:no-lease", "crash"),
        ("subscription", "first-wins", "redis-lock:no-lease", "lost-reply"),
    ],
)
def test_a_lock_that_no_attempt_gets_any_more(
    stage: Stage, scenario: str, rule: str, strategy: str, fault: str
) -> None:
    """All that others are told is to try again, for ever: no rule breaks by that, and nobody gets in."""
    options = Options(faults=(fault,), budget_s=60)
    found, _ = stage.explore(scenario, strategy, Exhaustive, options, rule=rule)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert found.first is not None
    assert found.first.says == "a new request after every lease had passed was aborted"


@pytest.mark.parametrize("strategy", ["redis-lock", "redis-lock-renewed", "redis-lock-fenced:unchecked"])
@pytest.mark.parametrize("fault", ["crash", "lost-reply"])
def test_no_lock_makes_one_of_two_writes(stage: Stage, strategy: str, fault: str) -> None:
    """However it is held: who is gone between them has moved half a member."""
    options = Options(faults=(fault,))
    found, _ = stage.explore("team-move", strategy, Exhaustive, options)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert breaks(stage.explorer("team-move", strategy, options).bound.claim, options.faults)


@pytest.mark.parametrize("strategy", ["pg-conditional", "pg-unique"])
def test_who_comes_back_after_its_lease_is_not_thrown_out(stage: Stage, strategy: str) -> None:
    """It looked at its clock before it was paused, and finds that another has been let in since."""
    options = Options(faults=("pause",), budget_s=2)
    found, _ = stage.explore("double-submit", strategy, Exhaustive, options, rule="replace")
    assert found.verdict in {Verdict.PROVED, Verdict.BOUNDED}, found.first and found.first.says


def test_who_waits_behind_a_paused_holder_without_a_lease_is_told_so(stage: Stage) -> None:
    """Longer than anybody tries, where windows are minutes: no rule breaks by it, and the claim names it."""
    options = Options(faults=("pause",))
    bound = stage.explorer("rate-limit", "redis-lock:no-lease", options).bound
    found, _ = stage.explore("rate-limit", "redis-lock:no-lease", Exhaustive, options)
    assert (found.verdict, set(found.errors), bound.claim.errors) == (Verdict.BOUNDED, {"aborted"}, ("aborted",))
    assert stage.explorer("counter", "redis-lock:no-lease", options).bound.claim.errors == ()


def test_a_claim_is_given_back_once(stage: Stage) -> None:
    """A second delivery finds it gone, or another's; a queue keeps the first answer."""
    options = Options(faults=("duplicate",))
    explorer = stage.explorer("idempotency-key", "actor", options, "released")
    found, _ = stage.explore("idempotency-key", "actor", Exhaustive, options, rule="released")
    assert (found.verdict, breaks(explorer.bound.claim, options.faults)) == (Verdict.VIOLATED, True)
    assert not breaks(stage.explorer("idempotency-key", "queue", options, "released").bound.claim, options.faults)


@pytest.mark.parametrize("strategy", ["pg-procedure", pytest.param("pg-unique", marks=pytest.mark.long)])
def test_a_second_delivery_whose_row_is_there(stage: Stage, strategy: str) -> None:
    """An invoice has the name of its request: the store refuses another one of that name, and no number is drawn."""
    options = Options(faults=("duplicate",), budget_s=60)
    found, _ = stage.explore("invoice-number", strategy, Exhaustive, options)
    assert (found.verdict, found.exhausted) == (Verdict.BOUNDED, True), found.reason
    assert not breaks(stage.explorer("invoice-number", strategy, options).bound.claim, options.faults)
