"""race explain: half a page about a scenario or a strategy, with an interleaving found then and there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.results import costs
from harness.results.schema import schema_text
from harness.strategy.loader import find_strategy
from harness.strategy.story import story_of

Race = Callable[..., Any]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def race(quick: Race) -> Race:
    """On servers that stay: what is asked for here is what was found, not how servers start."""
    return quick


def document(ended: Any) -> dict[str, Any]:
    """What --json printed, as its schema promises it."""
    found: dict[str, Any] = json.loads(ended.stdout)
    assert list(Draft202012Validator(json.loads(schema_text("explanation"))).iter_errors(found)) == []
    return found


def test_a_scenario(race: Race) -> None:
    """Its story is its script's, its interleaving is real and can be had again, every strategy is placed."""
    ended = race("explain", "double-submit", "--all")
    assert (ended.code, ended.stderr) == (0, "")
    story = (ROOT / "scenarios" / "double_submit.py").read_text().split('"""')[1].split("\n\n")[2]
    assert " ".join(story.split()) in " ".join(ended.stdout.split())
    assert "Broke         two attempts of one user were at work at once" in ended.stdout
    assert "Found by race explore double-submit --strategy naive --rule drop --seed 1" in " ".join(ended.stdout.split())
    assert "mutex: each process has a lock of its own" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


def test_what_a_scenario_is_about(race: Race) -> None:
    """It is shown as it is noticed: writers in order under a lock, one of whom lacks a clause. Its tables are named."""
    text = race("explain", "six-writers").stdout
    assert "How it breaks: six-writers, rule cron-forgets, under pg-for-update" in text
    assert "UPDATE .. SET balance = 40" in text  # of a long statement what it sets is kept
    assert "race compare six-writers --table writers" in " ".join(text.split())
    assert "six-writers, rule" not in race("explain", "six-writers", "--rule", "cron-forgets").stdout.split("\n\n")[1]


def test_instants_are_those_of_the_schedule(race: Race) -> None:
    """As everywhere else, by when the schedule began; what T is, is said where one is to be seen, and only there."""
    text = race("explain", "double-submit").stdout
    assert "SET user a1 T+2000 PX 2000 -> OK" in text
    assert "(T: when it begins; T+2000: 2 s later)" in " ".join(text.split())
    assert "T: when it begins" not in " ".join(race("explain", "counter").stdout.split())


def test_the_rule_under_which_it_holds(race: Race) -> None:
    """Where that is not the scenario's first, under which it breaks; of what breaks, what is its own comes first."""
    text = " ".join(race("explain", "redis-lock").stdout.split())
    assert "lock-lease (overrun) proved" in text
    assert "Breaks lock-lease (default): the slow one's work outlives its lease" in text


def test_what_else_can_be_laid_side_by_side(race: Race) -> None:
    """Rules that hold and end differently, and who carries an attempt: where there is either."""
    text = race("explain", "subscription").stdout
    assert "race compare subscription --rules all: race cannot choose one" in text
    assert "race compare subscription --flow all: and the worker is killed" in text
    assert not {"--rules all", "--flow all"} & {*re.findall(r"--\w+ all", race("explain", "counter").stdout)}


def test_what_an_owner_buys(race: Race) -> None:
    """It pays in one scenario, and elsewhere a cheaper one does as well, in so many words."""
    text = " ".join(race("explain", "actor").stdout.split())
    assert re.search(r"six-writers proved .* pays where others write around the rule.*(Buys nothing|Hold, too) ", text)
    assert re.search(r"(Buys nothing|Hold, too) .* \((atomic|multi) does as well\)", text)
    assert re.search(
        r"Breaks idempotency-key \(cached\): answers are stored at the end: .*; also places, credits", text
    )


