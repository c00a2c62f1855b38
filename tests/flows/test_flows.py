"""One attempt under every flow, with faults that are really made: what it comes to is what is claimed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.flows import FAULTS, FLOWS, FlowBench, FlowCell, claimed
from harness.flows.carrying import Ground, Inline, Saga
from harness.flows.outside import ask
from harness.model import Attempt, ConnectionLost
from harness.results.read import read_document
from harness.stores import Stores, Targets

if TYPE_CHECKING:
    from tests.conftest import Ended

pytestmark = pytest.mark.xdist_group("flows")


class Table:
    """Stores and an outside service that stay."""

    def __init__(self) -> None:
        """PostgreSQL is started."""
        self._runner = asyncio.Runner()
        self.stores = Stores(need={"postgres"})
        self._runner.run(self.stores.__aenter__())
        bound = bind(Cell("subscription", "pg-for-update", ""), Load())
        self.bench = FlowBench(bound, self.stores, 1)
        self._runner.run(self.bench.__aenter__())
        assert self.cell("inline", "").end == "once"

    def close(self) -> None:
        """End all of it."""
        self._runner.run(self.bench.__aexit__(None, None, None))
        self._runner.run(self.stores.__aexit__(None, None, None))
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What is done with it."""
        return self._runner.run(work)

    def cell(self, flow: str, fault: str) -> FlowCell:
        """One attempt."""
        return self.run(self.bench.cell(flow, fault))


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """One for all."""
    table = Table()
    yield table
    table.close()


TRIED = [
    ("inline", "twice"),
    ("inline", "lost"),
    ("inline", "killed"),
    ("idempotent", "twice"),
    ("idempotent", "lost"),
    ("idempotent", "gone"),
    ("compensating", "lost"),
    ("compensating", "killed"),
    ("saga", "twice"),
    ("saga", "lost"),
    ("saga", "killed"),
    ("saga", "gone"),
    ("saga:idempotent", "gone"),
    ("durable", "killed"),
    ("durable:idempotent", "twice"),
    ("durable:idempotent", "killed"),
]
"""All but those that another shows, or that take long; the matrix makes every one."""
EVERY = [(flow, fault) for flow in FLOWS for fault in FAULTS] if "RACE_MATRIX" in os.environ else TRIED


@pytest.mark.long
@pytest.mark.parametrize(("flow", "fault"), EVERY)
def test_what_is_claimed_comes_true(table: Table, flow: str, fault: str) -> None:
    """By the state at rest and the outside service's own ledger."""
    cell = table.cell(flow, fault)
    assert (cell.end, cell.reason) == (claimed(flow, fault), ""), cell


def test_every_flow_says_what_it_comes_to() -> None:
    """Under each fault."""
    assert {flow: [claimed(flow, fault) for fault in FAULTS] for flow in FLOWS}.keys() == FLOWS.keys()


def test_the_outside_service_forgets_nothing(table: Table) -> None:
    """With a key it does what it is asked once, without one each time; in trouble it has done it all the same."""

    async def go() -> tuple[list[str], str]:
        port = table.bench._port
        for key in ("k1", "k1", "", ""):
            await ask(port, do="effect", name="ping", attempt="own", key=key)
        await ask(port, do="trouble", kind="lose", name="ping")
        lost = ""
        try:
            await ask(port, do="effect", name="ping", attempt="own", key="k2")
        except ConnectionLost as error:
            lost = error.code
        ledger = (await ask(port, do="ledger"))["ledger"]
        return [one["key"] for one in ledger if one["name"] == "ping"], lost

    assert table.run(go()) == (["k1", "", "", "k2"], "connection-lost")


def test_a_saga_that_lives_is_not_taken_over(table: Table) -> None:
    """Another process waits for its lease; its own name is enough to go on at once."""

    async def go() -> tuple[list[Any], list[Any], list[Any]]:
        bound = table.bench.bound
        rule = bound.scenario.all_rules()[bound.cell.rule]
        targets = Targets.from_description(table.stores.describe())
        ground = Ground(bound.scenario, bound.strategy, rule, targets, table.bench._port)
        carried: list[Any] = []

        class Watched(Saga):
            async def _carry(self, attempt: Attempt) -> None:
                carried.append((self.executor, attempt.id))

        one, two = (Watched(ground, name, lambda _event: None) for name in ("mine", "other"))
        await one.open()
        attempt = Attempt(("user:saga",), {"wants": "upgrade", "deliveries": 1}, "s1")
        await one.perform(attempt)
        await two.perform(attempt)
        first = list(carried)
        await two.recover(others=False)
        second = list(carried)
        await one.recover(others=False)
        await ground.close()
        return first, second, carried

    mine = ("mine", "s1")
    assert table.run(go()) == ([mine], [mine], [mine, mine])


