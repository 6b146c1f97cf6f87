"""The real stack and a person before a browser: what all browser tests of the portal share."""

import json
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import Any

import httpx2
from dotenv import dotenv_values
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from treadle.sandbox.postgres import EmbeddedPostgres

NAMES = {"ada": "Ada (admin)", "olga": "Olga (operator)", "vic": "Vic (viewer)"}
SAMPLES = Path(__file__).parents[3] / "samples"
PATIENCE = 60_000  # milliseconds, with much else on the machine
CLOUDS = ("onelake.*", "fabric.*", "entra.*")  # every operation of the clouds; not those of the sign-in
SIGN_IN_SECONDS = 1800  # for so long, half of its life, a sign-in is used again
FOREIGN = ("TREADLE_", "FABRIC_", "PG_", "API_", "OIDC_")

expect.set_options(timeout=PATIENCE)


@dataclass(frozen=True)
class Stack:
    """What `treadle up` has started, as others find it."""

    state: Path
    url: str
    api: str
    admin: str
    sign_ins: dict[str, tuple[float, Any]] = field(default_factory=dict)  # of a person: when, and the cookies
    runs: list[str] = field(default_factory=list)  # the one that any test may look at

    def treadle(self, *words: str) -> Any:
        """The JSON that a command prints, asked of this stack."""
        told = subprocess.run(
            [sys.executable, "-m", "treadle", *words, "--json"],
            env={**clean_environment(), "TREADLE_STATE": str(self.state), "TREADLE_USER": "olga"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout)

    def succeeded_run(self, file: Path = SAMPLES / "superstore.xlsx", mapping: str | None = "Sales=revenue") -> str:
        """The id of a run that has just succeeded."""
        words = ["run", "start", str(file), *(["--map", mapping] if mapping else []), "--wait"]
        return str(self.treadle(*words)["run_id"])

    def some_run(self) -> str:
        """The id of a run of the superstore that has succeeded, the same for all tests that only look at one; it need not be the newest."""
        if not self.runs:
            self.runs.append(self.succeeded_run())
        return self.runs[0]

    def begun_run(self, file: Path) -> str:
        """The id of a run that has just begun."""
        return str(self.treadle("run", "start", str(file))["run_id"])

    @contextmanager
    def without_database(self) -> Generator[None]:
        """PostgreSQL is stopped without a checkpoint, and started again at the end of the block."""
        postgres = EmbeddedPostgres(self.state / "postgres")
        postgres.stop_immediately()
        try:
            yield
        finally:
            postgres.start()
            postgres.stop()  # leaves it to those who had it before

    @contextmanager
    def clouds_away(self) -> Generator[None]:
        """Each connection to OneLake, Fabric and Entra is cut, until the end of the block."""
        with self.faults({"operation": operation, "kind": "drop_before", "times": None} for operation in CLOUDS):
            yield

    @contextmanager
    def jobs_that_go_on(self) -> Generator[None]:
        """No run comes to an end before the end of the block: Fabric says of every job what it said first."""
        with self.faults([{"operation": "fabric.GetItemJobInstance", "kind": "stale_status", "times": None}]):
            yield

    @contextmanager
    def clock_behind(self, seconds: float) -> Generator[None]:
        """The sandbox's clock, by which a sign-in is issued, is behind until the end of the block."""
        with self._admin() as client:
            client.post("/clock", json={"advance_seconds": -seconds}).raise_for_status()
            try:
                yield
            finally:
                client.post("/clock", json={"reset": True}).raise_for_status()

    @contextmanager
    def faults(self, rules: Iterable[dict[str, Any]]) -> Generator[None]:
        """These faults, and none afterwards."""
        with self._admin() as client:
            client.post("/faults", json=list(rules)).raise_for_status()
            try:
                yield
            finally:
                client.delete("/faults").raise_for_status()

    def _admin(self) -> httpx2.Client:
        trusted = ssl.create_default_context(cafile=str(self.state / "sandbox" / "ca.pem"))
        return httpx2.Client(base_url=self.admin, verify=trusted, timeout=10, trust_env=False)


@contextmanager
def running_stack(state: Path) -> Generator[Stack]:
    """`treadle up` in a process of its own, from the moment when everything answers."""
    with subprocess.Popen(
        [sys.executable, "-m", "treadle", "up", "--headless", "--state", str(state)],
        env=clean_environment(),
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
            yield Stack(state, *(str(values[name]) for name in ("TREADLE_PORTAL_URL", "TREADLE_API_URL", "SANDBOX_ADMIN_URL")))
        finally:
            up.send_signal(signal.SIGINT)
            up.communicate(timeout=60)


def clean_environment() -> dict[str, str]:
    """The environment without what would tell a process of another installation."""
    return {name: value for name, value in environ.items() if not name.startswith(FOREIGN)}


def new_person(browser: Browser, *, width: int = 1440, scheme: str = "light") -> BrowserContext:
    """A browser that nobody has used yet: its pages share a sign-in, and share it with no other's."""
    context = browser.new_context(
        viewport={"width": width, "height": 1000}, color_scheme=scheme, ignore_https_errors=True, timezone_id="Europe/Berlin"
    )
    context.set_default_timeout(PATIENCE)
    return context


class People:
    """Browsers that one test after the other is lent: nobody is signed in, but the portal's scripts are there, which else are read and compiled anew."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[tuple[Any, ...], list[BrowserContext]] = {}
        self._lent: list[tuple[tuple[Any, ...], BrowserContext]] = []

    def come(self, **looks: Any) -> BrowserContext:
        """One that nobody else has now. looks: as for `new_person`."""
        key = tuple(sorted(looks.items()))
        free = self._free.setdefault(key, [])
        self._lent.append((key, free.pop() if free else new_person(self._browser, **looks)))
        return self._lent[-1][1]

    def leave(self) -> None:
        """All pages are closed, and what they kept is taken away."""
        while self._lent:
            key, context = self._lent.pop()
            for page in context.pages:
                with suppress(Error):  # a page that has not come to any address keeps nothing
                    page.evaluate("localStorage.clear()")
                page.close()
            context.clear_cookies()
            self._free[key].append(context)


def enter(context: BrowserContext, stack: Stack, user: str | None, path: str = "") -> Page:
    """A page of the portal as one of the sandbox's people, who need not go through the sign-in each time; None: not signed in."""
    page = context.new_page()
    since, cookies = stack.sign_ins.get(user or "", (float("-inf"), None))
    known = time.monotonic() - since < SIGN_IN_SECONDS
    if known:
        context.add_cookies(cookies)
    page.goto(f"{stack.url}/{path}")
    if user and known:
        expect(page.get_by_text("SANDBOX").first).to_be_visible()
    elif user:
        sign_in(page, user)
        stack.sign_ins[user] = (time.monotonic(), context.cookies(stack.url))
        if path:
            page.goto(f"{stack.url}/{path}")
    return page


def sign_in(page: Page, user: str) -> None:
    """From the page that asks for it, as one of the sandbox's people."""
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=NAMES[user]).click()
    expect(page.get_by_text("SANDBOX").first).to_be_visible()


def upload(page: Page, file: Path) -> None:
    """Bring a file on the page Import."""
    page.locator("input[type=file]").set_input_files(str(file))
    page.get_by_role("button", name=re.compile("^(Upload|Replace the file)$")).click()


def start_run(page: Page) -> None:
    """Run the file that is open, and go where the portal leads."""
    button = page.get_by_role("button", name="Run pipeline")
    expect(button).to_be_enabled()
    button.click()
    page.get_by_role("button", name="Start the run").click()
    expect(page).to_have_url(re.compile(r"/monitor\?run="))


def expect_said(page: Page, text: str | re.Pattern[str]) -> None:
    """Wait until the page says this."""
    expect(page.get_by_text(text).first).to_be_visible()


def expect_drawn(page: Page) -> None:
    """Wait until nothing of the page is still to come, and what is there has its fonts."""
    page.wait_for_function("document.fonts.status === 'loaded'")
    expect(page.locator("[data-testid=stSkeleton]")).to_have_count(0)
    expect(page.locator("[data-testid=stStatusWidget]")).to_have_count(0)
    expect(page.locator("[data-stale=true]")).to_have_count(0)


def expect_no_defect(page: Page) -> None:
    """Nothing of what only a defect shows is on the page."""
    for words in ("This page broke", "Traceback", "psycopg", "httpx2", "ConnectionError"):
        assert page.get_by_text(words).count() == 0, f"the page shows {words!r}"


def run_id_of(page: Page) -> str:
    """The run that the page's address names."""
    return re.findall(r"run=([0-9a-f-]{36})", page.url)[0]


def orders(file: Path, rows: int, *, cents: int = 25) -> Path:
    """A workbook that needs no mapping, whose revenue is known: rows · (rows + 1) / 2 and so many cents for each row."""
    lines = (f"{n:04d},{n}.{cents:02d},{'West' if n % 2 else 'East'}\n" for n in range(1, rows + 1))
    file.write_text("order_id,revenue,region\n" + "".join(lines))
    return file
