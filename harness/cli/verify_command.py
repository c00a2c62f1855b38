"""race verify: judge a recorded history without running anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import completion
from harness.cli import output as out
from harness.cli.failure import FOUND, INCONCLUSIVE, OK
from harness.cli.options import AtLeast
from harness.cli.progress import shown
from harness.model import UsageError

if TYPE_CHECKING:
    from harness.judge import HistoryFile, Subject
    from harness.strategy import Scenario, Strategy

BUDGET_S = 60.0


@click.command("verify")
@click.argument("history", type=click.Path(path_type=Path))
@click.option(
    "--scenario",
    default="",
    metavar="NAME",
    shell_complete=completion.scenario,
    help="By whose rule; where a run wrote it, its own.",
)
@click.option("--rule", default="", metavar="NAME", help="One of the scenario's rules; likewise.")
@click.option(
    "--budget", "budget_s", type=AtLeast(0.1, float), default=BUDGET_S, show_default=True, metavar="S",
    help="Seconds of judging, once the file is read; what has no answer then is inconclusive.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--exit-zero", is_flag=True, help="Exit 0 where it would be 1.")
def command(
    history: Path, scenario: str, rule: str, budget_s: float, as_json: bool, quiet: bool, exit_zero: bool
) -> int:
    """Judge HISTORY, a file of JSON Lines (also compressed: .gz).

    What race run --history wrote gets the verdict of its run; anything else is held where
    some order of its operations explains every answer.
    """  # fmt: skip
    from harness.judge import HistoryFile, verify
    from harness.report import verification_screen
    from harness.results.verification import Asked, verification_document

    began = time.monotonic()
    with HistoryFile(history) as file:
        scenario = scenario or (file.header.scenario if file.header else "")
        rule, subject = _subject(file, scenario, rule)
        with _told(history.name, quiet=quiet) as (reading, judging):
            opened = time.monotonic()
            read = file.read(subject.operations, reading)
            reading_s = time.monotonic() - opened
            verified = verify(read, subject, budget_s, judging)
    asked = Asked(
        str(history), scenario, rule, _again(history, scenario, rule, budget_s), time.monotonic() - began, reading_s
    )  # fmt: skip
    document = verification_document(verified, asked)
    code = {"violated": OK if exit_zero else FOUND, "held": OK}.get(document["verdict"], INCONCLUSIVE)
    click.echo(
        out.as_json(document) if as_json else verification_screen(document, code, out.paint()), nl=False, color=True
    )
    return code


def _subject(file: HistoryFile, name: str, rule: str) -> tuple[str, Subject]:
    """The rule's name, and what the judge asks. Raises UsageError."""
    from harness.burst.purity import try_rule
    from harness.judge import Subject
    from harness.strategy import RuleSpec
    from harness.strategy.arities import signatures
    from harness.strategy.loader import find_scenario, nearest

    if not name:
        raise UsageError(f"{file.path} does not say which scenario it is of: --scenario NAME")
    scenario = find_scenario(name)()
    rules = scenario.all_rules()
    if not rule and file.header is not None and file.header.scenario == name:
        rule = file.header.rule
    rule = rule or next(iter(rules))
    if rule not in rules:
        raise UsageError(f"unknown rule '{rule}' of {scenario.name}; {nearest(rule, rules)}")
    scenario = scenario.under(rule)
    try_rule(scenario, rule)
    strategy = _strategy(file, scenario) if scenario.duties else None
    return rule, Subject(
        RuleSpec(scenario, rule, strategy), scenario.invariants(), scenario.initial_value, signatures(scenario)
    )  # fmt: skip


def _strategy(file: HistoryFile, scenario: Scenario) -> Strategy | None:
    """Under which the history came about: whether callers or an owner enforced the rule, it knows. None if unknown."""
    from harness.strategy.loader import find_strategy

    if file.header is None or file.header.scenario != scenario.name:
        return None
    kind, variant = find_strategy(file.header.strategy)
    return kind(scenario, variant)


def _again(history: Path, scenario: str, rule: str, budget_s: float) -> str:
    import shlex

    words = ["race", "verify", str(history), "--scenario", scenario]
    words += ["--rule", rule] if rule != "default" else []
    words += ["--budget", f"{budget_s:g}"] if budget_s != BUDGET_S else []
    return shlex.join(words)


@contextmanager
def _told(
    title: str, *, quiet: bool
) -> Iterator[tuple[Callable[[int, int], None] | None, Callable[[int, int, int], None] | None]]:
    """Whom to tell how far reading and judging have come; nobody where nobody watches."""
    import sys

    if quiet or not sys.stderr.isatty():
        yield None, None
        return
    from harness.burst import Progress

    with shown(title, quiet=quiet) as tell:

        def reading(done: int, total: int) -> None:
            tell(Progress("reading", done / 1e6, total / 1e6, "MB"))

        def judging(done: int, total: int, broken: int) -> None:
            tell(Progress("judging", done, total, "pieces", broken))

        yield reading, judging
