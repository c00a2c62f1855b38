"""The web UI in a real browser: a strategy that breaks, seen in the tab, then one that holds."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import free_port
from tests.ui.sessions import Session

if TYPE_CHECKING:  # to import it takes a twentieth of what collecting every test does
    from playwright import sync_api

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT_MS = 60_000

pytestmark = [
    pytest.mark.load,
    pytest.mark.long,
    pytest.mark.xdist_group("load"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium"),
]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A web UI for double-submit under naive."""
    port = str(free_port())
    started = Session(tmp_path, "ui", "double-submit", "--strategy", "naive", "--size", "4", "--port", port)
    assert started.line().startswith(f"race: Locust's web UI: http://127.0.0.1:{port} ")
    started.url = f"http://127.0.0.1:{port}/"
    yield started
    started.close()


@pytest.fixture
def page(session: Session) -> Iterator[sync_api.Page]:
    """A page at it; anything that goes wrong in a script fails the test."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        opened.set_default_timeout(WAIT_MS)
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(session.url)
        yield opened
        browser.close()
    assert errors == []


def edited(page: sync_api.Page, change: Callable[[], object]) -> None:
    """The form of a test that runs, filled in otherwise."""
    page.get_by_role("button", name="Edit", exact=True).click()
    change()
    page.get_by_role("button", name="Update", exact=True).click()


def test_what_breaks_is_seen_and_then_what_holds(session: Session, page: sync_api.Page, tmp_path: Path) -> None:
    """Violations appear while the test runs, with their interval and a counterexample; lua shows none."""
    assert page.locator("select[name=strategy]").input_value() == "naive"
    assert not page.locator("input[name=host]").is_visible()
    page.locator("input[name=size]").fill("1")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("alert").get_by_text("a burst of 1 cannot overlap: its size must be 2 or more").wait_for()
    page.screenshot(path=tmp_path / "refused.png", full_page=True)
    page.locator("input[name=size]").fill("4")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("tab", name="Invariants").click()
    tab = page.locator("#race-invariants")
    tab.get_by_text("two attempts of one user were at work at once").first.wait_for()
    banner = tab.locator(".banner")
    assert "VIOLATED" in banner.inner_text()
    assert "95 % CI" in banner.inner_text()
    tab.locator("svg#story").wait_for()
    assert "GET user" in (tab.locator("svg#story").text_content() or "")
    page.screenshot(path=tmp_path / "violated.png", full_page=True)

    page.get_by_role("tab", name="Failures").click()
    tab.wait_for(state="hidden")
    page.get_by_text("Broken('one at work").first.wait_for()
    edited(page, lambda: page.locator("input[name=userCount]").last.fill("3"))
    page.locator("#race-refused").get_by_text("3 users cannot meet in a burst of 4: raise the users").wait_for()
    edited(page, lambda: page.locator("select[name=strategy]").last.select_option("lua"))  # while the other one runs
    page.get_by_role("tab", name="Invariants").click()
    tab.get_by_role("heading", name="double-submit under lua").wait_for()
    tab.get_by_text("None: no burst of this test broke anything.").wait_for()
    page.wait_for_function(
        "() => Number(document.querySelector('#race-invariants').shadowRoot"
        ".querySelector('.card b').textContent.replace(/,/g, '')) > 40"
    )
    rows = tab.locator("table.tests tbody tr")
    assert [rows.nth(place).locator("th").inner_text() for place in range(2)] == ["lua", "naive"]
    assert "violated" not in rows.nth(0).inner_text()
    assert "violated" in rows.nth(1).inner_text()
    assert tab.locator(".card.bad").count() == 0

    light = tab.evaluate("place => getComputedStyle(place).color")
    page.locator("header button").last.click()  # Locust's own switch of light and dark
    page.wait_for_function("() => document.querySelector('#race-invariants').classList.contains('dark')")
    assert tab.evaluate("place => getComputedStyle(place).color") != light
    page.screenshot(path=tmp_path / "held.png", full_page=True)

    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="New", exact=True).click()
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Stop", exact=True).click()  # before race is ready for it
    page.get_by_role("button", name="New", exact=True).wait_for()
    session.interrupt()
    code, _stdout, stderr = session.ended()
    first, second, _third = Session.kept(tmp_path)
    assert (code, first["strategy"], first["verdict"]) == (0, "naive", "violated")
    assert (second["strategy"], second["violations"]["bursts"]) == ("lua", 0)
    assert stderr.startswith("race: naive: violated, ")
