"""The scenarios that people are bitten by, cell by cell: what every strategy claims, borne out by every order."""

from __future__ import annotations

import os
import shutil
from ast import literal_eval
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.burst.cells import Bound, bind
from harness.burst.plan import Cell, Load
from harness.explore import FAULTS, Exhaustive, Exploration, Explorer, Options, Schedule, searching
from harness.explore.random_walk import RandomWalk
from harness.model import Verdict
from harness.results.claims import breaks, unnamed
from harness.strategy import store_of
from harness.strategy.loader import find_scenario, strategies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness import Strategy
from tests.cells import UNLOCKED
from tests.explore.conftest import Stage
from tests.explore.test_explore import CELLS as SHOWN

SCENARIOS = (
    "double-submit", "rate-limit", "idempotency-key", "token-rotation", "credits", "webhook", "subscription",
    "six-writers", "roster",
)  # fmt: skip
SCENARIO_SCRIPTS = Path(__file__).parents[2] / "scenarios"
ELSEWHERE = {"drop"}
"""The rule of `double-submit` that every other test tries."""
DAEMONS = {"pg-queue", "redis-lock-fenced", "redis-lock-renewed"}
"""Their daemons and numbers make many orders: `counter` and `lock-lease` show them."""
EVERYTHING = "RACE_MATRIX" in os.environ
"""Every variant under every rule and fault: the better part of an hour, and once in a while."""
GIVEN = [Options(budget_s=2), Options(budget_s=60), Options(budget_s=60, size=3)] if EVERYTHING else [Options()]
"""What a cell is given, and what one that claims to break is given then where that showed nothing."""
TITLES = [(kind, variant) for kind in strategies() for variant in ("", *kind.variants)]


def explored(stage: Stage, cell: Cell, options: Options) -> tuple[Exploration, Schedule | None]:
    """A cell in every order, and its smallest schedule that breaks."""

    async def go() -> tuple[Exploration, Schedule | None]:
        async with Explorer(bind(cell, Load(processes=options.processes)), stage.stores, options) as explorer:
            found = await explorer.explore(Exhaustive())
            return found, await explorer.shrunk(found.first) if found.first is not None else None

    return stage.run(go())


async def drawn(stage: Stage, cell: Cell, options: Options) -> Exploration:
    """A cell in some orders drawn at random."""
    async with Explorer(bind(cell, Load()), stage.stores, options) as explorer:
        return await explorer.explore(RandomWalk(1, options.most_schedules))


def titles(rule: int, fault: str) -> list[str]:
    """The strategies that are tried under the rule of that number.

    What calls the rule does so under each alike, and `counter` and `double-submit` have shown its mutants, and what
    faults do to it. A proof on PostgreSQL takes a hundred times as long as one on Redis.
    """

    def tried(kind: type[Strategy], variant: str) -> bool:
        redis = store_of(kind) == "redis"
        if fault:
            return redis and kind.form is not None and not variant
        if kind.form is not None:
            unlocked = rule == 0 and f"{kind.name}:{variant}" in UNLOCKED
            return redis or unlocked or (not variant and (rule == 0 or kind.name == "pg-conditional"))
        if kind.name in DAEMONS:
            return False
        return rule == 0 and not variant and (redis or kind.name in {"pg-read-committed", "pg-for-update"})

    return [
        f"{kind.name}:{variant}" if variant else kind.name
        for kind, variant in TITLES
        if EVERYTHING or tried(kind, variant)
    ]


