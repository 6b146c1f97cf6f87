"""How results are written: the tables of a v1 answer and the frames of a v2 answer. Pure.

Sources: "Query/management HTTP response" and "Query V2 HTTP response" of the Kusto REST documentation; recorded answers of azure-kusto-python.
"""

import json
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from treadle.sandbox.kusto.types import TYPES, Column

Json = dict[str, Any]
_DAY_MICROSECONDS: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Result:
    """A table: values as the engine gives them. failure: the OneApiError that cut it short."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    failure: Json | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says of the request beside its result."""

    client_request_id: str
    now: datetime
    seconds: float = 0.0
    activity_id: str = field(default_factory=lambda: str(uuid.uuid4()))


def result_of(*columns: str, rows: Sequence[Sequence[Any]] = ()) -> Result:
    """A result with columns given as `Name:type`, which is string when it is left out."""
    return Result([Column(name, kind or "string") for name, _, kind in (one.partition(":") for one in columns)], rows)


def management_answer(result: Result) -> Json:
    """A management command's answer: one table."""
    return {"Tables": [_table_v1("Table_0", result)]}


def query_answer_v1(result: Result, told: Told) -> Json:
    """A v1 query's answer: the result, its properties, its status and the table of contents."""
    contents = [
        ("QueryResult", "PrimaryResult", ""),
        ("QueryProperties", "@ExtendedProperties", ""),
        ("QueryStatus", "QueryStatus", ""),
    ]
    toc = [(number, kind, name, str(uuid.uuid4()), pretty) for number, (kind, name, pretty) in enumerate(contents)]
    tables = [result, result_of("Value", rows=[[_VISUALIZATION]]), _status_v1(result, told), Result(_TOC, toc)]
    answer: Json = {"Tables": [_table_v1(f"Table_{number}", table) for number, table in enumerate(tables)]}
    return answer | ({"Exceptions": [result.failure["error"]["@message"]]} if result.failure else {})


def query_answer_v2(result: Result, told: Told) -> list[Json]:
    """A v2 query's answer: its frames, not progressive."""
    properties = Result(_PROPERTIES, [(1, "Visualization", json.dumps(_VISUALIZATION))])
    failed = {"OneApiErrors": [result.failure]} if result.failure else {}
    return [
        {"FrameType": "DataSetHeader", "IsProgressive": False, "Version": "v2.0"},
        _frame(0, "QueryProperties", "@ExtendedProperties", properties),
        _frame(1, "PrimaryResult", "PrimaryResult", result),
        _frame(2, "QueryCompletionInformation", "QueryCompletionInformation", _completion(result, told)),
        {"FrameType": "DataSetCompletion", "HasErrors": bool(failed), "Cancelled": False, **failed},
    ]


def _frame(number: int, kind: str, name: str, result: Result) -> Json:
    columns = [{"ColumnName": column.name, "ColumnType": column.type} for column in result.columns]
    rows = _rows(result)
    return {"FrameType": "DataTable", "TableId": number, "TableKind": kind, "TableName": name, "Columns": columns, "Rows": rows}


def _table_v1(name: str, result: Result) -> Json:
    columns = [
        {"ColumnName": column.name, "DataType": TYPES[column.type].data_type, "ColumnType": column.type} for column in result.columns
    ]
    return {"TableName": name, "Columns": columns, "Rows": _rows(result)}


def _rows(result: Result) -> list[Any]:
    shown = [_SHOWN.get(column.type) for column in result.columns]
    rows: list[Any] = [
        [value if show is None or value is None else show(value) for show, value in zip(shown, row, strict=True)] for row in result.rows
    ]
    return [*rows, {"OneApiErrors": [result.failure]}] if result.failure else rows


def datetime_text(value: datetime) -> str:
    """A datetime as Kusto writes it: UTC, with seven digits of a second where there are any."""
    return f"{value:%Y-%m-%dT%H:%M:%S}" + (f".{value.microsecond:06d}0Z" if value.microsecond else "Z")


def timespan_text(value: timedelta) -> str:
    """A timespan as Kusto writes it: [-][d.]hh:mm:ss[.fffffff]."""
    total = round(value / timedelta(microseconds=1))
    days, rest = divmod(abs(total), _DAY_MICROSECONDS)
    seconds, micros = divmod(rest, 1_000_000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (f".{micros:06d}0" if micros else "")
    return ("-" if total < 0 else "") + (f"{days}." if days else "") + clock


def _real(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _dynamic(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


_SHOWN: Final[dict[str, Callable[[Any], Any]]] = {
    "datetime": lambda value: value if isinstance(value, str) else datetime_text(value),
    "timespan": lambda value: value if isinstance(value, str) else timespan_text(value),
    "real": _real,
    "decimal": lambda value: format(value.normalize(), "f") if isinstance(value, Decimal) else str(value),
    "guid": str,
    "dynamic": _dynamic,
}
_VISUALIZATION: Final = json.dumps(
    dict.fromkeys(["Visualization", "Title", "XColumn", "Series", "YColumns", "AnomalyColumns", "XTitle", "YTitle", "XAxis", "YAxis", "Legend", "YSplit"])
    | {"Accumulate": False, "IsQuerySorted": False, "Kind": None, "Ymin": "NaN", "Ymax": "NaN"},
    separators=(",", ":"),
)  # fmt: skip
_PROPERTIES: Final = (Column("TableId", "int"), Column("Key", "string"), Column("Value", "dynamic"))
_TOC: Final = (
    Column("Ordinal", "long"), Column("Kind", "string"), Column("Name", "string"), Column("Id", "string"), Column("PrettyName", "string"),
)  # fmt: skip


def _status_v1(result: Result, told: Told) -> Result:
    columns = ("Timestamp:datetime", "Severity:int", "SeverityName", "StatusCode:int", "StatusDescription", "Count:int", "RequestId:guid",
               "ActivityId:guid", "SubActivityId:guid", "ClientActivityId")  # fmt: skip
    ids = (told.activity_id, told.activity_id, str(uuid.uuid4()), told.client_request_id)
    said = _said(result)
    rows = [
        (told.now, *said[:2], 0 if said[0] > 2 else -2133196797, said[2], 1, *ids),
        (told.now, 6, "Stats", 0, _consumption(result, told), 1, *ids),
    ]
    return result_of(*columns, rows=rows)


def _completion(result: Result, told: Told) -> Result:
    columns = ("Timestamp:datetime", "ClientRequestId", "ActivityId:guid", "SubActivityId:guid", "ParentActivityId:guid", "Level:int",
               "LevelName", "StatusCode:int", "StatusCodeName", "EventType:int", "EventTypeName", "Payload")  # fmt: skip
    ids = (told.now, told.client_request_id, told.activity_id, str(uuid.uuid4()), told.activity_id)
    level, name, text = _said(result)
    payload = json.dumps({"Count": 1, "Text": text}, separators=(",", ":"))
    rows = [
        (*ids, level, name, 0, "S_OK (0)", 4, "QueryInfo", payload),
        (*ids, 6, "Stats", 0, "S_OK (0)", 0, "QueryResourceConsumption", _consumption(result, told)),
    ]
    return result_of(*columns, rows=rows)


def _said(result: Result) -> tuple[int, str, str]:
    return (2, "Error", result.failure["error"]["@message"]) if result.failure else (4, "Info", "Query completed successfully")


def _consumption(result: Result, told: Told) -> str:
    statistics = [{"table_row_count": len(result.rows), "table_size": 0}]
    return json.dumps(
        {"ExecutionTime": round(told.seconds, 7), "resource_usage": {}, "dataset_statistics": statistics}, separators=(",", ":")
    )
