"""The portal in Chromium while a system behind it is away: it says which one, goes on with the rest, and lives again by itself."""

import re

import pytest
from playwright.sync_api import expect

from tests.surfaces.portal.browsing import expect_drawn, expect_no_defect, expect_said, orders

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]

DATABASE_AWAY = re.compile("(database|PostgreSQL)", re.IGNORECASE)


@pytest.mark.timeout(300)
def test_a_database_that_goes_and_comes_is_told_and_the_end_of_the_run_is_seen_without_a_reload(visit, stack, tmp_path):
    with stack.jobs_that_go_on():
        run_id = stack.begun_run(orders(tmp_path / "database.csv", 40))
        monitor = visit("olga", f"monitor?run={run_id}")
        archive = monitor.context.new_page()
        archive.goto(f"{stack.url}/archive")
        expect(archive.get_by_text("Runs", exact=True).first).to_be_visible()
        expect(monitor.get_by_role("button", name="Cancel the run")).to_be_visible()
        expect_drawn(archive)
        with stack.without_database():
            archive.get_by_text("Restores", exact=True).last.click()  # the switch of the filters: the page asks again
            for page in (monitor, archive):
                expect(page.get_by_test_id("stAlert").filter(has_text=DATABASE_AWAY).first).to_be_visible()
                expect(page.get_by_text("SANDBOX").first).to_be_visible()
                expect_said(page, "Lock unknown")
                expect_no_defect(page)
    for page in (monitor, archive):
        expect_said(page, "Lock free")
    expect_said(monitor, "Succeeded")
    archive.get_by_role("button", name="Try again").click()
    expect(archive.get_by_test_id("stDataFrame").first).to_be_visible()
    for page in (monitor, archive):
        expect(page.get_by_test_id("stAlert")).to_have_count(0)


@pytest.mark.timeout(300)
def test_a_page_that_is_opened_while_the_database_is_away_comes_to_life_by_one_press(visit, stack):
    run_id = stack.some_run()
    first = visit("vic", "archive")
    pages = {name: first if name == "archive" else first.context.new_page() for name in ("archive", "monitor", "run", "import")}
    with stack.without_database():
        for name, page in pages.items():
            page.goto(f"{stack.url}/{name}?run={run_id}")
        for page in pages.values():
            expect(page.get_by_test_id("stAlert").filter(has_text=DATABASE_AWAY).first).to_be_visible()
            expect_no_defect(page)
    alive = {"archive": "runs that succeeded", "monitor": "Succeeded", "run": "Succeeded", "import": "Bring a file"}
    for name, page in pages.items():
        page.get_by_role("button", name="Try again").first.click()
        expect_said(page, alive[name])
        expect(page.get_by_test_id("stAlert")).to_have_count(0)


@pytest.mark.timeout(300)
def test_while_the_clouds_are_away_import_says_so_and_the_database_serves_the_rest(visit, stack):
    run_id = stack.some_run()
    page = visit("olga", "import")
    expect_said(page, "Bring a file")
    other = page.context.new_page()
    with stack.clouds_away():
        page.get_by_role("button", name="Refresh").click()
        other.goto(f"{stack.url}/archive")
        expect(other.get_by_test_id("stDataFrame").first).to_be_visible()
        expect(other.get_by_test_id("stAlert")).to_have_count(0)
        other.goto(f"{stack.url}/monitor?run={run_id}")
        expect_said(other, "Succeeded")
        expect_said(other, "Events")
        expect(other.get_by_test_id("stAlert")).to_have_count(0)
        expect(page.get_by_test_id("stAlert").first).to_contain_text("OneLake")
        expect_no_defect(page)
        expect_said(page, "Lock free")
    page.get_by_role("button", name="Try again").click()
    expect_said(page, "Bring a file")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
