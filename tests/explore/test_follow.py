"""Two lists that must agree, each with an owner: one who serves others while it waits for the other owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from tests.explore.conftest import Stage

pytestmark = pytest.mark.stores
FOLLOW = """
from harness import *
def name(key):
    return key.partition(":")[0]
def changed(this, other, add):
    def change(one, request):
        there = {*one[this]} - {name(request.keys[other])}
        return {**one, this: sorted(there | ({name(request.keys[other])} if add else set()))}
    return change
FOLLOWS, FOLLOWED = (changed(this, other, True) for this, other in (("following", 1), ("followers", 0)))
LEAVES, LEFT = (changed(this, other, False) for this, other in (("following", 1), ("followers", 0)))
FORMS = {
    "follow": MessagesForm(FOLLOWS, FOLLOWED, LEAVES, Reply("followed"), Reply("refused")),
    "unfollow": MessagesForm(LEAVES, LEFT, FOLLOWS, Reply("unfollowed"), Reply("refused")),
}
class Follow(Scenario):
    name = "follow"
    initial_value = {"following": [], "followers": []}
    operations = {"follow": Signature({}, {}, "", ("followed",), (2,)),
                  "unfollow": Signature({}, {}, "", ("unfollowed",), (2,))}
    forms = {"messages": FORMS}
    def rule(self, state, request, now_ms):
        (one, other), form = request.keys, FORMS[request.operation]
        return Outcome({one: form.out(state[one], request), other: form.into(state[other], request)}, form.done)
    def burst(self, rng, size):
        return [Request("follow", ("ann", "bob")), Request("unfollow", ("ann", "bob"))]
    def invariants(self):
        return [Invariant("both know", "who follows whom, both know", disagree)]
def disagree(evidence):
    users = {name(key): one for key, one in (evidence.rest or {}).items()}
    for one in users:
        for other in users:
            follows, known = other in users[one]["following"], one in users[other]["followers"]
            if follows != known:
                yield Breach(f"{one} {'follows' if follows else 'does not follow'} {other}, who does not know")
"""


@pytest.fixture
def follow(tmp_path: Path) -> str:
    """Somebody follows another one, and at once no longer: what each does is in a list of its own."""
    script = tmp_path / "follow.py"
    script.write_text(FOLLOW, encoding="utf-8")
    return str(script)


@pytest.mark.parametrize("strategy", ["actors:reentrant", "actor:reentrant", "naive"])
def test_an_owner_that_serves_others_meanwhile(stage: Stage, follow: str, strategy: str) -> None:
    """What it has changed is undone before the other owner is told of it, and that one hears in another order."""
    found, smallest = stage.explore(follow, strategy, Exhaustive, Options(), shrink=True)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == "ann does not follow bob, who does not know"


@pytest.mark.parametrize("strategy", ["actors", "actors:pass-on", "actors:resumed", "actor", "redis-lock"])
def test_an_owner_that_serves_one_at_a_time(stage: Stage, follow: str, strategy: str) -> None:
    """Whichever comes last counts, in both lists."""
    found, _ = stage.explore(follow, strategy, Exhaustive, Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    assert {rest for _told, rest, _broke in found.outcomes} == {
        ("{'followers': [], 'following': []}", "{'followers': [], 'following': []}"),
        ("{'followers': [], 'following': ['bob']}", "{'followers': ['ann'], 'following': []}"),
    }
