"""Scripts are found by name or by path, and every mistake gives one line."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness import Scenario, Strategy
from harness.model import UsageError
from harness.strategy import loader
from harness.strategy.loader import (
    find_scenario,
    find_strategy,
    nearest,
    scenarios,
    strategies,
)

if TYPE_CHECKING:
    from pathlib import Path

RULE = """
from harness import Outcome, Reply, Request, Scenario

class Mine(Scenario):
    def rule(self, state, request, now_ms):
        return Outcome({}, Reply("ok"))

    def burst(self, rng, size):
        return [Request("go", ("thing",))] * size
"""
FIX = """
from harness import Claim, Strategy

class Fix(Strategy):
    name = "{name}"
    variants = {{"broken": "does nothing"}}

    def claims(self, conditions):
        return Claim("holds")

    async def apply(self, session, request, rule):
        raise NotImplementedError
"""


def script(folder: Path, text: str, name: str = "my_fix.py") -> str:
    """Write a script and give its path."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(spec: str, find: object = find_strategy) -> str:
    """The one line that a specification is refused with."""
    with pytest.raises(UsageError) as caught:
        find(spec)  # type: ignore[operator]
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_bundled_scenarios_come_in_their_fixed_order() -> None:
    """The order of the table, whatever the names of the files."""
    assert [scenario.name for scenario in scenarios()][:2] == ["double-submit", "counter"]


def test_bundled_strategies_come_in_their_fixed_order() -> None:
    """From naive to actor."""
    expected = [
        *("naive", "atomic", "lua", "multi", "watch"),
        *(
            "pg-read-committed",
            "pg-conditional",
            "pg-for-update",
            "pg-advisory",
            "pg-version",
            "pg-unique",
            "pg-exclusion",
            "pg-skip-locked",
            "pg-sequence",
        ),
        *("pg-procedure", "pg-repeatable-read", "pg-serializable", "mutex", "redis-lock", "actor"),
    ]
    found = [strategy.name for strategy in strategies()]
    assert expected == [name for name in found if name in expected]


def test_a_bundled_name_is_found() -> None:
    """Scenario and strategy by name, always the same class."""
    scenario, (strategy, variant) = find_scenario("counter"), find_strategy("pg-for-update")
    assert (scenario.name, strategy.name, variant) == ("counter", "pg-for-update", "")
    assert issubclass(scenario, Scenario)
    assert issubclass(strategy, Strategy)
    assert scenario is find_scenario("counter")


def test_a_variant_is_told_apart_from_the_name() -> None:
    """What stands after the colon is the variant."""
    strategy, variant = find_strategy("redis-lock:no-token")
    assert (strategy.name, variant) == ("redis-lock", "no-token")


def test_a_bundled_name_executes_one_script_only() -> None:
    """Start-up time counts: the other scripts are left alone."""
    code = """
import sys
from harness.strategy.loader import find_strategy
find_strategy("naive")
print([name for name in sys.modules if name.startswith("race_script_")])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.count("race_script_") == 1
    assert "race_script_naive" in run.stdout


def test_a_family_file_holds_several_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that no file bears is found by looking at what the files define."""
    family = FIX.format(name="first-one") + FIX.format(name="second-one").replace("Fix(", "Other(")
    script(tmp_path, family, "family.py")
    script(tmp_path, "raise SystemExit", "unrelated.py")
    monkeypatch.setattr(loader, "_folder", lambda _kind: tmp_path)
    loader._index.cache_clear()
    try:
        assert find_strategy("second-one")[0].name == "second-one"
    finally:
        loader._index.cache_clear()


def test_a_users_script_is_found_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the current folder, with and without a variant."""
    script(tmp_path, FIX.format(name="my-fix"))
    monkeypatch.chdir(tmp_path)
    strategy, variant = find_strategy("./my_fix.py:broken")
    assert (strategy.name, variant) == ("my-fix", "broken")
    assert strategy.family == "own"


def test_a_relative_path_means_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same path from another folder is another script."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        script(tmp_path / name, FIX.format(name=name))
        monkeypatch.chdir(tmp_path / name)
        assert name == find_strategy("./my_fix.py")[0].name


def test_a_users_scenario_needs_no_name(tmp_path: Path) -> None:
    """It is called like its script."""
    assert find_scenario(script(tmp_path, RULE, "my_rule.py")).name == "my-rule"


def test_one_of_several_is_chosen_by_name(tmp_path: Path) -> None:
    """`#name` says which, and a variant may follow."""
    path = script(tmp_path, FIX.format(name="one") + FIX.format(name="two").replace("Fix(", "Two("))
    strategy, variant = find_strategy(f"{path}#two:broken")
    assert (strategy.name, variant) == ("two", "broken")
    assert f"{path} defines several: say {path}#one or {path}#two" == refused(path)
    assert f"{path} defines no strategy 'tow'; did you mean two?" == refused(f"{path}#tow")


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    """One line with what was probably meant."""
    assert refused("naiv") == "unknown strategy 'naiv'; did you mean naive?"
    assert refused("double-sumbit", find_scenario) == "unknown scenario 'double-sumbit'; did you mean double-submit?"


@pytest.mark.parametrize(
    ("start", "near"),
    [
        ("pg-u", "pg-unique"),
        ("red", "redis-lock, redis-lock-fenced or redis-lock-renewed"),
        ("Lock", "pg-skip-locked, redis-lock, redis-lock-fenced or redis-lock-renewed"),
    ],
)
def test_the_beginning_of_a_name_gets_all_that_begin_so(start: str, near: str) -> None:
    """The beginning of one of its words does, too; case does not matter."""
    assert refused(start) == f"unknown strategy '{start}'; did you mean {near}?"


def test_the_other_kind_is_named() -> None:
    """The two are easily taken for each other."""
    assert refused("naive", find_scenario).startswith("'naive' is a strategy, no scenario; there are: double-submit,")


def test_a_colon_needs_a_variant() -> None:
    """Else a result would bear a name that no strategy has."""
    assert refused("lua:") == "'lua:' names no variant: leave out the colon, or say which"


def test_a_script_without_its_ending_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name or by its path."""
    script(tmp_path, RULE, "my_rule.py")
    monkeypatch.chdir(tmp_path)
    expected = "unknown scenario 'my-rule'; did you mean ./my_rule.py?"
    assert refused("my-rule", find_scenario) == expected
    expected = "'./my_rule' is no script: the name of a script ends in .py; did you mean ./my_rule.py?"
    assert refused("./my_rule", find_scenario) == expected


