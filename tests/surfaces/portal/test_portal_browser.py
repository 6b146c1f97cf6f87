"""The portal in Debian's Chromium, on the real stack: sandbox, PostgreSQL, worker, sign-in."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from dotenv import dotenv_values
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]

NAMES = {"ada": "Ada (admin)", "olga": "Olga (operator)", "vic": "Vic (viewer)"}
SAMPLES = Path(__file__).parents[3] / "samples"
PATIENCE = 60_000  # milliseconds, with much else on the machine


@dataclass(frozen=True)
class Stack:
    """What `treadle up` has started, as others find it."""

    state: Path
    url: str
    api: str


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("portal") / "state"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "FABRIC_", "PG_", "API_", "OIDC_"))}
    with subprocess.Popen(
        [sys.executable, "-m", "treadle", "up", "--headless", "--state", str(state)],
        env=clean,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as up:
        pause = threading.Event()
        for _ in range(1800):
            if (state / "treadle.env").exists() or up.poll() is not None:
                break
            pause.wait(0.05)
        values = dotenv_values(state / "treadle.env", interpolate=False)
        try:
            yield Stack(state, str(values["TREADLE_PORTAL_URL"]), str(values["TREADLE_API_URL"]))
        finally:
            up.send_signal(signal.SIGINT)
            up.communicate(timeout=60)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])


@pytest.fixture
def visit(stack: Stack, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open the portal in a browser of its own, signed in as one of the sandbox's people; None: not signed in."""
    opened = []

    def open_as(user: str | None = "olga", path: str = "", *, width: int = 1440, scheme: str = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 1000}, color_scheme=scheme, ignore_https_errors=True, timezone_id="Europe/Berlin"
        )
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{stack.url}/{path}")
        if user:
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("button", name=NAMES[user]).click()
            expect(page.get_by_text("SANDBOX").first).to_be_visible(timeout=PATIENCE)
            if path:
                page.goto(f"{stack.url}/{path}")
        return page

    yield open_as
    for context in opened:
        context.close()


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


