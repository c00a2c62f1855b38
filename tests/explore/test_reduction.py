"""The reduction leaves out nothing that anybody could see: with and without it the outcomes are the same."""

from __future__ import annotations

import pytest

from harness.explore import Exhaustive, Options
from harness.explore.statement import statement_kind
from tests.explore.conftest import Stage

BOTH = [
    ("counter", "naive", 3, ""),
    ("counter", "watch", 2, ""),
    ("counter", "watch:retry-stale", 2, ""),
    ("counter", "mutex", 2, ""),
    ("counter", "actor:per-process", 2, ""),
    ("counter", "actor:reentrant", 2, ""),
    ("counter", "redis-lock:read-first", 2, ""),
    ("counter", "pg-read-committed", 2, ""),
    ("counter", "pg-for-update", 2, ""),
    ("counter", "pg-advisory:same-statement", 2, ""),
    ("counter", "pg-serializable", 2, ""),
    ("counter", "pg-repeatable-read", 2, ""),
    ("counter", "redis-lock", 2, "crash"),
    ("counter", "atomic", 2, "pause"),
    pytest.param("counter", "redis-lock", 2, "pause", marks=pytest.mark.long),  # as much as all the others on Redis
    ("lock-lease", "redis-lock", 2, ""),
    ("counter", "atomic", 2, "lost-reply"),
    ("counter", "naive", 2, "duplicate"),
    ("double-submit", "atomic", 2, ""),
    ("double-submit", "lua", 2, ""),
    ("last-owner", "pg-read-committed", 2, ""),
    ("last-owner", "pg-conditional", 2, ""),
    ("last-owner", "pg-for-update", 2, ""),
    ("counter", "pg-for-update:nowait", 2, ""),
    ("double-submit", "pg-for-update:nowait", 2, ""),
    ("last-owner", "pg-for-update:nowait", 2, ""),
    ("last-owner", "pg-for-update:parent", 2, ""),
    ("last-owner", "pg-for-update:others", 2, ""),
    ("last-owner", "pg-serializable", 2, ""),
    ("booking", "pg-exclusion", 2, ""),
    ("refund", "pg-conditional:total", 2, ""),
    ("invoice-number", "pg-unique", 2, "crash"),
    ("invoice-number", "pg-conditional:total", 2, ""),
    ("invoice-number", "pg-sequence", 2, "crash"),
    ("team-move", "actors", 2, ""),
    ("team-move", "actors:pass-on", 2, ""),
    ("team-move", "actors:resumed", 2, ""),
    ("job-claim", "pg-skip-locked", 2, ""),
    ("job-claim", "pg-skip-locked:wait", 2, ""),
    ("cron-job", "naive:fields", 2, ""),
    ("cron-job", "pg-unique", 2, ""),
    ("cron-job", "pg-advisory:try", 2, ""),
    ("get-or-create", "pg-unique", 2, ""),
    ("places", "pg-for-update:others", 2, ""),
]


@pytest.mark.parametrize(("scenario", "strategy", "size", "fault"), BOTH)
def test_same_outcomes(stage: Stage, scenario: str, strategy: str, size: int, fault: str) -> None:
    """Every outcome of the full search is one of the reduced search, which runs fewer schedules."""
    options = Options(size=size, every=True, faults=(fault,) if fault else ())
    reduced, _ = stage.explore(scenario, strategy, Exhaustive, options)
    full, _ = stage.explore(scenario, strategy, lambda: Exhaustive(reduce=False), options)
    assert reduced.exhausted
    assert full.exhausted
    assert reduced.outcomes == full.outcomes
    assert reduced.schedules <= full.schedules


def test_number_of_full_schedules(stage: Stage) -> None:
    """Three callers of two steps each: 6! / 2!2!2! orders, none of them twice."""
    full, _ = stage.explore("counter", "naive", lambda: Exhaustive(reduce=False), Options(size=3, every=True))
    assert (full.schedules, full.violated) == (90, 84)


@pytest.mark.parametrize(
    ("statement", "selects", "locks", "calls"),
    [
        ("SELECT value FROM counters WHERE key = $1", True, False, ()),
        ("SELECT value FROM counters WHERE key = $1 FOR UPDATE", True, True, ()),
        ("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", True, False, ()),
        ("UPDATE counters SET value = coalesce(value, 0) + 1 WHERE key = $1", False, False, ()),
        ("SELECT nextval('numbers')", True, False, ()),
        ("SELECT my_procedure($1)", True, False, ("my_procedure",)),
        ("WITH gone AS (DELETE FROM t RETURNING key) SELECT count(*) FROM gone", False, False, ()),
        ("INSERT INTO t (key) VALUES ($1) ON CONFLICT (key) DO NOTHING", False, False, ()),
    ],
)
def test_what_a_statement_tells(statement: str, selects: bool, locks: bool, calls: tuple[str, ...]) -> None:
    """What is not known to be narrow is not taken for narrow."""
    kind = statement_kind(statement)
    assert (kind.selects, kind.locks, kind.calls) == (selects, locks, calls)
