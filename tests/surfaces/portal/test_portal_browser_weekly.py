"""Weekly in Debian's Chromium, on the real stack: worker, events API, lake and Salesforce of the sandbox."""

import re
import ssl
from collections.abc import Generator
from contextlib import contextmanager

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.surfaces.portal.browsing import Stack, expect_drawn, expect_no_defect, expect_said
from tests.surfaces.portal.test_portal_browser_pictures import look_at

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]

NEEDS_APPROVAL = {
    "field": "Total_Spend_Week__c",
    "above": 2_000,
    "message": "Spend above 2,000 needs approval <img src=x onerror=alert(1)>",
}


@contextmanager
def approval_needed(stack: Stack) -> Generator[None]:
    """Salesforce refuses high spends, until the end of the block."""
    trusted = ssl.create_default_context(cafile=str(stack.state / "sandbox" / "ca.pem"))
    with httpx2.Client(base_url=stack.admin, verify=trusted, timeout=10, trust_env=False) as client:
        client.post("/salesforce", json={"options": {"validation_rules": [NEEDS_APPROVAL]}}).raise_for_status()
        try:
            yield
        finally:
            client.post("/salesforce", json={"options": {"validation_rules": []}}).raise_for_status()


@pytest.fixture(scope="module")
def first_week(stack: Stack) -> str:
    """The run of the first week, which is done; the one that comes next has rejects."""
    return str(stack.treadle("weekly", "run", "--week-start", "2019-12-02")["run_id"])


def view(page: Page, name: str) -> None:
    """Go to one of the four views of the week."""
    page.get_by_role("radio", name=name, exact=True).click()


@pytest.mark.timeout(420)
def test_an_operator_runs_a_week_and_sees_to_what_was_refused(visit, stack, first_week):
    page = visit("olga", "weekly")
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    expect_said(page, "2 – 8 Dec 2019")
    with approval_needed(stack):
        page.get_by_role("button", name="Run the next week").click()
        page.get_by_role("button", name="Run 9 – 15 Dec 2019").click()
        expect_said(page, "Run of 9 – 15 Dec 2019")
        expect_said(page, re.compile(r"\d+ created, \d+ refused"))  # without a reload
    expect_said(page, re.compile("Success with rejects.* 1"))
    expect(page.get_by_role("button", name="Run the next week")).to_be_enabled()
    expect_drawn(page)

    view(page, "Rejects")
    expect_said(page, "140 events were rejected")
    look_at(page, "weekly-rejects-light-1440")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    rows = download.value.path().read_text(encoding="utf-8-sig").splitlines()
    assert "raw_record" in rows[0]
    assert len(rows) > 140
    page.get_by_test_id("stDataFrame").nth(1).click(position={"x": 16, "y": 52})  # the box of the first record
    expect(page.get_by_role("heading", name="Record")).to_be_visible()
    expect(page).to_have_url(re.compile(r"record=\d+"))

    view(page, "Plan")
    page.get_by_role("button", name="Work out the plan").click()
    expect_said(page, "Worked out at")

    view(page, "Salesforce")
    page.get_by_role("button", name="Retry refused rows").click()
    expect_said(page, "Those alone")
    page.get_by_role("button", name=re.compile("^Send ")).click()
    expect_said(page, "No row of this week is refused")
    expect_said(page, "Refused rows of 9 – 15 Dec 2019")
    expect_no_defect(page)
    assert alerts == []


@pytest.mark.timeout(120)
def test_a_click_in_the_calendar_opens_its_week_and_the_address_can_be_passed_on(visit, stack, first_week):
    page = visit("vic", f"weekly?run={first_week}")
    expect_said(page, first_week)
    expect(page.get_by_role("button", name="Run the next week")).to_be_disabled()
    expect_said(page, "takes the role operator")
    page.goto(f"{stack.url}/weekly?week=2019-11-25")
    expect_said(page, "No run of this week")
    expect_drawn(page)
    page.get_by_test_id("stVegaLiteChart").get_by_text("2 Dec", exact=True).click(force=True)  # the cell lies below the text
    expect(page).to_have_url(re.compile("week=2019-12-02"))
    expect_said(page, first_week)
