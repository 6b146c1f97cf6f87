"""The one form of JSON that every answer has: times in UTC with a Z, and a new line at the end, which a terminal needs and nobody else minds."""

import re
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import JSONResponse

_UTC_OFFSET: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)\+00:00")


class Json(JSONResponse):
    """A JSON answer that ends with its line."""

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        return super().render(content) + b"\n"


def utc_text(moment: datetime) -> str:
    """A moment as all answers write it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def same_form(text: str) -> str:
    """A moment that was made a text elsewhere, as all answers write it; any other text as it is."""
    found = _UTC_OFFSET.fullmatch(text)
    return f"{found[1]}Z" if found else text
