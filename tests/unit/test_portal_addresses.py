"""One port for pages and API: which of the two an address leads to."""

import asyncio
from typing import Any

import pytest

from treadle.portal.server import PortalApp


@pytest.mark.parametrize(
    ("path", "side"),
    [
        ("/api", "api"),
        ("/api/runs", "api"),
        ("/metrics", "api"),
        ("/query/graph", "api"),
        ("/query/docs/scenarios/telco-noc", "api"),
        ("/query/fabric/connections", "api"),
        ("/", "pages"),
        ("/scenarios", "pages"),
        ("/query", "pages"),
        ("/queries/graph", "pages"),
        ("/apis", "pages"),
    ],
)
def test_what_programs_ask_for_goes_to_the_api_and_the_rest_to_the_pages(path: str, side: str):
    reached: list[str] = []

    def app(name: str) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            reached.append(name)

        return serve

    asyncio.run(PortalApp(app("pages"), app("api"))({"type": "http", "path": path}, None, None))  # type: ignore[arg-type]
    assert reached == [side]
