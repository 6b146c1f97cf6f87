"""The whole story in Chromium by somebody who has no mouse: Tab, Enter, Space and the arrows."""

import re

import pytest
from playwright.sync_api import ElementHandle, Page, expect

from tests.surfaces.portal.browsing import NAMES, SAMPLES, expect_drawn, expect_said, orders, run_id_of

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]

MOST_TABS = 150  # between any two things on a page
SCROLLED = "['BODY', 'MAIN', 'SECTION'].includes(e.tagName)"  # by the arrows; nothing to press
NAME = f"e => {SCROLLED} ? '' : (e.getAttribute('aria-label') || e.innerText || e.value || '').split('\\n').pop().trim()"  # its icon stands above
LOOKS = """async e => { await Promise.all(document.getAnimations().filter(a => a instanceof CSSTransition).map(a => a.finished.catch(() => 0)));
    const looks = []; for (let n = e; n && looks.length < 5; n = n.parentElement) { const s = getComputedStyle(n);
    looks.push([s.outline, s.boxShadow, s.borderColor, s.backgroundColor].join()); } return looks; }"""  # its own, or those of a frame around it
SHOWS_OTHERWISE = f"e => {SCROLLED} || e.closest('canvas') !== null"  # a table draws its cells itself; inside are those for who listens
WATCH_FOR_A_MOUSE = "addEventListener('pointerdown', () => { document.title = 'a mouse was used'; window.mouseUsed = true; }, true)"


@pytest.mark.timeout(300)
def test_the_whole_story_can_be_done_by_keys_alone(visit, stack, tmp_path):
    stack.succeeded_run(orders(tmp_path / "before.csv", 40), mapping=None)
    file = tmp_path / "by_keys.xlsx"
    file.write_bytes((SAMPLES / "superstore.xlsx").read_bytes())
    page = visit(None, "import")
    page.add_init_script(WATCH_FOR_A_MOUSE)
    press(page, "Sign in")
    expect(page.get_by_role("button", name=NAMES["olga"])).to_be_visible()
    press(page, NAMES["olga"])
    expect_said(page, "SANDBOX")

    with page.expect_file_chooser() as chosen:
        press(page, "Upload")
    chosen.value.set_files(file)
    expect_said(page, "Name in the lake")
    press(page, "Upload")
    expect_said(page, "Blocked")
    press(page, "Use this mapping")
    expect(page.get_by_role("button", name="Use this mapping")).to_have_count(0)
    expect(page.get_by_role("button", name="Run pipeline")).to_be_enabled()
    press(page, "Run pipeline")
    press(page, "Start the run")
    expect(page).to_have_url(re.compile(r"/monitor\?run="))
    expect_said(page, "Succeeded")
    run_id = run_id_of(page)
    press(page, "See the results")
    expect_said(page, "2,297,200.86")

    press(page, "Archive")
    expect(page.get_by_text("Click the id of a run").first).to_be_visible()
    expect_drawn(page)
    tab_to(page, "Fullscreen: Runs, newest first")
    for key in ("Tab", "Shift+Space", "ArrowDown", "Shift+Space"):
        page.keyboard.press(key)
    expect_said(page, "2 runs are ticked")
    press(page, "Compare")
    expect_said(page, "revenue rose by")
    press(page, "Open B")
    expect(page.get_by_role("heading", name=f"Run {run_id[:8]}")).to_be_visible()
    press(page, "Restore this run")
    expect(page.get_by_role("button", name=f"Restore run {run_id[:8]}")).to_be_enabled()
    press(page, f"Restore run {run_id[:8]}")
    expect(page).to_have_url(re.compile(r"/monitor\?run="))
    expect_said(page, "Succeeded")
    assert not page.evaluate("window.mouseUsed")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("address", ["import", "archive"])
def test_everything_that_tab_leads_to_shows_that_it_has_the_focus_and_no_part_keeps_it(visit, stack, address):
    stack.some_run()
    page = visit("olga", address)
    expect(page.get_by_role("heading", name=address.capitalize(), exact=True)).to_be_visible()
    expect_drawn(page)
    walked, hidden = [], []
    before = None
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        here = focused(page)
        if before and before[0].evaluate(LOOKS) == before[1] and not before[0].evaluate(SHOWS_OTHERWISE):
            hidden.append(before[2])
        before = (here, here.evaluate(LOOKS), here.evaluate(NAME))
        walked.append(before[2])
        if walked.count("Skip to main content") == 2:
            break
    assert hidden == []
    assert walked.count("Skip to main content") == 2, f"a part of the page keeps the focus: {walked[-5:]}"
    assert {"Import", "Monitor", "Results", "Archive", "Sign out"} <= set(walked)


def press(page: Page, name: str) -> None:
    """Go to what has this name, and press Enter."""
    tab_to(page, name)
    page.keyboard.press("Enter")


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus has this name; somebody without a mouse can do no more."""
    expect_drawn(page)
    met = []
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        met.append(focused(page).evaluate(NAME))
        if met[-1] == name:
            return
    pytest.fail(f"{name!r} is not reached by Tab; met were {list(dict.fromkeys(met))}")


def focused(page: Page) -> ElementHandle:
    """What the keys go to."""
    element = page.evaluate_handle("document.activeElement").as_element()
    assert element
    return element
