"""Posts one OpenLineage event. Source: https://openlineage.io/apidocs/openapi/ (POST /api/v1/lineage)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx2

from treadle.clients.deadline import within
from treadle.clients.sockets import trusting
from treadle.errors import Unavailable, UnexpectedAnswer

PATH: Final = "/api/v1/lineage"
DEADLINE_SECONDS: Final = 5.0  # a run waits for it


def post_lineage(url: str, event: Mapping[str, Any], *, api_key: str | None = None, ca_file: Path | None = None) -> None:
    """Send one event, once. url: of the service, without the path.

    Raises:
        Unavailable: it cannot be reached. UnexpectedAnswer: it refused the event.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with (
            within(DEADLINE_SECONDS),
            httpx2.Client(verify=trusting(ca_file), timeout=DEADLINE_SECONDS, follow_redirects=False, trust_env=False) as client,
        ):
            answer = client.post(f"{url}{PATH}", json=dict(event), headers=headers)
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise Unavailable(f"The lineage service cannot be reached: {type(error).__name__}.", hint="Check OPENLINEAGE_URL.") from error
    if not answer.is_success:
        raise UnexpectedAnswer(
            f"The lineage service answered {answer.status_code}.",
            hint="Check OPENLINEAGE_URL and OPENLINEAGE_API_KEY.",
            details={"status": answer.status_code},
        )