def test_what_a_script_prints_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to stderr, unless the script says otherwise."""
    find_strategy(script(tmp_path, f"print('hello')\n{FIX.format(name='loud')}"))
    assert tuple(capsys.readouterr()) == ("", "hello\n")


def test_a_name_like_no_other_gets_the_list() -> None:
    """Where nothing is near, all names are said."""
    assert nearest("zzz", ["naive", "lua"]) == "there are: naive, lua"
    assert nearest("zzz", []) == "there is none"
    assert refused("").startswith("unknown strategy ''; there are: naive, atomic")


def test_an_unknown_variant_gets_the_nearest_ones() -> None:
    """Variants are listed, or said to be none."""
    expected = "unknown variant 'reentrent' of redis-lock; did you mean reentrant?"
    assert expected == refused("redis-lock:reentrent")
    assert refused("pg-sequence:x") == "unknown variant 'x' of pg-sequence; there is none"


def test_a_scenario_has_no_variants() -> None:
    """Its rules are chosen otherwise."""
    expected = "'counter:fast': a scenario has no variants; --rule chooses one of its rules"
    assert expected == refused("counter:fast", find_scenario)


def test_a_missing_script_is_said_to_be_missing(tmp_path: Path) -> None:
    """The path as it was given; a path that is no script says what it should be."""
    path = tmp_path / "nothing.py"
    assert f"script {path} not found" == refused(str(path))
    near = script(tmp_path, "x = 1", "nothink.py")
    assert f"script {path} not found; did you mean {near}?" == refused(str(path))
    path = tmp_path / "nowhere" / "nothing.py"
    assert f"script {path} not found: there is no folder {path.parent}" == refused(str(path))
    assert refused("./nothing") == "'./nothing' is no script: the name of a script ends in .py"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\ny = undefined\n", ":2: NameError: name 'undefined' is not defined"),
        ("def broken(:\n", ":1: SyntaxError: invalid syntax"),
        ("import no_such_module\n", ":1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)\n", ":1: SystemExit: 3"),
        ("import json\n\njson.loads('')\n", ":3: JSONDecodeError: Expecting value"),
        ("raise ValueError('one\\ntwo')\n", ":1: ValueError: one"),
    ],
)
def test_a_script_that_fails_says_where(tmp_path: Path, text: str, says: str) -> None:
    """Its own line, not one of the library that it called."""
    path = script(tmp_path, text)
    assert refused(path).startswith(f"{path}{says}")


def test_a_script_in_no_known_encoding_is_one_line(tmp_path: Path) -> None:
    """Bytes that are no text are the script's fault as well."""
    path = tmp_path / "bytes.py"
    path.write_bytes(b"\xff\xfe\x00")
    assert refused(str(path)).startswith(f"{path}")


def test_a_script_that_defines_nothing_says_what_it_must_hold(tmp_path: Path) -> None:
    """Both kinds."""
    path = script(tmp_path, "x = 1\n")
    assert (
        f"{path} defines no strategy: it must hold a class derived from harness.Strategy, with apply and claims"
    ) == refused(path)
    assert (
        f"{path} defines no scenario: it must hold a class derived from harness.Scenario, with a rule and a burst"
    ) == refused(path, find_scenario)


def test_a_script_of_the_other_kind_says_so(tmp_path: Path) -> None:
    """Two scripts that were given the wrong way round."""
    path = script(tmp_path, RULE)
    assert refused(path).startswith(f"{path} defines no strategy but a scenario: it must hold")


def test_several_without_a_name_need_one(tmp_path: Path) -> None:
    """None can be chosen; what only others build on needs no name, a name given twice is none."""
    unnamed = FIX.replace('    name = "{name}"\n', "").format()
    path = script(tmp_path, unnamed + unnamed.replace("Fix(", "Other("))
    assert refused(path) == f'{path} defines several strategies without a name: give Fix, Other each a name = "..."'
    base = "from harness import Strategy\n\nclass Base(Strategy):\n    def helper(self):\n        pass\n"
    path = script(tmp_path, base + unnamed.replace("(Strategy)", "(Base)"), "one.py")
    assert find_strategy(path)[0].name == "one"
    same = FIX.format(name="same")
    path = script(tmp_path, same + same.replace("Fix(", "Other("), "two.py")
    assert refused(path) == f"{path} calls several by the name 'same': Fix and Other; give each of them its own"


def test_an_unfinished_definition_says_what_it_lacks(tmp_path: Path) -> None:
    """Before anything is started, with the line of the class."""
    path = script(tmp_path, "from harness import Scenario\n\nclass Mine(Scenario):\n    pass\n")
    assert f"{path}:3: scenario Mine lacks rule and burst" == refused(path, find_scenario)
    path = script(tmp_path, "from harness import Strategy\nclass Fix(Strategy):\n    name = 'fix'\n", "b.py")
    assert f"{path}:2: strategy Fix lacks apply and claims" == refused(path)
