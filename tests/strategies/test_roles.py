"""Strategies by role: what is refused, what is claimed, and what goes to whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from harness import Claim, Conditions, Reply, Request, Rule, Session, Strategy
from harness.model import UsageError
from harness.strategy.loader import find_scenario, find_strategy
from harness.strategy.roles import ByRole, by_role

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Ended


def bound(spec: str, rule: str = "copies", scenario: str = "six-writers") -> Any:
    """A strategy by role, bound to a scenario."""
    kind, variant = find_strategy(spec)
    return kind(find_scenario(scenario)().under(rule), variant)


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            "cron=pg-for-update,*=lua",
            "all roles must write to one store: lua keeps state in Redis, pg-for-update in PostgreSQL",
        ),
        ("cron=naive,cron=lua,*=lua", "role cron has two strategies: leave out one"),
        ("cron=,*=lua", "'cron=' gives no role a strategy: write ROLE=STRATEGY, and *=STRATEGY for all others"),
        ("cron=lua,lua", "'lua' gives no role a strategy: write ROLE=STRATEGY, and *=STRATEGY for all others"),
        ("cron=luna,*=lua", "unknown strategy 'luna'; did you mean lua?"),
        ("corn=lua,*=lua", "unknown role 'corn' of six-writers; did you mean cron?"),
        ("cron=lua,http=lua", "no strategy for webhook, worker, admin, agent: add *=STRATEGY for all others"),
        (
            "admin=actor:per-process,*=actor",
            "actor:per-process and actor have owners of their own: a key has one owner",
        ),
    ],
)
def test_what_cannot_be_is_refused(spec: str, line: str) -> None:
    """In one line that says what to do."""
    with pytest.raises(UsageError) as refused:
        bound(spec)
    assert line == str(refused.value)


@pytest.mark.parametrize(("scenario", "same"), [("counter", True), ("refund", False), ("idempotency-key", False)])
def test_a_function_meets_others_only_at_the_row(scenario: str, same: bool) -> None:
    """The row above several, and a number in place of a row, are locked by nobody else."""
    one, other = (bound(name, "", scenario).guard for name in ("pg-procedure", "pg-for-update"))
    assert (one == other) is same


def test_a_scenario_without_roles_takes_one_strategy_for_all() -> None:
    """A role would stand for nobody."""
    assert bound("*=lua", "", "counter").part("").name == "lua"
    with pytest.raises(UsageError, match=r"unknown role 'cron' of counter; nobody has a role there"):
        bound("cron=naive,*=lua", "", "counter")


@pytest.mark.parametrize("command", ["run", "explore"])
def test_mixing_stores_ends_with_2(race: Any, command: str) -> None:
    """On the command line, too, and without a server."""
    ended: Ended = race(command, "six-writers", "--strategy", "cron=pg-read-committed,*=lua")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "all roles must write to one store" in ended.stderr


def test_comparing_takes_one_strategy_for_all(race: Any) -> None:
    """A comma there is between strategies."""
    ended: Ended = race("compare", "six-writers", "--strategies", "cron=naive,*=lua")
    assert (ended.code, ended.stderr.count("\n")) == (2, 1)
    assert "race run" in ended.stderr


HOLDS, BREAKS, APART = "holds", "breaks", "not-applicable"


@pytest.mark.parametrize(
    ("spec", "rule", "kind", "reason"),
    [
        ("cron=pg-read-committed,*=pg-for-update", "copies", BREAKS, "cron: at read committed what was read may"),
        ("cron=pg-conditional,*=pg-for-update", "copies", HOLDS, "all roles meet at the same guard"),
        ("cron=pg-advisory,*=pg-for-update", "copies", BREAKS, "each role holds by itself, and none sees"),
        ("cron=lua,admin=watch,*=lua-function", "copies", HOLDS, "all roles meet at the same guard"),
        ("cron=redis-lock,*=lua", "copies", BREAKS, "each role holds by itself, and none sees"),
        ("cron=atomic,*=lua", "copies", APART, "cron: it must look at the account before it takes from it"),
        ("cron=lua,*=lua-function", "cron-forgets", BREAKS, "in order, and wrong: cron does not know"),
        ("cron=lua-function,*=lua", "cron-forgets", HOLDS, "all roles meet at the same guard"),
        ("admin=naive,*=actor", "bypass", BREAKS, "admin: nothing keeps others out"),
        ("admin=naive,*=actor:credentials", "bypass", HOLDS, "admin may not write: the store refuses it"),
        ("admin=naive,*=actor:credentials", "copies", HOLDS, "admin may not write: the store refuses it"),
        ("admin=actor:credentials,*=naive", "bypass", HOLDS, "whoever is not named may not write"),
        ("admin=naive,*=queue", "bypass", BREAKS, "admin: nothing keeps others out"),
        ("admin=naive,*=queue:credentials", "bypass", HOLDS, "admin may not write: the store refuses it"),
    ],
)
def test_what_is_claimed(spec: str, rule: str, kind: str, reason: str) -> None:
    """It follows from what each claims, and from whether they look at the same thing."""
    claim: Claim = bound(spec, rule).claim(Conditions())
    assert claim.kind == kind
    assert claim.reason.startswith(reason)


def test_a_refusal_is_named() -> None:
    """By the store's own word for it."""
    for spec, code in (
        ("admin=naive,*=actor:credentials", "NOPERM"),
        ("admin=pg-for-update,*=pg-procedure:revoked", "42501"),
    ):
        assert bound(spec).claim(Conditions()).errors == (code,)


