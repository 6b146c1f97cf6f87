"""The portal's addresses in Chromium: reloaded, opened twice, gone back to, and given to somebody who must sign in first."""

import re

import pytest
from playwright.sync_api import expect

from tests.surfaces.portal.browsing import expect_drawn, expect_said, orders, sign_in

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]

# As on a slow line: what the server sends is kept, then handed on piece by piece; what the browser sends is counted.
SLOW_LINE = """(() => {
    const kept = [], real = WebSocket.prototype, onmessage = Object.getOwnPropertyDescriptor(real, 'onmessage'), send = real.send;
    let slow = false;
    Object.defineProperty(real, 'onmessage', {get() { return onmessage.get.call(this); }, set(handler) {
        onmessage.set.call(this, event => slow ? kept.push(() => handler.call(this, event)) : handler.call(this, event)); }});
    real.send = function (data) { window.sent = (window.sent || 0) + 1; return send.call(this, data); };
    window.keepBack = () => { slow = true; window.sent = 0; };
    window.handOn = async () => { while (kept.length) { kept.shift()(); await new Promise(done => setTimeout(done, 15)); } slow = false; };
})()"""


@pytest.mark.timeout(240)
def test_in_the_middle_of_a_run_a_reload_and_a_second_tab_show_it_going_on_and_both_see_its_end(visit, stack, tmp_path):
    with stack.jobs_that_go_on():
        run_id = stack.begun_run(orders(tmp_path / "reloaded.csv", 30))
        page = visit("olga", f"monitor?run={run_id}")
        going_on = page.get_by_role("button", name="Cancel the run")
        expect(going_on).to_be_enabled()
        page.reload()
        expect(going_on).to_be_enabled()
        assert page.url.endswith(f"/monitor?run={run_id}")
        second = page.context.new_page()
        second.goto(page.url)
        expect(second.get_by_role("button", name="Cancel the run")).to_be_enabled()
    for tab in (page, second):
        expect_said(tab, "Succeeded")
        expect_said(tab, "Lock free")
        expect(tab.get_by_role("button", name="Cancel the run")).to_have_count(0)


@pytest.mark.timeout(240)
def test_back_and_forward_lead_through_the_pages_as_they_were(visit, stack):
    run_id = stack.some_run()
    page = visit("vic", "archive")
    expect(page.get_by_role("heading", name="Archive", exact=True)).to_be_visible()
    page.get_by_role("link", name="Monitor").click()
    expect(page.get_by_role("heading", name="Monitor", exact=True)).to_be_visible()
    page.goto(f"{stack.url}/run?run={run_id}")
    page.get_by_test_id("stMain").get_by_role("link", name="Results").click()
    expect(page).to_have_url(re.compile(rf"/results\?run={run_id}"))
    expect(page.get_by_role("heading", name="Results", exact=True)).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name=f"Run {run_id[:8]}")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Monitor", exact=True)).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Archive", exact=True)).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("heading", name="Monitor", exact=True)).to_be_visible()


@pytest.mark.timeout(240)
def test_who_goes_back_to_the_archive_finds_its_filters_and_gets_past_it_by_going_further(visit, stack):
    stack.some_run()
    page = visit("vic", "monitor")
    expect(page.get_by_role("heading", name="Monitor", exact=True)).to_be_visible()
    page.goto(f"{stack.url}/archive?find=superst")
    expect_said(page, "runs that succeeded")
    page.get_by_role("link", name="Results", exact=True).click()
    expect(page.get_by_role("heading", name="Results", exact=True)).to_be_visible()
    page.go_back()
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("superst")
    expect(page).to_have_url(re.compile(r"/archive\?find=superst$"))
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("")
    for _ in range(5):
        expect_drawn(page)
        page.go_back()
        if page.url.endswith("/monitor"):
            return
    pytest.fail(f"the way back ends at {page.url}")


@pytest.mark.timeout(240)
def test_who_signs_in_at_a_link_comes_to_what_it_names(visit, stack):
    run_id = stack.some_run()
    page = visit(None, f"run?run={run_id}")
    sign_in(page, "vic")
    expect(page).to_have_url(f"{stack.url}/run?run={run_id}")
    expect(page.get_by_role("heading", name=f"Run {run_id[:8]}")).to_be_visible()


@pytest.mark.timeout(240)
def test_a_timer_of_the_page_that_is_left_does_not_empty_the_page_that_comes(visit, stack, tmp_path):
    """The archive leads to the comparison, and a timer of its frame fires before the browser has heard of that."""
    stack.succeeded_run(orders(tmp_path / "first.csv", 20), mapping=None)
    stack.succeeded_run(orders(tmp_path / "second.csv", 30), mapping=None)
    with stack.jobs_that_go_on():
        stack.begun_run(orders(tmp_path / "third.csv", 40))
        page = visit("olga")
        page.add_init_script(SLOW_LINE)
        page.goto(f"{stack.url}/archive")
        expect_said(page, "runs that succeeded")
        expect_drawn(page)
        page.get_by_role("button", name="Fullscreen: Runs, newest first").focus()
        for key in ("Tab", "ArrowDown", "Shift+Space", "ArrowDown", "Shift+Space"):  # the run that goes on is the first
            page.keyboard.press(key)
        expect_said(page, "2 runs are ticked")
        expect_drawn(page)
        page.evaluate("keepBack()")
        page.get_by_role("button", name="Compare", exact=True).click()
        page.wait_for_function("sent >= 2")  # the click, and the timer
        page.evaluate("handOn()")
        expect(page.get_by_role("heading", name="Compare", exact=True)).to_be_visible()
        expect_said(page, "Open B")
    expect_said(page, "Lock free")


@pytest.mark.timeout(240)
def test_every_tab_of_a_file_that_is_clicked_stays_open_and_a_reload_opens_it_again(visit, stack):
    stack.some_run()
    page = visit("vic", "archive")
    page.goto(f"{stack.url}/import?file=superstore.xlsx&tab=Sample")
    expect(page.get_by_role("tab", name="Sample", exact=True)).to_have_attribute("aria-selected", "true")
    for name in ("Mapping", "Changes", "Sample", "Columns") * 2:
        page.get_by_role("tab", name=name, exact=True).click()
        expect(page).to_have_url(re.compile(rf"tab={name}"))
        expect_drawn(page)
        expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Mapping", exact=True).click()
    expect(page).to_have_url(re.compile(r"tab=Mapping"))
    page.reload()
    expect(page.get_by_role("tab", name="Mapping", exact=True)).to_have_attribute("aria-selected", "true")