def test_nobody_gets_past_the_sign_in_and_signing_out_ends_it(visit, stack):
    page = visit(None, "archive")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_text("Lock free")).not_to_be_visible()
    page = visit("vic")
    expect(page.get_by_text("viewer")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto(f"{stack.url}/monitor")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_nothing_is_loaded_from_elsewhere(visit, stack):
    page = visit(None)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert asked
    assert [url for url in asked if not re.match(r"(http|ws)://127\.0\.0\.1:|data:|blob:", url)] == []


def upload(page: Page, file: Path) -> None:
    page.locator("input[type=file]").set_input_files(str(file))
    page.get_by_role("button", name=re.compile("^(Upload|Replace the file)$")).click()


def start_run(page: Page) -> None:
    button = page.get_by_role("button", name="Run pipeline")
    expect(button).to_be_enabled(timeout=PATIENCE)
    button.click()
    page.get_by_role("button", name="Start the run").click()
    expect(page).to_have_url(re.compile(r"/monitor\?run="), timeout=PATIENCE)


def expect_said(page: Page, text: str) -> None:
    expect(page.get_by_text(text).first).to_be_visible(timeout=PATIENCE)


def run_id_of(page: Page) -> str:
    return re.findall(r"run=([0-9a-f-]{36})", page.url)[0]


@pytest.mark.timeout(420)
def test_an_analyst_does_all_of_the_sales_flow_in_the_browser(visit, stack, tmp_path):
    page = visit("olga", "import")
    upload(page, SAMPLES / "superstore.xlsx")
    expect_said(page, "Blocked")  # a worker has looked into it: there is no column revenue
    page.get_by_role("button", name="Use this mapping").click()
    expect(page.get_by_text("Ready").first).to_be_visible(timeout=PATIENCE)
    start_run(page)
    expect_said(page, "Succeeded")  # without a reload
    first = run_id_of(page)
    page.reload()
    expect_said(page, "Succeeded")
    page.get_by_role("link", name="See the results").click()
    expect_said(page, "2,297,200.86")
    expect_said(page, "5,009")

    page.goto(f"{stack.url}/import")
    second_file = tmp_path / "orders.csv"
    second_file.write_text("order_id,revenue,region\n" + "".join(f"{n:04d},{n}.25,{'West' if n % 2 else 'East'}\n" for n in range(1, 41)))
    upload(page, second_file)
    start_run(page)
    expect_said(page, "Succeeded")
    second = run_id_of(page)

    page.goto(f"{stack.url}/compare?a={first}&b={second}")
    expect_said(page, "revenue fell by 2,296,370.86")

    page.goto(f"{stack.url}/run?run={first}")
    page.get_by_role("button", name="Restore this run").click()
    expect_said(page, "Becomes")
    page.get_by_role("button", name=f"Restore run {first[:8]}").click()
    expect(page).to_have_url(re.compile(r"/monitor\?run="), timeout=PATIENCE)
    expect_said(page, "Succeeded")
    page.goto(f"{stack.url}/results")
    expect_said(page, "2,297,200.86")

    told = audit(stack)
    assert {"file.upload", "file.map", "run.start", "run.restore"} <= {entry["action"] for entry in told}
    assert {entry["name"] for entry in told if entry["action"].startswith("run.")} == {"olga"}


def audit(stack: Stack) -> list[dict[str, str]]:
    listed = subprocess.run(
        [sys.executable, "-m", "treadle", "audit", "ls", "--limit", "50", "--json", "--state", str(stack.state)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(listed.stdout)["entries"]


@pytest.mark.timeout(300)
def test_of_two_who_start_at_once_one_runs_and_the_other_learns_who(visit, stack, tmp_path):
    pages = []
    for user, name in (("olga", "hers.csv"), ("ada", "his.csv")):
        page, file = visit(user, "import"), tmp_path / name
        file.write_text("order_id,revenue\n" + "".join(f"{n},{n}\n" for n in range(1, 20_000)))
        upload(page, file)
        expect(page.get_by_role("button", name="Run pipeline")).to_be_enabled(timeout=PATIENCE)
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


def test_a_viewer_sees_everything_and_can_change_nothing(visit, stack):
    page = visit("vic", "import")
    expect(page.locator("input[type=file]").first).to_be_disabled()
    expect_said(page, "takes the role operator")
    run_id = succeeded_run(stack)
    page = visit("vic", f"run?run={run_id}")
    expect(page.get_by_role("button", name="Restore this run")).to_be_disabled()
    page = visit("olga", f"run?run={run_id}")
    expect(page.get_by_role("button", name="Restore this run")).to_be_enabled()


def succeeded_run(stack: Stack) -> str:
    made = subprocess.run(
        [sys.executable, "-m", "treadle", "run", "start", str(SAMPLES / "superstore.xlsx"), "--map", "Sales=revenue", "--wait", "--json"],
        env={**os.environ, "TREADLE_STATE": str(stack.state)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(made.stdout)["run_id"]


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
    expect(page.get_by_role("button", name="Run pipeline")).to_be_enabled(timeout=PATIENCE)
    expect_said(page, "<img src=x onerror=alert(1)>")
    start_run(page)
    expect_said(page, "Succeeded")
    page.get_by_role("link", name="See the results").click()
    expect_said(page, "Source")
    assert page.locator("img[src=x]").count() == 0
    assert asked == []


def test_keys_alone_lead_to_a_page_and_to_a_button(visit):
    page = visit("olga")
    for _ in range(25):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText").strip().endswith("Monitor"):
            break
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/monitor"), timeout=PATIENCE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_has_a_picture_in_the_manual(visit, stack, scheme, width):
    """The pictures are written where the manual has them when TREADLE_PICTURES is set; else they are only looked at for what must not be there."""
    page = visit("olga", width=width, scheme=scheme)
    for name in ("import", "monitor", "results", "archive"):
        page.goto(f"{stack.url}/{name}")
        expect(page.get_by_role("heading", name=name.capitalize(), exact=True).first).to_be_visible(timeout=PATIENCE)
        expect(page.locator("[data-testid=stSkeleton]")).to_have_count(0, timeout=PATIENCE)
        expect(page.locator("[data-testid=stStatusWidget]")).to_have_count(0, timeout=PATIENCE)
        assert page.get_by_text("This page broke").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is wider than {width} px"
        if folder := os.environ.get("TREADLE_PICTURES"):
            page.screenshot(path=Path(folder) / f"{name}-{scheme}-{width}.png")
