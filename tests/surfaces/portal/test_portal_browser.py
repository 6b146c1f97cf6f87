"""The portal in Debian's Chromium, on the real stack: sandbox, PostgreSQL, worker, sign-in."""

import re

import httpx2
import pytest
from playwright.sync_api import expect

from tests.surfaces.portal.browsing import PATIENCE, SAMPLES, expect_said, orders, run_id_of, start_run, upload

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]


def test_one_port_serves_pages_api_and_health(stack):
    with httpx2.Client(base_url=stack.url, trust_env=False) as client:
        assert client.get("/api/health/ready").json()["status"] == "ok"
        assert client.get("/_stcore/health").text == "ok"
        assert client.get("/api/runs").status_code == 401
        page = client.get("/")
        assert "text/html" in page.headers["content-type"]
        assert (page.headers["x-frame-options"], page.headers["x-content-type-options"]) == ("DENY", "nosniff")
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
        font = client.get("/app/static/fonts/inter-latin-wght-normal.woff2")
        assert (font.status_code, font.content[:4]) == (200, b"wOF2")


def test_nothing_is_loaded_from_elsewhere(visit, stack):
    page = visit(None)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert asked
    assert [url for url in asked if not re.match(r"(http|ws)://127\.0\.0\.1:|data:|blob:", url)] == []


@pytest.mark.timeout(420)
def test_an_analyst_does_all_of_the_sales_flow_in_the_browser(visit, stack, tmp_path):
    page = visit("olga", "import")
    first_file = tmp_path / "analyst.xlsx"  # a name that no other test has mapped
    first_file.write_bytes((SAMPLES / "superstore.xlsx").read_bytes())
    upload(page, first_file)
    expect_said(page, "Blocked")  # a worker has looked into it: there is no column revenue
    page.get_by_role("button", name="Use this mapping").click()
    expect(page.get_by_text("Ready").first).to_be_visible()
    start_run(page)
    expect_said(page, "Succeeded")  # without a reload
    first = run_id_of(page)
    page.reload()
    expect_said(page, "Succeeded")
    page.get_by_role("link", name="See the results").click()
    expect_said(page, "2,297,200.86")
    expect_said(page, "5,009")

    page.goto(f"{stack.url}/import")
    upload(page, orders(tmp_path / "orders.csv", 40))
    start_run(page)
    expect_said(page, "Succeeded")
    second = run_id_of(page)

    page.goto(f"{stack.url}/compare?a={first}&b={second}")
    expect_said(page, "revenue fell by 2,296,370.86")

    page.goto(f"{stack.url}/run?run={first}")
    page.get_by_role("button", name="Restore this run").click()
    expect_said(page, "Becomes")
    page.get_by_role("button", name=f"Restore run {first[:8]}").click()
    expect(page).to_have_url(re.compile(r"/monitor\?run="))
    expect_said(page, "Succeeded")
    page.goto(f"{stack.url}/results")
    expect_said(page, "2,297,200.86")

    told = stack.treadle("audit", "ls", "--limit", "50")["entries"]
    assert {"file.upload", "file.map", "run.start", "run.restore"} <= {entry["action"] for entry in told}
    assert {entry["name"] for entry in told if entry["action"].startswith("run.")} == {"olga"}


@pytest.mark.timeout(300)
def test_of_two_who_start_at_once_one_runs_and_the_other_learns_who(visit, stack, tmp_path):
    pages = []
    for user, name in (("olga", "hers.csv"), ("ada", "his.csv")):
        page, file = visit(user, "import"), tmp_path / name
        file.write_text("order_id,revenue\n" + "".join(f"{n},{n}\n" for n in range(1, 20_000)))
        upload(page, file)
        expect(page.get_by_role("button", name="Run pipeline")).to_be_enabled()
        page.get_by_role("button", name="Run pipeline").click()
        expect(page.get_by_role("button", name="Start the run")).to_be_visible()
        pages.append(page)
    for page in pages:
        page.get_by_role("button", name="Start the run").click()
    for _ in range(PATIENCE // 200):
        if any("/monitor?run=" in page.url for page in pages):
            break
        pages[0].wait_for_timeout(200)
    [winner] = [page for page in pages if "/monitor?run=" in page.url]
    [loser] = [page for page in pages if page is not winner]
    expect_said(loser, "was faster")
    assert "/monitor" not in loser.url
    expect_said(winner, "Succeeded")


@pytest.mark.timeout(300)
def test_names_and_values_of_others_are_shown_and_never_run(visit, tmp_path):
    page = visit("olga", "import")
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    file = tmp_path / "x <img src=x onerror=alert(1)> $x$ :red[y] שלום 😀.csv"
    hostile = '"<img src=x onerror=alert(1)>"'
    file.write_text(
        f'order_id,revenue,{hostile},"=1+1",":material/home:"\n' + f'1,2,{hostile},"=HYPERLINK(""x"")","[a](javascript:alert(2))"\n' * 3
    )
    upload(page, file)
    expect(page.get_by_role("button", name="Run pipeline")).to_be_enabled()
    expect_said(page, "<img src=x onerror=alert(1)>")
    start_run(page)
    expect_said(page, "Succeeded")
    page.get_by_role("link", name="See the results").click()
    expect_said(page, "Source")
    assert page.locator("img[src=x]").count() == 0
    assert asked == []
