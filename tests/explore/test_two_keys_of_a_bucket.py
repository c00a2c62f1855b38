"""A token bucket that lies in two keys, its level and when it was last filled up, which are read and written apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from tests.explore.conftest import Stage

BUCKET = '''
"""One token, and another a minute later: as `rate-limit`, whose bucket is one number."""

from harness import Breach, Invariant, Outcome, Reply, Request, Scenario, ScriptForm

HOLDS, EVERY_MS = 1, 60_000
ADMITTED, LIMITED = Reply("admitted"), Reply("limited")
TAKE = """
local level, at = tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(redis.call('GET', KEYS[2]) or '0')
level = math.min(tonumber(ARGV[2]), level + math.floor((ARGV[1] - at) / ARGV[3]))
if level < 1 then return 0 end
redis.call('SET', KEYS[1], level - 1)
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""


def told(done, _request):
    return ADMITTED if done else LIMITED


class Bucket(Scenario):
    name = "bucket"
    forms = {"lua": {"take": ScriptForm(TAKE, lambda _request, now_ms: (now_ms, HOLDS, EVERY_MS), told)}}

    def rule(self, state, request, now_ms):
        level, at_ms = (state[key] or 0 for key in request.keys)
        level = min(HOLDS, level + (now_ms - at_ms) // EVERY_MS)
        if level < 1:
            return Outcome({}, LIMITED)
        return Outcome(dict(zip(request.keys, (level - 1, now_ms))), ADMITTED)

    def burst(self, rng, size):
        return [Request("take", ("level", "filled"))] * size

    def invariants(self):
        return [Invariant("one token", "nobody is let through without a token", too_many)]


def too_many(evidence):
    through = sum(1 for one in evidence.operations if one.reply == ADMITTED)
    if through > HOLDS:
        yield Breach(f"{through} were let through, and there was {HOLDS} token")
'''


@pytest.fixture
def bucket(tmp_path: Path) -> str:
    """The scenario, as a script."""
    script = tmp_path / "bucket.py"
    script.write_text(BUCKET, encoding="utf-8")
    return str(script)


@pytest.mark.parametrize(
    "strategy", ["naive", "watch:no-watch", "watch:no-multi", "pg-read-committed", "pg-for-update:lock-after-read"]
)
def test_two_keys_that_are_updated_apart(stage: Stage, bucket: str, strategy: str) -> None:
    """Neither is there a second token; both writes in one EXEC, or in one transaction, come too late to notice."""
    found, smallest = stage.explore(bucket, strategy, Exhaustive, Options(), shrink=True)
    assert smallest is not None, found.reason
    assert (found.verdict, smallest.says) == (Verdict.VIOLATED, "2 were let through, and there was 1 token")


@pytest.mark.parametrize(
    "strategy", ["lua", "watch", "redis-lock", "pg-for-update", "pg-advisory", "pg-repeatable-read", "pg-serializable"]
)
def test_two_keys_that_are_updated_together(stage: Stage, bucket: str, strategy: str) -> None:
    """One has the token, the other one is told."""
    found, _ = stage.explore(bucket, strategy, Exhaustive, Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    told = {(text.count("'admitted'"), text.count("'limited'")) for text in map(repr, found.outcomes)}
    assert told == {(1, 1)}