def test_the_daemons_of_all_roles_run() -> None:
    """Those of one strategy once, however many roles have it; named after it where several have any."""
    for spec, names in (
        ("admin=naive,*=lua", []),
        ("admin=naive,cron=queue,*=queue", ["consumer"]),
        ("cron=queue:ack-first,*=queue", ["queue:ack-first consumer", "queue consumer"]),
    ):
        strategy = bound(spec)
        assert list(strategy.daemons()) == names
        assert strategy.serving == len(names)


def test_what_a_variant_asks_of_the_server_is_asked_for_its_role() -> None:
    """Rights that differ from key to key came with Redis 7."""
    assert bound("admin=naive,*=queue:credentials").needs == {"redis": "7.0"}
    assert bound("admin=naive,*=queue").needs == {"redis": "6.2"}
    assert bound("cron=redis-lock,*=redis-lock:delifeq").needs == {"valkey": "9.0"}


class Named(Strategy):
    """Answers with its variant."""

    name = "named"
    variants: ClassVar = {"one": "one", "other": "other"}

    def claims(self, _conditions: Conditions) -> Claim:
        """Holds."""
        return Claim("holds", "it does nothing")

    async def apply(self, _session: Session, _request: Request, _rule: Rule) -> Reply:
        """Say who is asked."""
        return Reply(self.variant)


def test_each_request_goes_to_the_strategy_of_its_role() -> None:
    """Who is not named goes to the star, and so does who has no role."""
    kind = by_role("cron=named:one,*=named:other", lambda spec: (Named, spec.partition(":")[2]))
    strategy = kind(find_scenario("six-writers")())
    assert isinstance(strategy, ByRole)

    def told(role: str) -> str:
        request = Request("take", ("account:1",), role=role)
        return asyncio.run(strategy.apply(None, request, None)).decision  # type: ignore[arg-type] # it uses neither

    assert [told(role) for role in ("cron", "http", "")] == ["one", "other", "other"]


def test_a_script_may_be_named_for_a_role(tmp_path: Path) -> None:
    """By its path, with a variant."""
    script = tmp_path / "mine.py"
    script.write_text(
        "from harness.strategy.loader import find_strategy\n"
        "class Mine(find_strategy('naive')[0]):\n    name = 'mine'\n    variants = {'v': 'v'}\n",
        encoding="utf-8",
    )
    assert bound(f"cron={script}:v,*=lua").part("cron").title == "mine:v"
