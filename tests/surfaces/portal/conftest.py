"""Pages as Streamlit's own AppTest runs them, with the real actions, database and sandbox behind them; and as Chromium shows them, on the real stack."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from streamlit.testing.v1 import AppTest

from tests.surfaces.api.conftest import Service, put_file, running_service, service, working
from tests.surfaces.portal.browsing import People, Stack, enter, running_stack
from treadle.actions.services import Services
from treadle.control.access import Principal, Role, local_principal
from treadle.portal.server import SCRIPT
from treadle.portal.shared import Portal, open_portal

__all__ = ["put_file", "running_service", "service", "working"]

Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page under test takes the place of `__main__`, which processes that later tests spawn would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def open_page(service: Service) -> Open:
    """`open_page("monitor", role=Role.VIEWER, run=...)`: the page as that person sees it, after its first run; `.run()` runs it again."""

    def show(
        page: str, *, role: Role | None = Role.OPERATOR, name: str = "olga", services: Services | None = None, **query: str
    ) -> AppTest:
        who = Principal(f"local:{name}", name, None, "local") if role is None else local_principal(name, role)
        open_portal(Portal(services or service.wiring.services, local=who))
        at = AppTest.from_file(SCRIPT, default_timeout=30)
        for key, value in query.items():
            at.query_params[key] = value
        at.switch_page(f"app_pages/{page}.py")
        return at.run()

    return show


KINDS = (
    "title",
    "header",
    "subheader",
    "markdown",
    "caption",
    "text",
    "error",
    "warning",
    "info",
    "success",
    "code",
    "metric",
    "dataframe",
    "table",
    "button",
)


def texts(at: AppTest) -> str:
    """Everything that a page says, tables and buttons included, in one text as a person reads it."""
    elements = [element for kind in KINDS for element in getattr(at, kind)]
    return "\n".join(_text(element) for element in elements).replace("\\", "").replace("\u2060", "")


def _text(element: Any) -> str:
    value = element.value.to_string(max_colwidth=None) if hasattr(element.value, "to_string") else element.value
    return f"{getattr(element, 'label', '')} {value}"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all browser tests of a worker process; who stops a part of it starts it again."""
    with running_stack(tmp_path_factory.mktemp("portal") / "state") as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])


@pytest.fixture(scope="session")
def people(browser: Browser) -> People:
    """Those whom the tests of a worker process lend each other."""
    return People(browser)


@pytest.fixture
def person(people: People) -> Iterator[Callable[..., BrowserContext]]:
    """`person(width=390, scheme="dark")`: a browser for this test alone; when it is over, all pages are closed."""
    yield people.come
    people.leave()


@pytest.fixture
def visit(stack: Stack, person: Callable[..., BrowserContext]) -> Callable[..., Page]:
    """Open the portal in a browser of its own, signed in as one of the sandbox's people; None: not signed in."""

    def open_as(user: str | None = "olga", path: str = "", **looks: Any) -> Page:
        return enter(person(**looks), stack, user, path)

    return open_as
