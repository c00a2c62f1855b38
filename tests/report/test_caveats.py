"""Warnings: a closed list, each where it applies and nowhere else."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from harness.burst import Load, Overlap
from harness.report import check_screen, forms_of, result_screen
from harness.report.caveats import Kind, caveats
from harness.stores import StoreInfo
from tests import measurements
from tests.report import documents

SUSTAINED = Load(mode="sustained", connections=16, keys=64, seed=7)


def kinds(document: dict[str, Any]) -> list[str]:
    """Which of the list."""
    return [one.kind for one in caveats(document)]


def run(**changes: Any) -> dict[str, Any]:
    """A run that held."""
    return documents.result(measurements.held(**changes))


def test_a_good_run_has_none() -> None:
    """Bursts on a quiet machine: its verdict is what counts, and no cost is claimed."""
    assert kinds(run()) == []


def test_each_of_the_list() -> None:
    """The whole list can happen, and nothing else."""
    near = run(overlap=Overlap("naive", 250, 130, 60.0), judged_bursts=40)
    near["environment"] = {**near["environment"], "others_cpu": 0.6}
    found = kinds(near) + kinds(run(load=SUSTAINED))
    assert found == list(get_args(Kind))


@pytest.mark.parametrize(("broken", "near"), [(124, False), (125, True), (149, True), (150, False)])
def test_a_control_near_its_limit(broken: int, near: bool) -> None:
    """From a half to six in ten; below, the verdict is inconclusive already."""
    assert kinds(run(overlap=Overlap("naive", 250, broken, 1.0))) == ["control near its limit"] * near


@pytest.mark.parametrize(("broken", "near"), [(62, False), (63, True), (74, True), (75, False)])
def test_a_control_that_breaks_in_half_where_all_meet(broken: int, near: bool) -> None:
    """Half of that is needed, and said."""
    found = caveats(run(overlap=Overlap("naive", 250, broken, 1.0, control_needed=0.25)))
    assert ["with less than 25.0 %" in one.says for one in found] == [True] * near


@pytest.mark.parametrize(("share", "apart_us", "busy"), [(0.25, 49.0, False), (0.26, 1.0, True), (None, 50.0, True)])
def test_a_saturated_machine(share: float | None, apart_us: float, busy: bool) -> None:
    """By what others used, or by how far apart the requests of a burst were released."""
    document = run(overlap=Overlap("naive", 250, 249, apart_us))
    document["environment"] = {**document["environment"], "others_cpu": share}
    assert kinds(document) == ["saturated machine"] * busy


def test_few_bursts_matter_where_none_broke() -> None:
    """One that broke needs no more of them."""
    assert kinds(run(judged_bursts=99)) == ["few bursts"]
    assert kinds(documents.result(measurements.violated(judged_bursts=99, broken_bursts=9))) == []


@pytest.mark.parametrize(
    ("durability", "off"),
    [
        ("memory only", True),
        ("appendonly everysec", False),
        ("fsync on, synchronous_commit off", True),
        ("fsync off, synchronous_commit on", True),
        ("fsync on, synchronous_commit on", False),
    ],
)
def test_durability(durability: str, off: bool) -> None:
    """Where a server may lose what it has answered its pace is no fair one; a server of one's own has its own cores."""
    store = StoreInfo("redis", "Valkey", "9.1.2", embedded=False, durability=durability)
    assert kinds(run(load=SUSTAINED, stores=[store])) == ["durability off"] * off


def test_a_check_says_each_once() -> None:
    """Of all loads in it; on its screen, in the step summary, on its page."""
    document = documents.check()
    document["cells"] = document["cells"] * 2
    assert kinds(document) == ["shared cores", "durability off"]
    forms = forms_of(document)
    for text in (check_screen(document, 1), forms["markdown"](document)):
        assert text.count("shared cores: ") == 1


def test_the_same_words_everywhere() -> None:
    """Terminal, Markdown and page."""
    document = run(load=SUSTAINED)
    (first, *_others) = caveats(document)
    forms = forms_of(document)
    screen = " ".join(result_screen(document, 0).split())
    page = " ".join(forms["html"](document).replace("<b>", "").replace("</b>", "").split())
    for text in (screen, forms["markdown"](document), page):
        assert f"{first.kind}: {first.says}" in text