@pytest.mark.parametrize(
    "name",
    [
        "double-submit", "naive",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("webhook", "redis-lock", "pg-advisory", "actor")),
    ],
)  # fmt: skip
def test_half_a_page(race: Race, name: str) -> None:
    """One glance: the story, one interleaving, what holds and what does not, the cost; and how to see the whole."""
    ended = race("explain", name)
    lines = ended.stdout.splitlines()
    assert (ended.code, ended.stderr) == (0, "")
    assert len(lines) <= 36, ended.stdout
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(name)
    text = " ".join(ended.stdout.split())
    for part in ("the smallest that breaks", "Broke ", f"More race explain {name} --all; race "):
        assert part in text
    held = name != "naive"
    assert [word in text for word in ("Cost on ", "starts/s relative", " does as well")] == [held] * 3


def test_of_many_steps_those_are_drawn_that_matter(race: Race) -> None:
    """Who read before the other wrote, and both writes; a step has a line, and none is there that looks in vain."""
    drawn = race("explain", "queue").stdout.partition("Where it stops")[2].partition("Broke")[0]
    assert re.search(r"consumer\d  GET counter -> \(none\)\n", drawn)
    assert {found[0] for found in re.findall(r"(consumer\d)  (LUA .*counter.* -> 1)\n", drawn)} == {
        "consumer1",
        "consumer2",
    }
    assert "BUSYGROUP" not in drawn


def test_a_story_of_its_own() -> None:
    """Of two levels in one script each tells its own: what serializable watches, repeatable read does not."""
    weaker, stronger = (
        " ".join(story_of(find_strategy(f"pg-{name}")[0])) for name in ("repeatable-read", "serializable")
    )
    assert "only SERIALIZABLE looks at what was read" in weaker
    assert "Any rule over any rows is protected" in stronger
    assert "Any rule" not in weaker


def test_the_interleaving_is_the_one_explored(race: Race) -> None:
    """Step by step, as `race explore` draws it."""
    (picture,) = document(race("explain", "counter", "--json"))["interleavings"]
    words = picture["reproduce"].removeprefix("race ").split()
    explored = json.loads(race(*words, "--json").stdout)["counterexample"]
    assert picture["schedule"]["steps"] == explored["steps"]


@pytest.mark.parametrize(
    ("words", "roles", "says"),
    [
        (("mutex",), ["breaks"], "2 adds were acknowledged but the counter shows 1"),
        (("atomic",), ["holds", "stops"], ""),
        (("redis-lock",), ["holds", "stops"], "2 adds were acknowledged but the counter shows 1"),
        (("redis-lock:no-token",), ["holds", "stops"], ""),
        (("credits", "--strategy", "lua", "--rule", "check-first"), ["breaks"], "the model was called 2 times"),
        (("credits", "--strategy", "lua"), ["holds"], ""),
    ],
    ids=" ".join,
)
def test_how_it_goes(race: Race, words: tuple[str, ...], roles: list[str], says: str) -> None:
    """What breaks is shown breaking; what holds, where callers meet, and where it stops holding."""
    ended = race("explain", *words, "--json")
    pictures = document(ended)["interleavings"]
    assert (ended.code, [one["role"] for one in pictures]) == (0, roles)
    for one in pictures:
        assert (one["verdict"] == "violated") == (one["role"] != "holds")
        assert len({step["caller"] for step in one["schedule"]["steps"]}) > 1
    assert says in pictures[-1]["says"] or not says


def test_ones_own(race: Race) -> None:
    """A script's docstrings are its story, and its false claim is told: exit 1."""
    for name in ("tickets.py", "fix.py"):
        Path(name).write_text((ROOT / "examples" / name).read_text())
    assert "Ten tickets, and never an eleventh" in race("explain", "tickets.py").stdout
    ended = race(
        "explain", "fix.py", "--scenario", "tickets.py", "--export-markdown", "fix.md", "--export-json", "f.json"
    )
    assert (ended.code, ended.stderr) == (0, "")
    assert "Compare and set: read, decide, and write only where nothing has changed" in Path("fix.md").read_text()
    source = Path("fix.py").read_text()
    assert source.count("~= ARGV[1]") == 1
    Path("broken.py").write_text(source.replace("~= ARGV[1]", "== '-'"))
    ended = race("explain", "broken.py", "--scenario", "tickets.py")
    assert (ended.code, "Claim         holds: NOT as claimed" in ended.stdout) == (1, True), ended.stdout


