"""What every strategy says of itself, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import Claim, Conditions
from harness.strategy.loader import find_scenario, find_strategy, scenarios, strategies

CLAIMS = {
    "breaks": {
        "naive",
        "pg-read-committed",
        "mutex",
        "atomic:no-nx",
        "atomic:ignore-reply",
        "watch:no-multi",
        "watch:ignore-null",
        "watch:two-connections",
        "watch:no-watch",
        "watch:reconnect",
        "watch:watch-after-read",
        "watch:retry-stale",
        "pg-conditional:ignore-count",
        "pg-for-update:no-lock",
        "pg-for-update:lock-after-read",
        "pg-for-update:lock-on-refresh",
        "pg-for-update:released-early",
        "pg-procedure:no-lock",
        "pg-advisory:wrong-key",
        "pg-advisory:same-statement",
        "pg-advisory:released-early",
        "pg-serializable:read-committed",
        "pg-serializable:retry-stale",
        "pg-repeatable-read:read-committed",
        "pg-repeatable-read:retry-stale",
        "pg-unique:ignore-count",
        "pg-version:no-version",
        "pg-version:ignore-count",
        "pg-version:read-again",
        "pg-read-committed:columns",
        "pg-read-committed:random-sleep",
        "mutex:read-first",
        "mutex:per-request",
        "redis-lock:ignore-reply",
        "redis-lock:read-first",
        "actor:per-process",
        "actor:reentrant",
        "actors:reentrant",
        "queue:two-consumers",
        "pg-queue:skip-locked",
        "pg-queue:first-row",
        "lua-function:decide-outside",
    },
    "holds": {
        "atomic",
        "lua",
        "lua:resend",
        "lua:remember",
        "watch",
        "watch:shared-connection",
        "pg-conditional",
        "pg-for-update",
        "pg-for-update:refreshed",
        "pg-for-update:second-connection",
        "pg-procedure",
        "pg-procedure:revoked",
        "pg-advisory",
        "pg-serializable",
        "pg-version",
        "redis-lock",
        "actor",
        "actor:credentials",
        "actors",
        "actors:resumed",
        "actors:resumed-twice",
        "actors:resumed-unfenced",
        "lua-function",
        "lua-function:resend",
        "redis-lock-fenced",
        "redis-lock-fenced:last-write",
        "redis-lock-fenced:unchecked",
        "redis-lock-renewed",
        "redis-lock-renewed:too-late",
        "redis-lock-renewed:outlives",
        "queue",
        "queue:credentials",
        "pg-queue",
        "pg-queue:spare",
        "pg-queue:ack-first",
        "pg-queue:two-transactions",
        "pg-queue:credentials",
        "queue:ack-first",
        "queue:no-dedupe",
        "atomic:get-first",
        "atomic:nx-get",
        "pg-advisory:repeatable-read",
        "pg-advisory:try",
        "pg-advisory:second-connection",
        "pg-for-update:nowait",
        "pg-repeatable-read",
        "pg-repeatable-read:no-retry",
        "pg-unique",
        "pg-serializable:no-retry",
        "redis-lock:no-token",
        "redis-lock:no-lease",
        "redis-lock:constant-token",
        "redis-lock:set-then-expire",
        "redis-lock:steal",
        "redis-lock:reentrant",
        "redis-lock:whole-flow",
        "redis-lock:delifeq",
        "redis-lock:watch-release",
        "redis-lock:watch-without-multi",
    },
    "not-applicable": {
        "naive:fields",
        "multi",
        "replica-lag",
        "replica-lag:own-delay",
        "replica-lag:200-ms",
        "replica-lag:put",
        "multi:no-multi",
        "multi:expire-later",
        "multi:expire-each",
        "multi:expire-locked",
        "pg-conditional:total",
        "pg-unique:record-first",
        "pg-unique:record-ignored",
        "pg-unique:foreign-key",
        "pg-unique:no-foreign-key",
        "multi:look-first",
        "pg-exclusion",
        "pg-exclusion:do-nothing",
        "pg-exclusion:ignore-error",
        "pg-exclusion:no-retry",
        "pg-skip-locked",
        "pg-skip-locked:wait",
        "pg-skip-locked:no-lock",
        "pg-sequence",
        "actors:pass-on",
        "mutex:caller-order",
        "redis-lock:caller-order",
        "pg-advisory:caller-order",
        "pg-for-update:caller-order",
        "pg-for-update:parent",
        "pg-for-update:parent-after-read",
        "pg-for-update:same-statement",
        "pg-for-update:repeatable-read",
        "pg-for-update:others",
        "pg-version:root",
        "pg-version:root-read-again",
    },
}


def claim(title: str, scenario: str = "double-submit", processes: int = 2) -> Claim:
    """The claim of a strategy for a scenario."""
    kind, variant = find_strategy(title)
    return kind(find_scenario(scenario)(), variant).claim(Conditions(processes=processes))


def test_the_table_of_claims() -> None:
    """For double-submit with two processes, every strategy and variant."""
    found: dict[str, set[str]] = {}
    for kind in strategies():
        for title in (kind.name, *(f"{kind.name}:{variant}" for variant in kind.variants)):
            found.setdefault(claim(title).kind, set()).add(title)
    assert found == CLAIMS


@pytest.mark.parametrize("strategy", ["pg-for-update", "pg-advisory"])
def test_a_second_connection_is_there_where_processes_are_as_many_as_requests(strategy: str) -> None:
    """A pool of two is each process's own; who meets there counts, of whom a second delivery is one more."""
    kind, variant = find_strategy(f"{strategy}:second-connection")
    bound = kind(find_scenario("roster")().under("add"), variant)
    found = {
        (processes, size): bound.claim(Conditions(processes=processes, size=size)).kind
        for processes, size in ((2, 2), (1, 2), (2, 3), (3, 3), (1, 1))
    }
    assert found == {(2, 2): "holds", (1, 2): "breaks", (2, 3): "breaks", (3, 3): "holds", (1, 1): "holds"}
    assert "duplicate" in bound.claim(Conditions()).breaks_under


