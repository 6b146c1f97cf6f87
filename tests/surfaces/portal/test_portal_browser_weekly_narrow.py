"""Weekly in a hand and on a desk: what the page has to tell is in the window, and the questions tell all of it."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.surfaces.portal.browsing import expect_drawn, expect_no_defect, expect_said
from tests.surfaces.portal.test_portal_browser_pictures import look_at_both

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]

FIRST, REJECTS = "2019-12-02", "2019-12-09"


@pytest.fixture(scope="module")
def two_weeks(stack) -> str:
    """The second of them has rejects; its run."""
    stack.treadle("weekly", "run", "--week-start", FIRST)
    return str(stack.treadle("weekly", "run", "--week-start", REJECTS)["run_id"])


def look(page: Page, name: str) -> None:
    """Take a picture where somebody wants to look."""
    expect_drawn(page)
    expect_no_defect(page)
    if folder := os.environ.get("TREADLE_LOOK"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def cut(place: Locator) -> list[str]:
    """Texts below this place that are wider than the room that they have."""
    return place.evaluate(
        "place => [...place.querySelectorAll('p, td, th')].filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.textContent)"
    )


@pytest.mark.timeout(240)
def test_a_narrow_window_shows_messages_whole_and_rejects_with_number_and_reason(visit, stack, two_weeks):
    page = visit("olga", f"weekly?run={two_weeks}", width=390)
    page.set_viewport_size({"width": 390, "height": 2800})  # what is out of sight is not drawn
    expect_said(page, "The checkpoint is past")
    trail = page.get_by_test_id("stMarkdown").filter(has_text="The checkpoint is past")
    look(page, "runs-390")
    assert cut(trail) == []
    box = trail.bounding_box()
    assert box
    assert box["x"] + box["width"] <= 390
    page.goto(f"{stack.url}/weekly?week={REJECTS}&view=Rejects")
    expect_said(page, "140 events were rejected")
    look(page, "rejects-390")
    heads = page.get_by_test_id("stDataFrame").first.locator("[role=columnheader]")
    expect(heads.nth(0)).to_have_text("Events")
    expect(heads.nth(1)).to_have_text("Why")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("width", [1440, 390])
def test_a_question_tells_all_that_will_happen(visit, stack, two_weeks, width):
    page = visit("olga", f"weekly?week={REJECTS}", width=width)
    expect_said(page, "Stages")
    look_at_both(page, "weekly", width)
    for button, said in (("Run a week", "6,250 events"), ("Backfill", "it was never run")):
        page.get_by_role("button", name=re.compile(f"{button}$")).click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text(said).first).to_be_visible()
        look(page, f"{button.replace(' ', '-').lower()}-{width}")
        assert cut(dialog) == []
        table = dialog.get_by_role("table").bounding_box()
        assert table
        assert table["x"] + table["width"] <= width
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