def unmet(stage: Stage, scenario: str, rule: str, titles: Iterable[str], faults: tuple[str, ...] = ()) -> list[str]:
    """The claims that exploring does not bear out. Under a fault it may take more than two to break one.

    Where everything is tried, some have more schedules than time: none of those that were run refutes the claim.
    """
    good = {Verdict.PROVED, *({Verdict.BOUNDED, Verdict.INCONCLUSIVE} if EVERYTHING else ())}
    wrong = []
    for title in titles:
        bound = bind(Cell(scenario, title, rule), Load())
        if bound.claim.kind == "not-applicable":
            continue

        async def go(options: Options, bound: Bound = bound) -> Exploration:
            async with Explorer(bound, stage.stores, options) as explorer:
                return await explorer.explore(searching(options, bound.claim) if EVERYTHING else Exhaustive())

        for given in GIVEN:
            found = stage.run(go(replace(given, faults=faults)))
            if faults or found.verdict is Verdict.VIOLATED or not breaks(bound.claim, faults):
                break
        if breaks(bound.claim, faults):
            met = found.verdict is Verdict.VIOLATED or bool(faults)
        else:
            met = found.verdict in good | ({Verdict.BOUNDED} if title == "pg-procedure" else set()) and not unnamed(
                bound.claim, found.errors
            )
        if not met or "failed:" in found.reason:  # what is asked of the evidence may not fail, whatever was answered
            wrong.append(f"{title}: {found.verdict} ({found.reason}) {found.errors or ''}".strip())
    return wrong


@pytest.mark.parametrize(
    ("scenario", "number", "rule"),
    [
        (name, number, rule)
        for name in SCENARIOS
        for number, rule in enumerate(find_scenario(name)().all_rules())
        if rule not in ELSEWHERE
    ],
)
def test_claims(stage: Stage, scenario: str, number: int, rule: str) -> None:
    """Two requests in every order: what claims to break does, what claims to hold is proved."""
    shown = {
        title for name, title in SHOWN if name == scenario and number == 0 and not EVERYTHING
    }  # in `test_explore`, cell by cell
    assert unmet(stage, scenario, rule, [title for title in titles(number, "") if title not in shown]) == []


@pytest.mark.parametrize("scenario", SCENARIOS[1:])
def test_claims_under_faults(stage: Stage, scenario: str) -> None:
    """Who claims to hold under one is proved."""
    rule = next(iter(find_scenario(scenario)().all_rules()))
    wrong = {fault: unmet(stage, scenario, rule, titles(0, fault), (fault,)) for fault in FAULTS}
    assert wrong == {fault: [] for fault in FAULTS}


CHARGED_AGAIN = "a client that tried again after the lease is charged again"
LOCKED_OUT = "a client that tried again after the lease was answered in progress"
TWO_CALLS = "the model was called 2 times for 1 credit"
SILENCE = "a request after two minutes of silence was answered limited"


@pytest.mark.parametrize(
    ("cell", "fault", "says"),
    [
        (Cell("rate-limit", "multi:expire-later"), "crash", SILENCE),
        (Cell("rate-limit", "multi:expire-later"), "lost-reply", SILENCE),
        (Cell("rate-limit", "multi:expire-locked"), "crash", SILENCE),
        (Cell("rate-limit", "multi:no-multi"), "pause", SILENCE),
        (Cell("invoice-number", "pg-sequence"), "crash", "there is no invoice 1"),
        (Cell("credits", "redis-lock:whole-flow", "check-first"), "crash", TWO_CALLS),
        (Cell("credits", "redis-lock:whole-flow"), "pause", TWO_CALLS),
        (Cell("idempotency-key", "lua"), "pause", CHARGED_AGAIN),
        (Cell("idempotency-key", "lua"), "crash", CHARGED_AGAIN),
        (Cell("idempotency-key", "pg-for-update"), "lost-reply", CHARGED_AGAIN),
        (Cell("idempotency-key", "watch", "wait"), "lost-reply", CHARGED_AGAIN),
        (Cell("idempotency-key", "lua", "wait"), "crash", CHARGED_AGAIN),
        (Cell("idempotency-key", "pg-conditional", "wait"), "crash", CHARGED_AGAIN),
        (Cell("token-rotation", "lua"), "pause", "1 of an honest client's requests was refused"),
        (Cell("idempotency-key", "lua", "kept"), "crash", LOCKED_OUT),
        (Cell("idempotency-key", "pg-for-update", "kept"), "crash", LOCKED_OUT),
    ],
)
def test_what_a_fault_breaks(stage: Stage, cell: Cell, fault: str, says: str) -> None:
    """In the words of the domain."""
    found, smallest = explored(stage, cell, Options(faults=(fault,)))
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == says


