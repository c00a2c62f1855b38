"""The pages: one file each that asks for nothing, runs nothing, escapes everything, and shows what it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.burst import Cell
from harness.judge.explain import Explanation, Row
from harness.report import page
from harness.report.difference import texts_of
from harness.report.html.plots import latency_plot, pace_plot
from harness.report.html.space_time import SpaceTime, space_time
from harness.report.kept import run_line
from harness.results.difference import difference_document
from tests import measurements
from tests.report import documents

KINDS = sorted(documents.KINDS)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EVIL = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"
VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """What a page consists of; fails where tags are not closed in turn."""

    def __init__(self, text: str) -> None:
        """Read all of it."""
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag with its attributes."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One that is closed at once."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """It closes the last that was opened."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text, but for style sheets."""
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All words, with single spaces."""
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_needs_nothing_else(kind: str) -> None:
    """No address, no script, no style from elsewhere; its own policy forbids them, too. Names lead where they say."""
    text = page(documents.KINDS[kind]())
    found = Page(text)
    assert "script" not in {tag for tag, _attributes in found.tags}
    assert re.findall(r"(?:https?:|url\((?!#)|@import|//[a-z])", text.replace("this page", "")) == []
    links = [value for _tag, one in found.tags for name in ("href", "src", "xlink:href") if (value := one.get(name))]
    assert {link[0] for link in links if link != "data:,"} == {"#"}
    ids = [one["id"] for _tag, one in found.tags if "id" in one]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link != "data:,"} <= set(ids)
    policies = [one["content"] for tag, one in found.tags if one.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_ends_with_the_commands_and_the_place(kind: str) -> None:
    """How it is made again, and where it was made."""
    document = documents.KINDS[kind]()
    text = Page(page(document)).text
    where, again = text.rindex("Where it was measured"), text.rindex(document["reproduce"])
    assert text.index("on this page") if "on this page" in text else True
    assert 0 < again < where
    for value in document["environment"].values():
        assert str(value) in text[where:] or value is None or value == document["environment"].get("machine")


def everywhere(value: Any) -> Any:
    """The document with something evil wherever a script, a store or a user says something."""
    if isinstance(value, dict):
        return {name: everywhere(inner) if name not in FIXED else inner for name, inner in value.items()}
    if isinstance(value, list):
        return [everywhere(inner) for inner in value]
    return f"{value}{EVIL}" if isinstance(value, str) else value


FIXED = {
    "schema", "verdict", "order", "explored", "mode", "kind", "started_at", "columns", "caller", "mark", "outcome",
    "level", "anomaly", "store", "ends", "anomalies", "prevents", "means", "search", "invariants", "fault", "end",
}  # fmt: skip
"""Words of our own, and keys by which others are found."""


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_escaped(kind: str) -> None:
    """Whatever names, replies, rules and reasons hold, it is text and stays text."""
    document = json.loads(json.dumps(documents.KINDS[kind]()))
    text = page(everywhere(document))
    found = Page(text)
    assert {"script", "img"} & {tag for tag, _attributes in found.tags} == set()
    assert not [name for _tag, one in found.tags for name in one if name.startswith("on")]
    assert "<script>document.title" in found.text
    assert "{{ 7 * 7 }}" in found.text


def test_pages_about_kept_runs() -> None:
    """Two compared, and the list: every figure and word, the commands that make them again, nothing but text."""
    first, second = (documents.result(measurements.violated(cell=Cell(EVIL, "naive", "drop"))) for _ in range(2))
    second = {**second, "verdict": "held"}
    found = difference_document((Path("results/runs/0001-a.json"), first), (Path("b.json"), second))
    text = Page(page(found)).text
    assert "regressed" not in text.lower()
    assert "improved 1" in text
    assert "race report diff results/runs/0001-a.json b.json" in text
    assert all(word in text for figure in found["figures"] for word in texts_of(figure))
    lines = [run_line(number, "a.json", first) for number in (1, 2)]
    bad = [{"file": "c.json", "problem": EVIL}]
    listed = Page(page({"schema": "race.runs/1", "folder": "r/runs", "runs": lines, "unreadable": bad, "before": 3}))
    for told in ("3 before these", "c.json", "race report list --results r", "violated", EVIL):
        assert told in listed.text, told
    assert {"script", "img"} & {tag for tag, _attributes in [*listed.tags, *Page(page(found)).tags]} == set()


def test_what_no_page_may_hold() -> None:
    """Control characters and halves of characters become a question mark."""
    document = documents.result(measurements.violated(cell=Cell("it\x00\x1b[31m\ud800", "naive", "drop")))
    assert "it??[31m? under naive" in page(document)


def test_no_verdict_rests_on_colour() -> None:
    """Each has its word, and a sign beside it."""
    text = page(documents.comparison())
    verdicts = re.findall(r'<span class="verdict (\w+)"[^>]*>(<svg.*?</svg>)?(\w+)</span>', text)
    assert {(tone, word) for tone, _sign, word in verdicts} >= {
        ("bad", "violated"),
        ("good", "held"),
        ("good", "proved"),
    }
    assert all(f"#sign-{tone}" in sign for tone, sign, _word in verdicts if tone != "none")


def test_the_matrix() -> None:
    """Order, rule, every order, rate with its interval, and cost, for each strategy of each store."""
    text = Page(page(documents.comparison())).text
    assert "naive violated violated violated violated 996 of 1,000 99.6 % (98.9-99.9)" in text
    assert "pg-serializable held held held - 0 of 1,000 at most 0.30 %" in text
    assert "control: pg-read-committed broke in 248 of 250 bursts (99.2 %)" in text
    assert "Left out, and why own-command, own-command:other: two keys; one command cannot" in text


def test_the_matrix_of_several_rules() -> None:
    """Each row names its rule; an invariant without an answer is counted, and does not hide the others."""
    document = documents.comparison()
    document["rows"][1] |= {"rule": "wait", "invariants": {"one at work": "held", "free again": "inconclusive"}}
    text = Page(page(document)).text
    assert "atomic wait held held held 1 no answer proved 0 of 1,000" in text
    assert "naive drop violated violated violated violated" in text


def test_rules_side_by_side() -> None:
    """Rules across, and what each comes to; strategies that come to the same in one row. Of one rule there is none."""
    document = documents.comparison()
    assert "By rule" not in Page(page(document)).text
    held = next(row for row in document["rows"] if row["verdict"] == "held")
    document["rows"] = [
        {**held, "strategy": name, "rule": rule, "endings": {f"the end of {rule}": 9}}
        for name in ("lua", "watch") for rule in ("mild", "strict")
    ]  # fmt: skip
    text = Page(page(document)).text
    assert "strategy mild strict lua, watch held, held the end of mild held, held the end of strict" in text
    assert "under 2 ways of protecting it and 2 rules" in text


def test_of_a_run() -> None:
    """Sentence, evidence, the diagram with commands and replies, the same as text."""
    text = Page(page(documents.result())).text
    assert "VIOLATED two attempts of one user were at work at once" in text
    assert "996 of 1,000 bursts of 2 (99.6 %, 95 % CI 98.9-99.9)" in text
    assert "The same as text" in text
    assert "→ (none)" in text


def test_of_a_run_that_held() -> None:
    """What the bound is, is said."""
    text = Page(page(documents.result(measurements.held()))).text
    assert "0 of 1,000, at most 0.30 % by the one-sided 95 % bound" in text


def test_of_a_sustained_run() -> None:
    """What contradicts itself is drawn as a timeline, and the pace of each part as a bar."""
    measured = replace(measurements.lost_adds(), **documents.SPREAD)
    text = Page(page(documents.result(measured))).text
    assert "that no order explains" in text
    assert "part 5 980" in text


def test_an_isolation_table() -> None:
    """What differs is said, and drawn; what shows nothing is neither prevented nor does it occur."""
    text = Page(page(documents.isolation())).text
    assert "dirty write G0 occurs not as documented one writes over the other" in text
    assert "lost update P4 shows nothing one write is lost" in text
    assert text.count("→ 1 row (waited)") == 2  # where it differs, and among all cases


def test_a_check() -> None:
    """Each rule with its value; the diagram of what failed; warnings of the loads in it."""
    text = Page(page(documents.check())).text
    assert 'explored = "proved" failed violated, 7 schedules an add | was <lost>' in text
    assert "→ OK" in text
    assert "shared cores" in text


# The wide tables


def test_the_library() -> None:
    """What each cell came to, and its figures; what does not apply, with its reason; the commands of each rule."""
    document = documents.matrix()
    shown = document["rows"][0]
    shown["violations"] |= {"bursts": 95, "judged": 119, "rate": 95 / 119, "low": 0.715, "high": 0.866}
    shown |= {"starts_per_s": 13815.9, "relative_throughput": 0.5204, "latency_ms": {"p50": 0.4}, "retries": 1200}
    apart = document["not_applicable"][0]
    found = Page(page(document))
    assert f"{document['counts']['cells']:,} cells: " in found.text
    assert (
        "naive violated violated violated violated 95 of 119 79.8 % (71.5-86.6) 13,816 0.52 0.40 - 1,200 0 breaks"
    ) in found.text
    assert f": {apart['reason']}" in found.text
    assert apart["reason"] in {one.get("title") for _tag, one in found.tags}
    assert "job-claim, rule blind race compare job-claim --rules blind --seed 1" in found.text


def test_what_the_library_did_not_show() -> None:
    """A claim that failed is beside the word, in the banner and among the commands; what is missing is named."""
    document = documents.matrix()
    lua = next(row for row in document["rows"] if (row["strategy"], row["rule"]) == ("lua", "drop"))
    watch = next(row for row in document["rows"] if (row["strategy"], row["rule"]) == ("watch", "drop"))
    lua |= {"explored": "violated", "as_claimed": False}
    watch |= {"verdict": "inconclusive", "order": "inconclusive", "reason": "few", "as_claimed": None, "explored": None}
    gone = [row for row in document["rows"] if row["scenario"] == "text"]
    document["rows"] = [row for row in document["rows"] if row["scenario"] != "text"]
    document["missing"] = [{name: row[name] for name in ("scenario", "rule", "strategy")} for row in gone]
    document |= {"complete": False, "reason": "interrupted"}
    text = Page(page(document)).text
    assert "FAILED " in text
    assert "violated explored not as claimed" in text
    assert "inconclusive ?" in text
    assert "race explore double-submit --strategy lua --rule drop --seed 1" in text
    assert "text not come to not come to" in text
    assert "Not come to actor (" in text
    assert "text, rule" not in text[text.rindex("Again") :]


def test_a_library_that_was_cut_short_at_once() -> None:
    """No store was come to: the page says what is missing, and does not call it well."""
    document = documents.matrix()
    missing = [{name: row[name] for name in ("scenario", "rule", "strategy")} for row in document["rows"]]
    empty = {"rows": [], "stores": [], "references": [], "missing": missing, "complete": False, "reason": "interrupted"}
    text = Page(page({**document, **empty})).text
    assert "INTERRUPTED" in text
    assert "AS CLAIMED" not in text
    assert "Not come to actor (" in text


def test_flows() -> None:
    """Each cell in words, with what was seen outside; what is other than claimed, unknown or missing says so."""
    written = page(documents.flows())
    text = Page(written).text
    assert "FAILED 4 of 6 cells as claimed" in text
    assert "inline plain code; a call without an answer is made again ok charge 1 not come to charged twice" in text
    assert (
        "ok charge 1 not as claimed claimed: given back ? charge 1 the second delivery did nothing not come to" in text
    )
    cells = re.findall(r'<span class="verdict (\w+)"[^>]*>(<svg.*?</svg>)?([^<]+)</span>', written)
    assert {(tone, word) for tone, _sign, word in cells} >= {("bad", "charged twice"), ("good", "ok"), ("warn", "?")}
    assert all(f"#sign-{tone}" in sign for tone, sign, _word in cells)


# Diagrams


def drawn(*rows: Row, why: str | None = None, **more: Any) -> SpaceTime:
    """A diagram of these steps."""
    letters = list(dict.fromkeys(row.letter for row in rows))
    found = Explanation(tuple((letter, letter) for letter in letters), rows, True, why, "it broke")  # type: ignore[arg-type]
    document = documents.result(measurements.violated(counterexample=found))
    diagram = space_time({**document["counterexample"], **more})
    assert diagram is not None
    return diagram


def strokes(diagram: SpaceTime, letter: str) -> Iterator[tuple[str, int, int]]:
    """Kind of each stroke of a caller, and from which step to which it reaches; 0 is the beginning or the end."""
    at = {node.y: node.number for node in diagram.nodes}
    (x,) = (lane.x for lane in diagram.lanes if lane.letter == letter)
    return ((one.kind, at.get(one.top, 0), at.get(one.bottom, 0)) for one in diagram.strokes if one.x == x)


def test_waiting_is_visible() -> None:
    """A step that waited stands where it was answered: its caller waited since the step before."""
    diagram = drawn(
        Row(1, "A", "UPDATE", "1 row"), Row(2, "B", "BEGIN", ""), Row(3, "A", "COMMIT", ""),
        Row(4, "B", "UPDATE", "1 row", True),
    )  # fmt: skip
    assert list(strokes(diagram, "B")) == [("waits", 2, 4)]
    assert diagram.legend == ("waits",)


def test_waiting_of_what_stands_where_it_was_sent() -> None:
    """Until the other transaction is over."""
    steps = (
        Row(1, "A", "UPDATE", "1 row"), Row(2, "B", "UPDATE", "1 row", True), Row(3, "A", "COMMIT", ""),
        Row(4, "B", "COMMIT", ""),
    )  # fmt: skip
    diagram = drawn(*steps, as_sent=True)
    assert list(strokes(diagram, "B")) == [("waits", 2, 3), ("alive", 3, 4)]
    assert next(strokes(drawn(*steps), "B")) == ("waits", 0, 2)


def test_faults_are_visible() -> None:
    """A pause until its caller goes on; a crash ends the line; a lost reply and a second delivery have a sign."""
    diagram = drawn(
        Row(1, "A", "(paused past every lease)", ""), Row(2, "B", "SET k 1", "(reply lost)"),
        Row(3, "A", "DEL k", "1"), Row(4, "B", "(crashes)", "", outcome="crash"), Row(5, "A", "(delivered twice)", ""),
    )  # fmt: skip
    assert [node.kind for node in diagram.nodes] == ["pause", "fault", "step", "crash", "fault"]
    assert ("paused", 1, 3) in strokes(diagram, "A")
    (lane,) = (lane for lane in diagram.lanes if lane.letter == "B")
    assert lane.bottom == diagram.nodes[3].y
    assert "crash" not in [text.words for text in diagram.nodes[3].texts]


def test_work_lasts_until_it_ends() -> None:
    """Two that overlap stand beside each other; one that never ends goes on."""
    diagram = drawn(
        Row(1, "A", "work begins", ""),
        Row(2, "B", "work begins", ""),
        Row(3, "A", "work ends", ""),
        Row(4, "B", "GET", "1"),
    )
    assert ("work", 1, 3) in strokes(diagram, "A")
    assert ("work", 2, 0) in strokes(diagram, "B")


def test_the_story_is_drawn() -> None:
    """From the step that made untrue what was read, to who decided on it."""
    steps = (Row(1, "A", "GET", "0"), Row(2, "B", "SET", "OK"), Row(3, "A", "SET", "OK"))
    diagram = drawn(*steps, why="A decided at 3 on what it read at 1; step 2 had made that untrue.")
    at = {lane.letter: lane.x for lane in diagram.lanes}
    assert diagram.arrow is not None
    assert (diagram.arrow[0] - 8, diagram.arrow[1] + 8) == pytest.approx((at["B"] - 16, at["A"] + 16))
    assert next(strokes(diagram, "A")) == ("stale", 2, 3)
    assert [node.told for node in diagram.nodes] == [True, True, True]

    rightwards = (
        Row(1, "A", "GET", "0"), Row(2, "B", "GET", "0"),
        Row(3, "A", "SET user 1 PX 2000", "OK"), Row(4, "B", "SET", "OK"),
    )  # fmt: skip
    diagram = drawn(*rightwards, why="B decided at 4 on what it read at 2; step 3 had made that untrue.")
    text = diagram.nodes[2].texts[0]
    assert diagram.arrow is not None
    assert text.x + 7 * len(text.words) < diagram.arrow[0] < diagram.arrow[1], "the arrow does not strike the text out"


def test_the_whole_reply_is_told() -> None:
    """Whatever is cut beside the line: on hovering, on focus, and to who hears the page."""
    reply = "x" * 900 + "end"
    diagram = drawn(Row(1, "A", "GET k", reply), Row(2, "B", "GET k", "0"))
    (node, _other) = diagram.nodes
    assert len(" ".join(text.words for text in node.texts)) < 400
    assert node.label.endswith("end")
    assert max(node.tip.y + node.tip.height for node in diagram.nodes) <= diagram.height


def test_many_callers_stand_close() -> None:
    """With texts in a column of their own, inside of the drawing."""
    diagram = drawn(*(Row(place, letter, "GET k", "0") for place, letter in enumerate("ABCDEFGH", 1)))
    assert max(lane.x for lane in diagram.lanes) < min(text.x for node in diagram.nodes for text in node.texts)
    assert len({text.x for node in diagram.nodes for text in node.texts}) == 1


# Plots


def test_plots_of_what_was_not_measured() -> None:
    """Nothing was answered: there is no plot. Without a distribution, as in old documents, percentiles are drawn."""
    document = documents.comparison()
    row = {**document["rows"][0], "starts_per_s": None, "latency_ms": {}}
    assert (pace_plot([row], document), latency_plot([row], document)) == (None, None)
    old = {name: value for name, value in document["rows"][0].items() if name not in {"distribution", "parts"}}
    plot = latency_plot([old], document)
    assert plot is not None
    (ridge,) = plot.rows
    assert (ridge.path, ridge.p50 < ridge.p99 < ridge.worst) == ("", True)
    pace = pace_plot([old], document)
    assert pace is not None
    assert pace.rows[0].dots == ()


def test_plots_are_to_scale() -> None:
    """Twice as fast is twice as long; everything lies within the plot."""
    document = documents.comparison()
    rows = [{**document["rows"][0], "starts_per_s": pace, "parts": []} for pace in (500, 1000)]
    plot = pace_plot(rows, document)
    assert plot is not None
    assert plot.rows[1].width == pytest.approx(2 * plot.rows[0].width)
    assert all(plot.left <= tick.x <= plot.right for tick in plot.ticks)
    assert [tick.words for tick in plot.ticks] == ["0", "200", "400", "600", "800", "1,000"]


@pytest.mark.parametrize("path", sorted(documents.OLD.glob("*.json")), ids=lambda path: path.stem)
def test_old_documents_have_pages(path: Path) -> None:
    """As earlier versions kept them."""
    assert Page(page(json.loads(path.read_text()))).text


# In a browser


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser(tmp_path: Path) -> None:
    """Chromium complains of nothing on any page; where a script is put into one, it refuses to run it."""
    assert CHROMIUM is not None
    pages = {kind: page(made()) for kind, made in documents.KINDS.items()}
    evil = page(documents.result(measurements.violated(cell=Cell(EVIL, "naive", "drop"))))
    pages |= {"evil": evil, "forbidden": evil.replace("</main>", "<script>document.title='owned'</script></main>")}
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
    frames = tmp_path / "frames.html"
    frames.write_text("".join(f'<iframe src="{name}.html"></iframe>' for name in pages))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    seen = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom",
         frames.as_uri()],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    complaints = [line for line in seen.stderr.splitlines() if "CONSOLE" in line]
    assert ["forbidden.html" in line and "Content Security Policy" in line for line in complaints] == [True]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_comparison_fits_a_small_screen(tmp_path: Path) -> None:
    """Of every strategy no column has to be scrolled to, 1,000 pixels wide; a narrower one must be."""
    assert CHROMIUM is not None
    kept = json.loads((documents.ROOT / "results" / "double-submit.json").read_text())
    (tmp_path / "page.html").write_text(page(kept), encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text("""<iframe id="wide" width="1000" src="page.html"></iframe><iframe id="narrow" width="700"
        src="page.html"></iframe><p id="hidden"></p><script>addEventListener("load", () => {
        const hidden = (name) => [...document.getElementById(name).contentDocument.querySelectorAll(".matrix")]
            .map((table) => table.scrollWidth > table.clientWidth);
        document.getElementById("hidden").textContent = JSON.stringify([hidden("wide"), hidden("narrow")]);
        })</script>""")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    seen = subprocess.run(
        [CHROMIUM, *flags, "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         frame.as_uri()],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    assert '<p id="hidden">[[false,false],[true,true]]</p>' in seen.stdout
