"""What goes wrong in a user's own script is one line with that script and its line, and exit 2; on real stores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
SERVERS = {
    option: os.environ[test]
    for option, test in (("RACE_REDIS_URL", "RACE_TEST_REDIS_URL"), ("RACE_POSTGRES_URL", "RACE_TEST_POSTGRES_URL"))
    if test in os.environ
}

RULE = """from harness import Invariant, Outcome, Reply, Request, Scenario

class Mine(Scenario):
    initial_value = 0

    def rule(self, state, request, now_ms):
        return Outcome({request.key: state[request.key] + 1}, Reply("done"))

    def burst(self, rng, size):
        return [Request("go", ("thing",))] * size
"""
FIX = """from harness import Claim, Strategy

class Fix(Strategy):
    def claims(self, conditions):
        return Claim("breaks")

    async def apply(self, session, request, rule):
        state = await self.values.load(session, request.keys)
        outcome = await session.decide(rule, state, request)
        await self.values.save(session, outcome.changes, session.now_at_ms)
        return outcome.reply
"""
OWNED = (
    FIX.replace("    def claims", "    owned = True\n\n    def claims").replace("def apply", "def own")
    + """
    async def apply(self, session, request, rule):
        return await session.ask(request)
"""
)

MISTAKES = {
    "a strategy with a typing error": (
        *(RULE, FIX.replace("outcome.reply", "outcome.repply")),
        "fix.py:11: AttributeError: 'Outcome' object has no attribute 'repply'",
    ),
    "a value that the scenario's layout cannot write": (
        *("double-submit", FIX.replace("outcome.changes,", "{request.key: 5},")),
        "fix.py:10: TypeError: 'int' object is not subscriptable",
    ),
    "a strategy that forgets to answer": (
        *(RULE, FIX.replace("        return outcome.reply\n", "")),
        "fix.py:7: a strategy must answer with a harness.Reply, not None",
    ),
    "a strategy that goes on by itself": (
        *(RULE, FIX.replace("await self.values.save(", "__import__('asyncio').ensure_future(self.values.save(").replace(
            "now_at_ms)", "now_at_ms))"
        )),
        "fix.py:7: a strategy that is explored may not begin tasks of its own: nobody sees what they do",
    ),
    "a claim that fails": (
        *(RULE, FIX.replace('Claim("breaks")', "Claim(conditions.nothing)")),
        "fix.py:5: AttributeError: 'Conditions' object has no attribute 'nothing'",
    ),
    "an owner that fails": (
        *(RULE, OWNED.replace("outcome.reply", "outcome.repply")),
        "fix.py:13: AttributeError: 'Outcome' object has no attribute 'repply'",
    ),
    "a rule that fails": (
        *(RULE.replace("+ 1", '+ "1"'), "naive"),
        "rule.py:7: TypeError: unsupported operand type(s) for +: 'int' and 'str'",
    ),
    "a rule that decides nothing": (
        *(RULE.replace("return Outcome", "Outcome"), "naive"),
        "rule.py:6: a rule must return a harness.Outcome, not None",
    ),
    "a strategy that forgets to wait": (
        *(RULE, FIX.replace("await session.decide", "session.decide")),
        "fix.py:10: AttributeError: 'coroutine' object has no attribute 'changes'",
    ),
    "a rule that changes what nobody asked for": (
        *(RULE.replace("{request.key: state", '{"other": state'), "naive"),
        "rule.py:6: a rule may change only the keys that its request names, not 'other'",
    ),
    "a rule that decides on no text": (
        *(RULE.replace('Reply("done")', "Reply(None)"), "naive"),
        ("rule.py:6: an Outcome's reply must be a harness.Reply, its decision a text, not Reply(decision=None, "
        "values=mappingproxy({}))"),
    ),
    "a rule that ends the process": (
        *(RULE.replace("return Outcome", "raise SystemExit(0)\n        return Outcome"), "naive"),
        "rule.py:7: SystemExit: 0",
    ),
    "a rule that leaves for good": (
        *(RULE.replace("return Outcome", "__import__('os')._exit(0)\n        return Outcome"), "naive"),
        "rule.py:7: RuntimeError: os._exit(0) would end race with the script",
    ),
    "a state that is no JSON": (
        *(RULE.replace("state[request.key] + 1", "{1}"), "naive"),
        "a state must be plain JSON or have its own layout, not {1}: Object of type set is not JSON serializable",
    ),
    "a rule that changes its state": (
        *(RULE.replace("initial_value = 0", "initial_value = []").replace(
            "return Outcome({request.key: state[request.key] + 1}",
            "state[request.key].append(1)\n        return Outcome({request.key: state[request.key]}",
        ), "naive"),
        ("rule.py:6: a rule must not change the state that it is given: it returns what changes, in an Outcome "
        "(go made {'thing': [1]} of {'thing': []})"),
    ),
    "a rule that throws dice": (
        *(RULE.replace("state[request.key] + 1}", "next(DRAWN)}") + "\nDRAWN = iter(range(99))\n", "naive"),
        ("rule.py:6: a rule must decide the same each time: asked twice, go gave {'thing': 0} done, then {'thing': 1} "
        "done; what is drawn or counted belongs into the request's arguments, the time is now_ms"),
    ),
    "a rule that throws dice now and then": (
        *(RULE.replace("state[request.key] + 1}", "next(DRAWN)}") + "\nDRAWN = iter((0, 0, 1))\n", "naive"),
        ("rule.py:6: a rule must decide the same each time: asked twice, go gave {'thing': 0} done, then {'thing': 1} "
        "done; what is drawn or counted belongs into the request's arguments, the time is now_ms"),
    ),
    "a state that is another one in JSON": (
        *(RULE.replace("initial_value = 0", "initial_value = {1: 0}").replace(
            "state[request.key] + 1}", "{1: state[request.key].get(1, 5)}}"
        ), "naive"),
        ("rule.py:6: a state must be what JSON makes of it: {'thing': {1: 0}} comes back from the store as "
        "{'thing': {'1': 0}}, and the rule decides otherwise on that"),
    ),
    "a rule that says aborted": (
        *(RULE.replace('"done"', '"aborted"'), "naive"),
        "rule.py:6: 'aborted' is what a strategy answers that changed nothing: not of a rule",
    ),
    "a request about nothing": (
        *(RULE.replace('("thing",)', "()"), "naive"),
        "rule.py:9: a request names at least one key: what it is about",
    ),
    "a burst that fails": (
        *(RULE.replace("[Request(", "[Reqest("), "naive"),
        "rule.py:10: NameError: name 'Reqest' is not defined",
    ),
    "a burst of something else": (
        *(RULE.replace('[Request("go", ("thing",))]', "['go']"), "naive"),
        "rule.py:9: a burst consists of Requests or Attempts, not of 'go'",
    ),
    "invariants that are none": (
        *(f"{RULE}\n    def invariants(self):\n        Invariant('a', 'b', list)\n", "naive"),
        "rule.py:12: invariants must return a list, not None",
    ),
    "a control that need hardly break": (
        *(f"{RULE}\n    control_breaks = 0.1\n", "naive"),
        "control_breaks of rule is the share of bursts that break where all meet: 0.25 to 1, not 0.1",
    ),
}  # fmt: skip


BY_WORKERS = ("a strategy that forgets to answer", "an owner that fails")
"""Those that take another way where several processes make a load."""


APART = (
    "a strategy that goes on by itself", "a strategy that forgets to wait", "a rule that ends the process",
    "a rule that leaves for good",
)  # fmt: skip
"""Those that might end the process, or leave something in it that is complained of later."""


@pytest.mark.parametrize("mistake", [mistake for mistake in MISTAKES if mistake not in {*BY_WORKERS, *APART}])
def test_the_script_is_blamed(quick: Callable[..., Any], mistake: str, tmp_path: Path) -> None:
    """Never a bundled script, a library or race itself."""
    *words, says = written(mistake, tmp_path)
    ended = quick("explore", *words)
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"race: {says}\n")


@pytest.mark.parametrize(
    ("command", "mistake"),
    [
        *(("explore", mistake) for mistake in APART),
        *(("run", mistake) for mistake in (*BY_WORKERS, "a rule that ends the process")),
    ],
)
def test_the_script_is_blamed_by_a_process(command: str, mistake: str, tmp_path: Path) -> None:
    """Likewise."""
    *words, says = written(mistake, tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", "harness", command, *words],
        cwd=tmp_path, env={**os.environ, **SERVERS}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"race: {says}\n")


def written(mistake: str, tmp_path: Path) -> tuple[str, str, str, str]:
    """The words that name its scripts, which then are there, and what is said of them."""
    rule, fix, says = MISTAKES[mistake]
    if rule.startswith("from"):
        (tmp_path / "rule.py").write_text(rule)
        rule = "rule.py"
    if fix.startswith("from"):
        (tmp_path / "fix.py").write_text(fix)
        fix = "fix.py"
    return rule, "--strategy", fix, says


@pytest.mark.stores
@pytest.mark.parametrize("command", ["explore", "run"])
def test_a_function_that_is_refused(command: str, tmp_path: Path) -> None:
    """Neither a store that was lost nor a bug of race: what PostgreSQL says of it."""
    for kind in ("py", "sql"):
        text = (SCENARIOS / f"counter.{kind}").read_text()
        (tmp_path / f"counter.{kind}").write_text(text.replace("RETURN held", "RETRUN held"))
    ended = subprocess.run(
        [sys.executable, "-m", "harness", command, "counter.py", "--strategy", "pg-procedure"],
        cwd=tmp_path, env={**os.environ, **SERVERS}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = 'counter: PostgreSQL refuses CREATE OR REPLACE FUNCTION add_one: syntax error at or near "RETRUN" (42601)'
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"race: {said}\n")