def row(strategy: str, starts_per_s: float) -> dict[str, Any]:
    """A row of the bundled matrix, with another pace."""
    there = costs.bundled_table()
    assert there is not None
    (found,) = [one for one in there[1]["rows"] if (one["scenario"], one["strategy"]) == ("counter", strategy)]
    return {**found, "starts_per_s": starts_per_s, "relative_throughput": starts_per_s / 9000}


def test_costs_are_of_the_latest_results(race: Race) -> None:
    """Of a run of one's own where there is one, else of the table that comes along; which, is said."""
    said = document(race("explain", "counter", "--json"))["costs"]
    assert (said["bundled"], said["file"]) == (True, "results/matrix.json")
    there = costs.bundled_table()
    assert there is not None
    others = {one["strategy"] for one in there[1]["rows"] if one["scenario"] == "counter"} - {"atomic", "naive"}
    own = {**there[1], "rows": [row("atomic", 9000.0), *(row(name, 1000.0) for name in sorted(others))]}
    Path("results/runs").mkdir(parents=True)
    Path("results/runs/0007-matrix.json").write_text(json.dumps(own))
    found = document(race("explain", "counter", "--json"))
    assert (found["costs"]["bundled"], found["costs"]["file"]) == (False, "results/runs/0007-matrix.json")
    cells = {cell["strategy"]: cell["measured"] for cell in found["cells"]}
    assert (cells["atomic"]["starts_per_s"], cells["atomic"]["cheaper"]) == (9000.0, "")
    assert (cells["lua"]["starts_per_s"], cells["lua"]["cheaper"]) == (1000.0, "atomic")
    assert cells["naive"] is None
    assert "atomic does" in race("explain", "counter").stdout
    assert "atomic does" in race("explain", "counter", "--all").stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("lau",), "unknown scenario or strategy 'lau'; did you mean lua?"),
        (("zzz",), "unknown scenario or strategy 'zzz'; race list names them all"),
        (("saga",), "'saga' is a flow: race compare subscription --flow saga shows it"),
        (("cancel-wins",),
         "'cancel-wins' is a rule of subscription: race explain subscription --rule cancel-wins tells of it"),
        (("lua:nope",), "unknown variant 'nope' of lua; there are: resend, remember"),
        (("counter", "--rule", "blind"), "unknown rule 'blind' of counter; there are: default"),
        (("counter", "--scenario", "text"), "counter is a scenario: --strategy says under which strategy it is shown"),
        (("lua", "--strategy", "watch"), "lua is a strategy: --scenario says in which scenario it is shown"),
        (("pg-exclusion", "--scenario", "counter"),
         "pg-exclusion does not apply to counter: for rules where nothing may overlap"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(race: Race, words: tuple[str, ...], line: str) -> None:
    """Exit 2, one line that says what to do."""
    ended = race("explain", *words)
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"race: {line}\n")


def test_without_a_server(race: Race) -> None:
    """Exit 3, one line."""
    ended = race("explain", "counter", "--redis-url", "redis://127.0.0.1:1")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (3, "", 1)


def test_a_server_that_is_too_old(race: Race, tmp_path: Path) -> None:
    """One line, as where it is explored or loaded; nothing else would tell why nobody was answered."""
    script = tmp_path / "newer.py"
    script.write_text(
        "from harness.strategy.loader import find_strategy\n"
        "class Newer(find_strategy('naive')[0]):\n    name = 'newer'\n    needs = {'valkey': '99.0'}\n",
        encoding="utf-8",
    )
    ended = race("explain", str(script))
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "newer.py needs Valkey 99.0 or newer; this is " in ended.stderr
