"""What all shapes are made of. Times are UTC; money is rounded to 2 places by whoever computed it."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response

Kpis = Annotated[
    dict[str, Any], Field(description="As in kpis.json.", examples=[{"total_revenue": 2297200.86, "orders": 5009, "aov": 458.61}])
]
RunId = Annotated[UUID, Field(examples=["6c0f7e52-5b1c-4c39-9d3e-0a8b8f6f2d11"])]
Moment = Annotated[datetime, Field(examples=["2026-11-21T10:00:00Z"])]
FileName = Annotated[str, Field(description="A plain name in Files/import/.", examples=["superstore.xlsx"], min_length=1, max_length=255)]
# Bounded, since pydantic looks into a text – it may hold half a character, which nothing can store – only where it has to measure it.
Columns = dict[Annotated[str, Field(max_length=1000)], Annotated[str, Field(min_length=1, max_length=1000)]]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=["0" * 64])]


def _whole(value: Any) -> Any:
    """A decimal without places is a count."""
    return int(value) if isinstance(value, Decimal) and value.is_finite() and int(value.as_tuple().exponent) >= 0 else value


Figure = Annotated[int | float, BeforeValidator(_whole)]


class Shape(BaseModel):
    """Read from our own values by their attributes."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def answer(cls, value: object) -> Response:
        """The value as an answer, made in the thread that has it: FastAPI would take another thread for each half of this."""
        return Response(cls.model_validate(value).model_dump_json() + "\n", media_type="application/json")


class Asked(BaseModel):
    """What a caller sends: a field we do not know is a mistake that should be told."""

    model_config = ConfigDict(extra="forbid")
