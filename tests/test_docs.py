"""The pages under docs/ say what is so: their commands run, in order, and print what is shown.

RACE_SNAPSHOTS=write makes what is shown again, and the generated tables with it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.model import Request
from harness.report.markdown import table_row
from harness.report.matrix import digest, summary
from harness.strategy.library import grouped
from harness.strategy.loader import find_scenario, scenarios, strategies

Race = Callable[..., Any]

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
WRITE = os.environ.get("RACE_SNAPSHOTS") == "write"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDS = {"violated": 1, "proved": 0, "bounded": 0, "inconclusive": 3}

pytestmark = pytest.mark.xdist_group("docs")


class Shown(NamedTuple):
    """A command of a page, what it is told to come to after a `#`, and what is shown below it."""

    words: tuple[str, ...]
    verdict: str
    output: str


def shown(block: str) -> Iterator[Shown]:
    """The commands of a block."""
    for part in re.split(r"^\$ race ", block, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        command, _, comment = line.partition("#")
        yield Shown(tuple(shlex.split(command)), comment.strip(), output)


def steady(text: str) -> str:
    """Without how long it took."""
    return re.sub(r"\s+exit (\d), .*", r" exit \1", text)


def between(mark: str, page: str, made: str) -> str:
    """The page with a generated part in its place."""
    head, begin, rest = page.partition(f"<!-- {mark}:begin -->\n")
    _, end, tail = rest.partition(f"<!-- {mark}:end -->\n")
    assert begin, mark
    assert end, mark
    return f"{head}{begin}{made}{end}{tail}"


@pytest.mark.parametrize("name", ["story.md", "choosing.md", "your-bug.md"])
def test_commands(quick: Race, name: str) -> None:
    """Each ends as is told; where something is shown below it, that is what it prints."""
    page = (DOCS / name).read_text(encoding="utf-8")

    def again(block: re.Match[str]) -> str:
        lines = []
        for command in shown(block[1]):
            ended = quick(*command.words)
            first = ended.stdout.split(maxsplit=1)[0].lower()
            assert (ended.code, ended.stderr) == (ENDS[command.verdict or first], ""), command.words
            if command.verdict:
                assert first == command.verdict, command.words
            else:
                same = steady(ended.stdout.rstrip("\n")) == steady(command.output.rstrip("\n"))
                lines.append(command.output.rstrip("\n") if same else ended.stdout.rstrip("\n"))
        if not lines:
            return block[0]
        heads = re.findall(r"^\$ race .*$", block[1], re.MULTILINE)
        return "```console\n" + "".join(f"{head}\n{text}\n" for head, text in zip(heads, lines, strict=True)) + "```"

    made = BLOCK.sub(again, page)
    if WRITE:
        (DOCS / name).write_text(made, encoding="utf-8")
    assert made == (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.long
def test_symptoms(quick: Race) -> None:
    """Every symptom that a scenario knows has its line, and its command shows it: what broke is what is told."""
    rows = []
    explore = cache(lambda *words: quick("explore", *words, "--seed", "1"))
    for kind in scenarios():
        for symptom, words in kind.symptoms.items():
            ended = explore(kind.name, *words.split())
            assert ended.code == 1, (kind.name, symptom, ended.stdout, ended.stderr)
            says = re.sub(r"\s+", " ", re.split(r"\n +\d[\d,]* of ", ended.stdout.removeprefix("  VIOLATED  "))[0])
            rows.append([f"**{symptom}**", f"`{kind.name}`", says, f"`race explore {kind.name} {words}`"])
    heads = ["you see", "it is", "what broke", "see it happen"]
    table = [table_row(heads), table_row([":--"] * len(heads)), *map(table_row, rows)]
    generated("your-bug.md", "symptoms", "\n".join(table) + "\n")


def test_where_each_stops() -> None:
    """What strategies say of themselves, by family."""
    lines = [table_row(["family", "strategy", "how", "where it stops helping"]), table_row([":--"] * 4)]
    for family, kinds in grouped(strategies(), lambda kind: kind.family).items():
        lines += [table_row([family, f"`{kind.name}`", kind.summary, kind.stops_helping]) for kind in kinds]
    generated("choosing.md", "stops", "\n".join(lines) + "\n")


def test_two_businesses() -> None:
    """As the story's last step says: the same cancel in the same place, and two ends."""
    subscription = find_scenario("subscription")()
    plans = {}
    for name in ("cancel-wins", "first-wins"):
        rule, state = subscription.all_rules()[name], {"user": None}
        for operation, attempt in (("begin", "a1"), ("cancel", "a2"), ("settle", "a1")):
            state = {**state, **rule(state, Request(operation, ("user",), {}, attempt=attempt), 0).changes}
        plans[name] = state["user"]["plan"]
    assert plans == {"cancel-wins": "free", "first-wins": "pro"}


def test_the_readme_shows_the_matrix() -> None:
    """Where it has the marks, what is between them is the digest of results/matrix.json."""
    matrix = json.loads((ROOT / "results" / "matrix.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    if "<!-- matrix:begin -->" not in readme:
        pytest.skip("the README does not show it")
    made = between("matrix", readme, f"{summary(matrix)}.\n\n{digest(matrix)}")
    if WRITE:
        (ROOT / "README.md").write_text(made, encoding="utf-8")
    assert made == (ROOT / "README.md").read_text(encoding="utf-8")


def generated(name: str, mark: str, made: str) -> None:
    """A generated part of a page is as it would be made now."""
    path = DOCS / name
    page = path.read_text(encoding="utf-8")
    if WRITE:
        path.write_text(between(mark, page, made), encoding="utf-8")
    assert between(mark, page, made) == path.read_text(encoding="utf-8")


def test_every_step_says_what_it_does_not_tell() -> None:
    """And the four sentences are in the story, each once in bold."""
    story = (DOCS / "story.md").read_text(encoding="utf-8")
    steps = re.split(r"^## ", story, flags=re.MULTILINE)[1:]
    assert all(step.count("*What this does not tell you*") == 1 and "$ race " in step for step in steps)
    bold = re.sub(r"\s+", " ", " ".join(re.findall(r"\*\*(.*?)\*\*", story, re.DOTALL)).lower())
    for sentence in (
        "an actor owns state", "a workflow owns a process", "a database stores facts", "business rules decide meaning",
    ):  # fmt: skip
        assert bold.count(sentence) == 1, sentence


def test_links_and_names() -> None:
    """Files that are pointed to are there, and what is called by a name in code has it."""
    names = {kind.name for kind in (*scenarios(), *strategies())}
    for path in DOCS.glob("*.md"):
        page = path.read_text(encoding="utf-8")
        targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", page)
        assert [target for target in targets if not (path.parent / target).exists()] == [], path.name
        for name in re.findall(r"race (?:list|explain|compare) ([a-z-]+)", page):
            assert name in names, (path.name, name)