@pytest.mark.parametrize("variant", ["delifeq", "watch-release"])
def test_a_release_in_one_step_is_as_good_as_a_script(variant: str) -> None:
    """Whatever is claimed of the lock is claimed of each way to compare and delete, under every rule."""
    kind, _ = find_strategy("redis-lock")
    for scenario in scenarios():
        for rule in scenario().all_rules():
            script, other = (kind(scenario().under(rule), one).claim(Conditions()) for one in ("", variant))
            said = replace(other, reason=script.reason)
            assert script == said, (scenario.name, rule)


def test_the_in_process_lock_holds_within_one_process() -> None:
    """As many as there are, each has its own."""
    assert (
        claim("mutex", processes=1).kind,
        claim("mutex", processes=2).kind,
    ) == ("holds", "breaks")


@pytest.mark.parametrize(
    ("title", "faults"),
    [
        ("redis-lock", ("pause", "duplicate")),
        ("redis-lock:no-token", ("pause", "duplicate")),
        ("redis-lock:delifeq", ("pause", "duplicate")),
        ("redis-lock:watch-release", ("pause", "duplicate")),
        ("redis-lock:watch-without-multi", ("pause", "duplicate")),
        ("redis-lock:no-lease", ("crash", "lost-reply", "duplicate")),
        ("redis-lock:set-then-expire", ("crash", "pause", "lost-reply", "duplicate")),
        ("atomic", ("duplicate",)),
        ("lua:resend", ("lost-reply", "duplicate")),
        ("lua:remember", ()),
        ("actor", ("crash", "duplicate")),
        ("actors", ("crash", "duplicate")),
        ("actors:resumed", ()),
        ("actors:resumed-twice", ("duplicate",)),
        ("actors:resumed-unfenced", ("crash",)),
        ("redis-lock-fenced", ("duplicate",)),
        ("redis-lock-fenced:last-write", ("pause", "duplicate")),
        ("redis-lock-renewed", ("duplicate",)),
        ("redis-lock-renewed:outlives", ("crash", "duplicate")),
        ("queue", ()),
        ("queue:ack-first", ("crash", "lost-reply")),
        ("queue:no-dedupe", ("crash", "lost-reply", "duplicate")),
        ("pg-queue:two-transactions", ("crash", "lost-reply")),
        ("naive", ()),
    ],
)
def test_which_faults_a_strategy_admits_to(title: str, faults: tuple[str, ...]) -> None:
    """A leased lock holds while no pause outlasts the lease; nobody but one knows a request that comes again."""
    assert faults == claim(title).breaks_under


@pytest.mark.parametrize(
    ("title", "errors"),
    [
        ("pg-serializable", ()),
        ("pg-serializable:no-retry", ("40001", "40P01")),
        ("pg-repeatable-read:no-retry", ("40001", "40P01")),
        ("pg-advisory:repeatable-read", ("40001",)),
    ],
)
def test_which_errors_a_strategy_shows(title: str, errors: tuple[str, ...]) -> None:
    """Only those that do not try again show any."""
    assert errors == claim(title).errors


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("atomic:no-nx", "no command of this rule has an NX to change"),
        ("atomic:ignore-reply", "no command of this rule has an NX to change"),
        ("pg-conditional:ignore-count", "no statement of this rule decides by its row count"),
    ],
)
def test_a_mutant_that_changes_nothing_does_not_apply(title: str, reason: str) -> None:
    """INCR has no NX, and UPDATE ... RETURNING answers with its row."""
    assert Claim("not-applicable", reason) == claim(title, "counter")


@pytest.mark.parametrize("scenario", ["register", "text"])
def test_scenarios_of_nothing_but_order(scenario: str) -> None:
    """Every strategy applies; those break that let two requests overlap."""
    found = {kind.name: claim(kind.name, scenario).kind for kind in strategies()}
    other = {"naive": "breaks", "mutex": "breaks", "pg-read-committed": "breaks", "pg-unique": "not-applicable"}
    other["multi"] = other["pg-procedure"] = "not-applicable"
    other |= dict.fromkeys(("replica-lag", "pg-exclusion", "pg-skip-locked", "pg-sequence"), "not-applicable")
    assert found == {name: other.get(name, "holds") for name in found}


def test_every_claim_has_a_reason() -> None:
    """It is shown beside the verdict."""
    silent = [
        f"{scenario.name} {kind.name}:{variant}"
        for scenario in scenarios()
        for kind in strategies()
        for variant in ("", *kind.variants)
        if not kind(scenario(), variant).claim(Conditions()).reason
    ]
    assert silent == []