def test_a_step_that_is_known_is_not_made_again(table: Table) -> None:
    """Carried again by whoever takes over, a saga asks the outside for nothing that was answered."""

    async def go() -> list[str]:
        bound = table.bench.bound
        rule = bound.scenario.all_rules()[bound.cell.rule]
        targets = Targets.from_description(table.stores.describe())
        ground = Ground(bound.scenario, bound.strategy, rule, targets, table.bench._port)
        saga = Saga(ground, "again", lambda _event: None)
        await saga.open()
        session = await ground.session()
        await bound.strategy.rows.seed(session.sql, ["user:again"], None)
        attempt = Attempt(("user:again",), {"wants": "upgrade", "deliveries": 1}, "s2")
        await saga.perform(attempt)
        await saga._carry(attempt)
        await Inline(ground, "again", lambda _event: None).perform(attempt)
        await ground.close()
        ledger = (await ask(table.bench._port, do="ledger"))["ledger"]
        return [one["name"] for one in ledger if one["attempt"] == "s2"]

    assert table.run(go()) == ["charge", "e-mail"]


DIES = """
import os, signal
from pathlib import Path
from harness.strategy.loader import find_strategy
class Dies(find_strategy("pg-for-update")[0]):
    name = "dies"
    async def apply(self, session, request, rule):
        reply = await super().apply(session, request, rule)
        if request.operation == "settle" and not (died := Path(__file__).with_suffix(".died")).exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return reply
"""


@pytest.mark.long
@pytest.mark.parametrize("flow", ["saga", "durable:idempotent"])
def test_what_was_applied_and_not_logged_is_not_applied_twice(table: Table, tmp_path: Path, flow: str) -> None:
    """Killed between the two, it is asked again under the same id, and known: one charge, one plan.

    The e-mail hangs on the first answer, and is not sent.
    """
    script = tmp_path / "dies.py"
    script.write_text(DIES, encoding="utf-8")

    class Killed(FlowBench):
        async def _kill(self, flow: str, attempt: Attempt) -> None:
            worker = await self._start(flow, "one")
            self._deliver(worker, attempt)
            assert await asyncio.to_thread(worker.child.wait) == -signal.SIGKILL

    async def go() -> FlowCell:
        bound = bind(Cell("subscription", f"{script}#Dies", ""), Load())
        async with Killed(bound, table.stores, 1) as bench:
            bench._number = 1_000 + list(FLOWS).index(flow)  # the stores know others of these names
            return await bench.cell(flow, "killed")

    cell = table.run(go())
    assert script.with_suffix(".died").exists()
    assert [step.told for step in cell.steps if step.what == "settle"] == ["known"]
    assert (cell.end, cell.effects, len(cell.value["known"])) == ("once", {"charge": 1}, 1)


@pytest.mark.long
def test_a_durable_flow_leaves_nothing_behind(table: Table) -> None:
    """DBOS keeps what it knows in the schema of the run, and nowhere else."""
    assert table.cell("durable", "lost").end == claimed("durable", "lost")

    async def go() -> tuple[set[str], bool, set[str]]:
        target = table.stores.describe()["postgres"]
        connection = await asyncpg.connect(
            host=target["host"], port=target["port"], user=target["user"], database=target["database"],
            password=target["password"] or None,
        )  # fmt: skip
        schemas = {row[0] for row in await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")}
        ours = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{table.stores.schema}.workflow_status")
        databases = {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
        await connection.close()
        return schemas, ours, databases

    schemas, ours, databases = table.run(go())
    assert schemas == {"information_schema", "public", table.stores.schema}
    assert ours
    assert databases == {"postgres", "template0", "template1"}


# The command


@pytest.mark.long
def test_the_command(race: Callable[..., Ended]) -> None:
    """One flow: a table, a kept document, and what it claims."""
    files = ("--export-json", "flows.json", "--export-csv", "f.csv", "--export-html", "flows.html")
    ended = race("compare", "subscription", "--flow", "inline", *files)
    assert (ended.code, ended.stderr) == (0, "")
    assert "  inline  charged twice  charged twice  paid, no plan  paid, no plan" in ended.stdout
    assert "paid, no plan</span>" in Path("flows.html").read_text()
    document = read_document(Path("flows.json"))
    assert [cell["end"] for cell in document["flows"][0]["cells"]] == ["once", "twice", "twice", "stranded", "stranded"]
    assert race("report", "list").stdout.count("5 as claimed") == 1
    assert json.loads(race("schema", "flows").stdout)["title"] == "What `race compare --flow` found"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("subscription", "--flow", "magic"),
            "unknown flow 'magic'; there are: inline, idempotent, compensating, saga",
        ),
        (("counter", "--flow", "all"), "counter has no attempt with effects whose end it can tell (became)"),
        (("subscription", "--flow", "saga", "--rules", "all"), "--flow takes one strategy and one rule at a time"),
        (("subscription", "--flow", "saga", "--strategies", "a,b"), "--flow takes one strategy and one rule at a time"),
        (("subscription", "--flow", "saga", "--strategies", "actor"), "actor needs an owner process"),
        (("subscription", "--flow", "saga", "--strategies", "atomic"), "atomic does not apply to subscription"),
    ],
)
def test_what_cannot_be_tried(race: Callable[..., Ended], arguments: tuple[str, ...], says: str) -> None:
    """Exit 2, one line."""
    ended = race("compare", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert says in ended.stderr


def test_without_dbos(race: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says how to get it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "dbos" else object())
    ended = race("compare", "subscription", "--flow", "all")
    assert (ended.code, ended.stdout) == (2, "")
    assert "pip install 'race-harness[durable]'" in ended.stderr
