"""Pages as Streamlit's own AppTest runs them: no browser, the real actions, database and sandbox behind them."""

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.surfaces.api.conftest import Service, put_file, running_service, service, working
from treadle.actions.services import Services
from treadle.control.access import Principal, Role, local_principal
from treadle.portal.server import SCRIPT
from treadle.portal.shared import Portal, open_portal

__all__ = ["put_file", "running_service", "service", "working"]

Open = Callable[..., AppTest]


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
    "button",
)


def texts(at: AppTest) -> str:
    """Everything that a page says, tables and buttons included, in one text as a person reads it."""
    elements = [element for kind in KINDS for element in getattr(at, kind)]
    return "\n".join(_text(element) for element in elements).replace("\\", "").replace("\u2060", "")


def _text(element: Any) -> str:
    value = element.value.to_string(max_colwidth=None) if hasattr(element.value, "to_string") else element.value
    return f"{getattr(element, 'label', '')} {value}"
