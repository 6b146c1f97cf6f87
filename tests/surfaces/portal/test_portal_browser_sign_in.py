"""Who may see and do what in Chromium, and what becomes of it when a sign-in ends."""

import re
import time
from contextlib import suppress

import pytest
from playwright.sync_api import expect

from tests.surfaces.portal.browsing import expect_said, sign_in

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]

LIFETIME_SECONDS = 3600
LEFT_SECONDS = (12, 40)  # of a sign-in that is about to end: enough for most machines to come to a dialog with it, and for a slow one


def test_nobody_gets_past_the_sign_in_and_signing_out_ends_it(visit, stack):
    page = visit(None, "archive")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_text("Lock free")).not_to_be_visible()
    sign_in(page, "vic")
    expect(page.get_by_text("viewer")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto(f"{stack.url}/monitor")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


@pytest.mark.timeout(240)
def test_signing_out_ends_what_other_tabs_of_the_sign_in_may_do_and_no_other_sign_in(visit, stack):
    run_id, newest = stack.some_run(), newest_run(stack)
    page, elsewhere = visit(None, f"run?run={run_id}"), visit(None, f"run?run={run_id}")
    for opened in (page, elsewhere):  # each through a sign-in of its own
        sign_in(opened, "olga")
    tab = page.context.new_page()
    tab.goto(f"{stack.url}/run?run={run_id}")
    for opened in (tab, elsewhere):
        opened.get_by_role("button", name="Restore this run").click()
        expect(opened.get_by_role("button", name=f"Restore run {run_id[:8]}")).to_be_enabled()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    tab.get_by_role("button", name=f"Restore run {run_id[:8]}").click()
    expect(tab.get_by_role("button", name="Sign in")).to_be_visible()
    assert newest_run(stack) == newest
    elsewhere.get_by_role("button", name=f"Restore run {run_id[:8]}").click()
    expect(elsewhere).to_have_url(re.compile(r"/monitor\?run="))
    expect_said(elsewhere, "Succeeded")


@pytest.mark.timeout(240)
def test_who_stays_longer_than_the_sign_in_holds_is_asked_for_a_new_one_and_has_done_nothing(visit, stack):
    run_id, newest = stack.some_run(), newest_run(stack)
    for seconds in LEFT_SECONDS:
        page = visit(None, f"run?run={run_id}")
        with stack.clock_behind(LIFETIME_SECONDS - seconds):
            sign_in(page, "olga")
        ended = f"Date.now() > {1000 * (time.time() + seconds)}"  # at the latest
        page.get_by_role("button", name=re.compile("^(Restore this run|Sign in)$")).click()
        restore = page.get_by_role("button", name=f"Restore run {run_id[:8]}")
        with suppress(AssertionError):  # it ended before the dialog was there
            expect(restore).to_be_enabled(timeout=seconds * 1000)
            break
    page.wait_for_function(ended)
    restore.click()
    expect_said(page, "Your sign-in has ended")
    assert newest_run(stack) == newest
    sign_in(page, "olga")
    expect(page.get_by_role("heading", name=f"Run {run_id[:8]}")).to_be_visible()


def newest_run(stack) -> str:
    """The run that was started last, restores among them."""
    return stack.treadle("run", "ls", "--limit", "1")["runs"][0]["run_id"]


@pytest.mark.timeout(240)
def test_a_viewer_sees_everything_and_can_change_nothing(visit, stack):
    page = visit("vic", "import")
    expect(page.locator("input[type=file]").first).to_be_disabled()
    expect_said(page, "takes the role operator")
    run_id = stack.some_run()
    page.goto(f"{stack.url}/run?run={run_id}")
    expect(page.get_by_role("button", name="Restore this run")).to_be_disabled()
    page = visit("olga", f"run?run={run_id}")
    expect(page.get_by_role("button", name="Restore this run")).to_be_enabled()
