"""The straightforward way to the same files: `json.loads`, one Pydantic model per record, pandas for the Parquet; one process, everything in memory.

Written as the contract reads (product.md §2), with the library's own validators. Unlike ours it keeps a rejected record as it was parsed, not byte for byte.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import zstandard
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from treadle.flows.weekly.week import Week


def _time_text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("event_time must be text")  # noqa: TRY004 - Pydantic collects ValueErrors
    moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))  # noqa: FURB162 - as the contract words it
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _id_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _price_text(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("price must be a number")  # noqa: TRY004 - the same
    if isinstance(value, str):
        return value.strip() or None
    return value


class EventRecord(BaseModel):
    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    event_time: Annotated[datetime, BeforeValidator(_time_text)]
    event_type: str
    product_id: Annotated[str | None, BeforeValidator(_id_text)] = None
    category_id: Annotated[str | None, BeforeValidator(_id_text)] = None
    category_code: str | None = None
    brand: str | None = None
    price: Annotated[Annotated[Decimal, Field(ge=0, max_digits=38, decimal_places=6)] | None, BeforeValidator(_price_text)] = None
    user_id: Annotated[str, BeforeValidator(_id_text), Field(min_length=1)]
    user_session: str | None = None

    @field_validator("event_time")
    @classmethod
    def _within_week(cls, value: datetime, info: ValidationInfo) -> datetime:
        if not info.context.opens_at <= value < info.context.closes_at:
            raise ValueError("outside the week")
        return value

    @field_validator("event_type")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()


def run(pages: Sequence[Path], week: Week, ingested_at: datetime, out: Path) -> None:
    """Judge the records of all pages and write both files."""
    batch = {"batch_week_start": week.start, "batch_week_end": week.end, "ingested_at": ingested_at}
    valid: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    row_index = 0
    for number, path in enumerate(pages, 1):
        for event in json.loads(zstandard.ZstdDecompressor().decompress(path.read_bytes()))["data"]:
            try:
                valid.append(EventRecord.model_validate(event, context=week).model_dump() | batch)
            except ValidationError as error:
                rejected.append({"row_index": row_index, "page": number, **_told(error, event)} | batch)
            row_index += 1
    for name, rows in (("events", valid), ("rejects", rejected)):
        path = out / f"{name}.parquet"
        pd.DataFrame(rows).to_parquet(path, index=False, compression="snappy")
        (out / f"{name}.sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def _told(error: ValidationError, event: Any) -> dict[str, Any]:
    errors = [
        {
            "rule": one["type"],
            "field": ".".join(map(str, one["loc"])),
            "value": str(one["input"]).encode(errors="backslashreplace").decode()[:1000],
            "reason": one["msg"],
        }
        for one in error.errors()
    ]
    return {**errors[0], "errors": errors, "raw_record": json.dumps(event).encode()}
