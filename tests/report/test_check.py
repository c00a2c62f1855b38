"""What a gate prints and writes: the screen, JUnit XML, GitHub's annotations and summary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from junitparser import Error, Failure, JUnitXml

from harness.report import check_markdown, check_screen, github_annotations
from harness.report.junit import check_junit
from tests.gate import documents

Snapshot = Callable[[str, str], None]


def test_screen(snapshot: Snapshot) -> None:
    """Every rule with its value and mark, the failure drawn, the commands that show it; 80 columns."""
    screen = check_screen(documents.check(), 1)
    snapshot("check.txt", screen)
    assert max(map(len, screen.splitlines())) <= 80


def test_screen_of_nothing() -> None:
    """An interrupted check says so, and does not say passed."""
    nothing = {"passed": 0, "failed": 0, "unclear": 0}
    document = documents.check(cells=[], schedules=[], counts=nothing, outcome="inconclusive", complete=False)
    screen = check_screen({**document, "baseline": None}, 130)
    assert screen.startswith("  INTERRUPTED   nothing ran, so nothing was shown\n")


def test_junit(tmp_path: Path) -> None:
    """Another reader finds the same: failures with the diagram, an error for what has no answer."""
    path = tmp_path / "report.xml"
    path.write_text(check_junit(documents.check()))
    report = JUnitXml.fromfile(str(path))
    results = {(suite.name, case.name): case.result for suite in report for case in suite}
    assert (report.tests, report.failures, report.errors) == (5, 2, 1)
    (broken,) = results["n | by naive", 'explored = "proved"']
    assert isinstance(broken, Failure)
    assert broken.message == "violated, 7 schedules: an add | was <lost>"
    assert "request A" in broken.text
    assert "race explore n.py" in broken.text
    (unclear,) = results["counter under lua", "p(99) < 50ms"]
    assert isinstance(unclear, Error)
    assert results["schedules", "races/old.json"] == []
    times = {case.name: case.time for suite in report for case in suite if case.time}
    assert (times, round(report.time, 3)) == ({'verdict = "held"': 2.1, "relative_throughput > 0.5": 41.3}, 43.4)


def test_junit_holds_what_xml_cannot(tmp_path: Path) -> None:
    """A name with a control character is still XML."""
    document = documents.check()
    document["cells"][1]["name"] = "n\x00\x1b[31m"
    path = tmp_path / "report.xml"
    path.write_text(check_junit(document))
    assert [suite.name for suite in JUnitXml.fromfile(str(path))][-1] == "n??[31m"


def test_annotations() -> None:
    """A failure stands at its script, a warning at the gate's file; the escapes are the runner's."""
    lines = github_annotations(documents.check(), ".")
    assert lines[0].startswith("::error file=my_fix.py,line=12,title=race%3A n | by naive::explored = ")
    assert lines[0].endswith("%0Arace compare n.py --strategies my_fix.py,lua")
    assert "%0Arace replay .race/failures/n-my-fix-0a1b2c3d.json%0A" in lines[0]
    assert lines[1].startswith("::warning file=race.toml,line=4,title=race%3A counter under lua::p(99) < 50ms: -: ")
    assert (len(lines), [line for line in lines if "\n" in line]) == (2, [])


def test_annotations_below_the_repository(tmp_path: Path) -> None:
    """Files are named as from its root; more than ten errors are not shown anyway, and no warning takes their place."""
    document = documents.check()
    document["cells"] = [document["cells"][0], *[document["cells"][1]] * 12]
    (tmp_path / "below").mkdir()
    lines = github_annotations(document, str(Path.cwd().parent))
    assert [line.split(" ")[0] for line in lines] == ["::error"] * 10 + ["::warning"]
    assert f"file={Path.cwd().name}/my_fix.py," in lines[0]


def test_summary() -> None:
    """Failures first; what a script says is text, not markup."""
    text = check_markdown(documents.check())
    assert text.index("n \\| by naive") < text.index("counter under lua")
    assert "an add \\| was &lt;lost&gt;" in text
    assert "<lost>" not in text
    assert "```text\n      request A" in text


def test_summary_is_cut_between_blocks() -> None:
    """What fits is whole, and says that it is not all; without any room there is nothing."""
    document = documents.check()
    document["cells"] = document["cells"] * 9000
    text = check_markdown(document)
    assert 1_000_000 < len(text.encode()) <= 1024 * 1024
    assert text.endswith("... cut: the rest is in the log of this step\n")
    assert text.count("```") % 2 == 0
    assert check_markdown(document, 10) == ""