@pytest.mark.parametrize(
    ("strategy", "verdict"), [("lua", "proved"), ("pg-conditional", "proved"), ("pg-for-update", "violated")]
)
def test_one_message_is_applied_or_not(stage: Stage, strategy: str, verdict: str) -> None:
    """A lost reply is of what was applied: in the middle of a transaction nothing was, and the charge is not known."""
    cell, options = Cell("idempotency-key", strategy), Options(size=1, faults=("lost-reply",))
    found, _smallest = explored(stage, cell, options)
    assert str(found.verdict) == verdict, found.reason
    assert breaks(bind(cell, Load()).claim, options.faults) == (verdict == "violated")


@pytest.mark.parametrize(("strategy", "verdict"), [("actor", "proved"), ("actors", "proved"), ("watch", "violated")])
def test_whose_clock_it_is(stage: Stage, strategy: str, verdict: str) -> None:
    """A caller that sleeps after its look at the clock rotates long ago; an owner looks when it decides."""
    cell, options = Cell("token-rotation", strategy), Options(faults=("pause",))
    found, _smallest = explored(stage, cell, options)
    assert str(found.verdict) == verdict, found.reason
    assert breaks(bind(cell, Load()).claim, options.faults) == (verdict == "violated")


@pytest.mark.parametrize("strategy", ["lua", "pg-advisory", "pg-advisory:try", "pg-unique", "actor"])
def test_a_row_is_got_again(stage: Stage, strategy: str) -> None:
    """Whoever made it is told so again when the same request comes once more, whatever looks for it."""
    cell, options = Cell("get-or-create", strategy), Options(size=1, faults=("duplicate",), every=True)
    found, _smallest = explored(stage, cell, options)
    assert found.verdict is Verdict.PROVED, found.reason
    assert not breaks(bind(cell, Load()).claim, options.faults)


UNPLANNED = "1 was paid, and there is no plan"
KEPT_OUT = "a request failed, and nobody else with its key gets through"
ONE_WHO_ASKS = ("pg-for-update:nowait", "pg-advisory:try")
ONE_WHO_WRITES = ("pg-advisory:repeatable-read", "pg-repeatable-read:no-retry", "pg-serializable:no-retry")


@pytest.mark.parametrize(
    ("scenario", "rule", "strategy", "says"),
    [
        *(("subscription", "cancel-wins", one, UNPLANNED) for one in ONE_WHO_ASKS + ONE_WHO_WRITES),
        *(("subscription", "first-wins", one, UNPLANNED) for one in ONE_WHO_ASKS),
        *(("subscription", "first-wins", one, "") for one in ONE_WHO_WRITES),
        *(("idempotency-key", "wait", one, "one request was charged 2 times") for one in ONE_WHO_ASKS),
        ("idempotency-key", "wait", "pg-serializable:no-retry", ""),
        *(("idempotency-key", "released", one, KEPT_OUT) for one in ONE_WHO_ASKS),
    ],
)  # fmt: skip
def test_an_answer_that_is_refused(stage: Stage, scenario: str, rule: str, strategy: str, says: str) -> None:
    """Whoever brings what was charged is told to try again, and does not: for one who asks, or only who writes."""
    cell, options = Cell(scenario, strategy, rule), Options()
    found, smallest = explored(stage, cell, options)
    assert found.verdict is (Verdict.VIOLATED if says else Verdict.PROVED), found.reason
    assert ("" if smallest is None else smallest.says) == says
    assert breaks(bind(cell, Load()).claim, options.faults) == bool(says)


# double-submit


@pytest.mark.parametrize(("rule", "strategy"), [("wait", "atomic"), ("wait", "actor"), ("join", "lua")])
def test_the_second_one_gets_on(stage: Stage, rule: str, strategy: str) -> None:
    """Whoever waits gets in, and whoever joins is given the result, in every order: nobody is turned away."""
    found, _smallest = explored(stage, Cell("double-submit", strategy, rule), Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    for outcome in map(repr, found.outcomes):
        got_in, joined = outcome.count("accepted"), "'join'" in outcome
        assert (got_in, joined, "'answered'" in outcome) in {(2, False, False), (1, True, True)}


@pytest.mark.parametrize(
    ("strategy", "told", "instead"),
    [
        ("pg-conditional", " FOR UPDATE) held", ") held"),
        (
            "pg-unique",
            ", replaced = CASE WHEN claims.until_ms > $4 THEN claims.attempt END RETURNING replaced",
            " RETURNING (SELECT old.attempt FROM claims old WHERE old.key = $1 AND old.until_ms > $4)",
        ),
    ],
)
def test_whom_a_statement_saw_before_it_waited(
    stage: Stage, tmp_path: Path, strategy: str, told: str, instead: str
) -> None:
    """A start that tells what its snapshot held, and not what it replaced."""
    source = (SCENARIO_SCRIPTS / "double_submit.py").read_text(encoding="utf-8")
    assert source.count(told) == 1
    script = tmp_path / "double_submit.py"
    script.write_text(source.replace(told, instead), encoding="utf-8")
    shutil.copy(SCENARIO_SCRIPTS / "double_submit.sql", tmp_path)
    found, smallest = explored(stage, Cell(str(script), strategy, "replace"), Options())
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert "replaced" in smallest.says


# rate-limit


def test_how_many_too_many(stage: Stage) -> None:
    """Of four, two may pass; all that read first are let through."""
    found, _smallest = explored(stage, Cell("rate-limit", "naive"), Options(size=4))
    assert found.first is not None
    (breach, *_roughly) = [breach for breaches in found.first.finding.breaches.values() for breach in breaches]
    assert breach.amount in {1, 2}
    assert breach.says == f"{2 + int(breach.amount)} requests were let through, and the limit is 2"


ONE = """
from harness import *
from harness.strategy.loader import find_scenario
class One(find_scenario("rate-limit")):
    name = "one"
    def burst(self, rng, size): return [Request("hit", ("user",), {"limit": 1})] * size
"""


@pytest.mark.parametrize(("strategy", "verdict"), [("multi:expire-each", "violated"), ("multi", "proved")])
def test_a_counter_heals_one_window_late(stage: Stage, tmp_path: Path, strategy: str, verdict: str) -> None:
    """EXPIRE NX at every hit: the one after the crash sets the end, and is itself refused."""
    script = tmp_path / "one.py"
    script.write_text(ONE, encoding="utf-8")
    found, smallest = explored(stage, Cell(str(script), strategy), Options(size=1, faults=("crash",)))
    assert str(found.verdict) == verdict, found.reason
    assert (smallest is not None and "was answered limited" in smallest.says) == (verdict == "violated")


# idempotency-key


def test_another_body_is_refused(stage: Stage) -> None:
    """Of four the last has another body: whoever comes first, one is charged and the others' bodies decide."""
    options = Options(size=4, search="random", most_schedules=60)
    found = stage.run(drawn(stage, Cell("idempotency-key", "lua"), options))
    assert found.verdict is Verdict.BOUNDED, found.reason
    assert any("mismatch" in repr(outcome) for outcome in found.outcomes)


def test_who_waits_is_given_the_first_answer(stage: Stage) -> None:
    """In every order the second is told what the first was, and nobody is told to go away."""
    found, _smallest = explored(stage, Cell("idempotency-key", "lua", "wait"), Options())
    assert found.verdict is Verdict.PROVED, found.reason
    assert all("replay" in repr(outcome) for outcome in found.outcomes)


@pytest.mark.parametrize("strategy", ["watch", "actor", "pg-for-update"])
def test_work_that_has_failed(stage: Stage, strategy: str) -> None:
    """Given back, its claim is another's, who is charged; kept, it locks all others out without any crash."""
    found, _smallest = explored(stage, Cell("idempotency-key", strategy, "released"), Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    assert all("'done'" in repr(outcome) for outcome in found.outcomes)
    found, smallest = explored(stage, Cell("idempotency-key", strategy, "unreleased"), Options())
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == "a request failed, and nobody else with its key gets through"


@pytest.mark.parametrize(("strategy", "fault"), [("lua", ""), ("multi", "lost-reply"), ("multi:no-multi", "")])
def test_waiting_leaves_out_nothing(stage: Stage, strategy: str, fault: str) -> None:
    """Attempts that wait for each other: the reduced search comes to what the full one does."""
    options = Options(every=True, faults=(fault,) if fault else (), budget_s=100)

    async def go(search: Exhaustive) -> Exploration:
        async with Explorer(bind(Cell("idempotency-key", strategy, "wait"), Load()), stage.stores, options) as explorer:
            return await explorer.explore(search)

    reduced, full = stage.run(go(Exhaustive())), stage.run(go(Exhaustive(reduce=False)))
    assert (reduced.exhausted, full.exhausted) == (True, True)
    assert reduced.outcomes == full.outcomes
    assert reduced.schedules < full.schedules


# token-rotation


def test_six_at_once_are_given_the_same_token(stage: Stage) -> None:
    """As many as a page opens with."""
    options = Options(size=6, search="random", most_schedules=40)
    for strategy, verdict in (("lua", Verdict.BOUNDED), ("naive", Verdict.VIOLATED)):
        found = stage.run(drawn(stage, Cell("token-rotation", strategy), options))
        assert found.verdict is verdict, found.reason
    assert found.first is not None
    (breach,) = found.first.finding.breaches["one successor"]
    assert breach.says == f"t0 has {int(breach.amount) + 1} successors"


# credits


def test_a_lock_around_the_whole_call(stage: Stage) -> None:
    """Looked at before the call and charged after it: nothing that ends in between helps, and what does not is slow."""
    held, _ = explored(stage, Cell("credits", "redis-lock:whole-flow", "check-first"), Options(every=True))
    assert held.verdict is Verdict.PROVED, held.reason
    found, smallest = explored(stage, Cell("credits", "lua", "check-first"), Options(every=True))
    assert smallest is not None
    assert (found.verdict, smallest.says) == (Verdict.VIOLATED, TWO_CALLS)
    debts = [
        schedule for schedule in map(repr, found.outcomes) if "'credits': -1" in schedule or "(-1, [])" in schedule
    ]
    assert debts


@pytest.mark.parametrize(
    ("cell", "verdict"),
    [
        (Cell("credits", "actor", "check-first"), "violated"),
        (Cell("credits", "actor:reentrant"), "violated"),
        (Cell("credits", "actor"), "proved"),
        (Cell("credits", "pg-conditional:ignore-count"), "violated"),
        (Cell("credits", "pg-conditional"), "proved"),
        (Cell("lock-lease", "actor:reentrant"), "violated"),
        (Cell("lock-lease", "actor"), "proved"),
    ],
)
def test_claim_call_confirm(stage: Stage, cell: Cell, verdict: str) -> None:
    """To be an actor is not enough where it serves others during the call, or calls before it has claimed."""
    found, smallest = explored(stage, cell, Options(every=True))
    assert str(found.verdict) == verdict, found.reason
    if cell.scenario == "credits":
        assert ("" if smallest is None else smallest.says) == TWO_CALLS * (verdict == "violated")
        if smallest is None:  # one acts, and the other is told to ask again
            told = {(text.count("'reserved'"), text.count("'no credit'")) for text in map(repr, found.outcomes)}
            assert told == {(1, 1)}


@pytest.mark.parametrize(
    "strategy", ["lua", "watch", "actor", "pg-conditional", "pg-for-update", "pg-advisory", "pg-version"]
)
def test_one_click_wakes_two(stage: Stage, strategy: str) -> None:
    """One acts; the other finds the approval taken, when it looks or when it takes it, and would ask again."""
    found, _ = explored(stage, Cell("credits", strategy, "approval"), Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    told = [*map(repr, found.outcomes)]
    assert {text.count("'reserved'") for text in told} == {1}
    assert {(text.count("'taken'"), text.count("'no credit'")) for text in told} == {(1, 0), (0, 1)}


@pytest.mark.parametrize("strategy", ["naive", "pg-read-committed", "pg-conditional:ignore-count", "watch:no-multi"])
def test_both_act_on_one_click(stage: Stage, strategy: str) -> None:
    """Both were woken, and whether anything was removed is not looked at, or is known from before."""
    found, smallest = explored(stage, Cell("credits", strategy, "approval"), Options())
    assert smallest is not None
    assert (found.verdict, smallest.says) == (Verdict.VIOLATED, "2 acted on 1 approval")


def credit(outcome: tuple[Any, tuple[str, ...], bool]) -> int:
    """The balance at rest."""
    (account,) = map(literal_eval, outcome[1])
    return int(account["credits"])


@pytest.mark.parametrize("strategy", ["lua", "watch", "actor", "pg-conditional", "pg-for-update"])
def test_a_due_refill_comes_once(stage: Stage, strategy: str) -> None:
    """One adds it and with that claims the window; the other finds none due, and goes on with what is there."""
    found, _ = explored(stage, Cell("credits", strategy, "auto-refill"), Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    told = {(text.count("'refilled'"), text.count("'not due'")) for text in map(repr, found.outcomes)}
    assert (told, {*map(credit, found.outcomes)}) == ({(1, 1)}, {1})


@pytest.mark.parametrize(
    ("strategy", "rule", "order"),
    [
        ("lua", "refill-anyway", "legal"),
        ("pg-conditional", "refill-anyway", "legal"),
        ("pg-for-update", "refill-anyway", "legal"),
        ("pg-conditional:ignore-count", "auto-refill", "illegal"),
        ("naive", "auto-refill", "illegal"),
    ],
)
def test_a_due_refill_comes_twice(stage: Stage, strategy: str, rule: str, order: str) -> None:
    """It is added by one statement, and was found due before; or nobody looks at whether anything was added."""
    found, smallest = explored(stage, Cell("credits", strategy, rule), Options(every=True))
    assert smallest is not None
    assert (found.verdict, smallest.says) == (Verdict.VIOLATED, "2 refills came in 1 window")
    assert smallest.finding.order == order
    assert max(map(credit, found.outcomes)) == (2 if rule == "refill-anyway" else 1)


def test_a_lock_from_the_look_to_the_refill(stage: Stage) -> None:
    """It has to last until what was looked at is changed."""
    found, _ = explored(stage, Cell("credits", "redis-lock:whole-flow", "refill-anyway"), Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    assert {*map(credit, found.outcomes)} == {1}


def test_a_call_that_fails_costs_nothing(stage: Stage) -> None:
    """Of four the last one fails: what it held is there for another."""
    options = Options(size=4, search="random", most_schedules=60)
    found = stage.run(drawn(stage, Cell("credits", "lua"), options))
    assert found.verdict is Verdict.BOUNDED, found.reason
    assert any(outcome.count("reserved") == 2 for outcome in map(repr, found.outcomes))


# webhook


@pytest.mark.parametrize("strategy", ["lua", "lua-function"])
def test_what_is_sent_again_is_told_that_it_had_come(stage: Stage, strategy: str) -> None:
    """The provider's second delivery is meant so; a caller that sends again itself loses the answer to its first."""
    options = Options(faults=("lost-reply",))
    for title, verdict in ((strategy, Verdict.PROVED), (f"{strategy}:resend", Verdict.VIOLATED)):
        found, _ = explored(stage, Cell("webhook", title), options)
        assert found.verdict is verdict, found.reason
        assert breaks(bind(Cell("webhook", title), Load()).claim, options.faults) == (verdict is Verdict.VIOLATED)


@pytest.mark.parametrize(
    ("rule", "strategy", "says"),
    [
        ("blind", "lua", {"200 credits were granted, and 100 were paid", "2 receipts were sent for one payment"}),
        ("deduped", "lua", {"the subscription is incomplete, and the newest event says active"}),
        ("guarded", "pg-unique:ignore-count", {"2 receipts were sent for one payment"}),
    ],
)
def test_order_held_rule_violated(stage: Stage, rule: str, strategy: str, says: set[str]) -> None:
    """Each event is handled by itself, and what comes of it is wrong: or right, and the caller does not look."""
    found, _ = explored(stage, Cell("webhook", strategy, rule), Options())
    assert found.first is not None
    assert says <= {breach.says for breaches in found.first.finding.breaches.values() for breach in breaches}
