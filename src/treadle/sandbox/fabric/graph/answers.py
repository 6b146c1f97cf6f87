"""What executeQuery answers: always with HTTP 200, a status in GQL's codes, and a result when there is one. Pure.

Source: "GQL Query API reference" and "GQL status codes reference" of the Fabric documentation; for the members of nodes the example
ExecuteQuery of fabric-rest-api-specs. Members of edges beyond labels, oid and properties, and of a cut result, are not published.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, cast

from treadle.sandbox.fabric.graph.gql.faults import DATA, GqlFault
from treadle.sandbox.fabric.graph.layout import KEY_COLUMN, Layout, NodeLayout

_MEANINGS: Final[Mapping[str, str]] = {
    "00000": "note: successful completion",
    "02000": "note: no data",
    "01000": "warning: the result was cut",
    "22000": "error: data exception",
    "42000": "error: syntax error or access rule violation",
    "42001": "error: syntax error or access rule violation - invalid syntax",
    "G2000": "error: graph type violation",
}
_SAFE_INTEGER: Final = 2**53 - 1  # beyond it, JavaScript cannot hold the number
_JSON_TYPES: Final[Mapping[str, str]] = {
    "STRING": "string",
    "BOOL": "boolean",
    "INT64": "number",
    "UINT64": "number",
    "FLOAT64": "number",
    "ZONED DATETIME": "string",
    "NODE": "object",
    "EDGE": "object",
    "PATH": "array",
    "ANY": "unknown",
}
_TYPES: Final[Mapping[str, str]] = {
    "STRING": "STRING",
    "UUID": "STRING",
    "BOOL": "BOOL",
    "DOUBLE": "FLOAT64",
    "FLOAT": "FLOAT64",
    "NODE": "NODE",
    "REL": "EDGE",
}

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """A column as it was planned – form "value", "path" or "json" – and the engine's type of it."""

    name: str
    form: str
    engine_type: str

    @property
    def gql_type(self) -> str:
        """The type that the answer tells."""
        return {"json": "STRING", "path": "PATH"}.get(self.form) or gql_type(self.engine_type)

    def shown(self) -> dict[str, str]:
        """The column's line of the answer."""
        kind = self.gql_type
        return {"name": self.name, "gqlType": kind, "jsonType": "array" if kind.startswith("LIST<") else _JSON_TYPES[kind]}


def gql_type(engine_type: str) -> str:
    """The engine's type in GQL's words."""
    if engine_type.endswith("[]"):
        return f"LIST<{gql_type(engine_type[:-2])}>"
    if engine_type.startswith(("TIMESTAMP", "DATE")):
        return "ZONED DATETIME"
    if engine_type.startswith("DECIMAL"):
        return "FLOAT64"
    if engine_type.startswith(("INT", "SERIAL")):
        return "INT64"
    return "UINT64" if engine_type.startswith("UINT") else _TYPES.get(engine_type, "ANY")


def status(code: str, words: str | None = None, diagnostics: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A status object; words: what exactly, which goes into its cause."""
    told = {"OPERATION": "query", "OPERATION_CODE": "0", "CURRENT_SCHEMA": "/"}
    made: dict[str, Any] = {"code": code, "description": _MEANINGS[code], "diagnostics": told | dict(diagnostics or {})}
    if words is None:
        return made
    return made | {"cause": {"code": code, "description": f"error: {words}", "diagnostics": told}}


def refusal(fault: GqlFault) -> dict[str, Any]:
    """The answer to a query that cannot be carried out."""
    place = {} if fault.place is None else {"_errorLocation": {"gqlType": "STRING", "value": "line {}, column {}".format(*fault.place)}}
    return {"status": status(fault.code, fault.words, place)}


def engine_fault(message: str) -> GqlFault:
    """What the engine refused, in GQL's codes: what it could not read or bind is 42000, what went wrong while it ran 22000."""
    kind, _, words = message.partition("exception:")
    words = " ".join((words or kind).split())[:1000]
    return GqlFault("42000" if kind.strip() in ("Parser", "Binder", "Catalog", "Connection") else DATA, words)


def write_answer(columns: Sequence[AnswerColumn], rows: Iterable[Sequence[Any]], layout: Layout, limit_bytes: int, marks: Json) -> bytes:
    """The whole answer as JSON. Rows beyond the limit are left out, and the status says so. marks: isOrdered and isDistinct."""
    write = _Writer(layout)
    parts: list[bytes] = []
    size = 0
    cut = False
    for row in rows:
        shown = {column.name: write.cell(value, column) for column, value in zip(columns, row, strict=True)}
        part = json.dumps(shown, ensure_ascii=False, allow_nan=False).encode()
        size += len(part) + 1
        if size > limit_bytes:
            cut = True
            break
        parts.append(part)
    outcome = status("00000" if parts else "02000")
    if cut:
        outcome |= {"additionalStatuses": [status("01000", f"the result is larger than {limit_bytes} bytes")]}
    result = {"kind": "TABLE", "columns": [column.shown() for column in columns], **marks}
    head = json.dumps({"status": outcome, "result": result}, ensure_ascii=False).encode()
    return head[:-2] + b', "data": [' + b",".join(parts) + b"]}}"


class _Writer:
    """Engine values → JSON values."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._names = {
            table: {column.name: name for name, column in one.columns.items()}
            for table, one in (*layout.nodes.items(), *layout.edges.items())
        }

    def cell(self, value: Any, column: AnswerColumn) -> Any:
        """A value as its column shows it."""
        shown = self._path(value) if column.form == "path" and value is not None else self.value(value)
        if column.form == "json":
            return None if shown is None else json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
        return {"gqlType": "ANY" if shown is not None else "NULL", "value": shown} if column.gql_type == "ANY" else shown

    def value(self, value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
        """Any value: numbers that JSON or JavaScript cannot hold are text."""
        match value:
            case None | bool() | str():
                return value
            case int():
                return value if abs(value) <= _SAFE_INTEGER else str(value)
            case Decimal():
                return self.value(int(value)) if value == value.to_integral_value() else float(value)
            case float():
                return _float(value)
            case datetime():
                return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
            case date():
                return value.isoformat()
            case list():
                return [self.value(one) for one in cast("list[Any]", value)]
            case dict():
                return self._element(cast("dict[str, Any]", value))
            case _:
                return str(value)

    def _element(self, value: Mapping[str, Any]) -> Any:
        if "_RELS" in value:
            return [self._element(one) for one in value["_RELS"]]
        if "_LABEL" not in value:
            return {name: self.value(one) for name, one in value.items()}
        table = value["_LABEL"]
        node = self._layout.nodes.get(table)
        labels = node.labels if isinstance(node, NodeLayout) else (self._layout.edges[table].label,)
        properties = {name: self.value(value.get(column)) for column, name in self._names[table].items() if column != KEY_COLUMN}
        made = {"labels": list(labels), "oid": _oid(value["_ID"]), "properties": properties}
        if node is not None:
            return made
        return made | {"sourceOid": _oid(value["_SRC"]), "destinationOid": _oid(value["_DST"])}

    def _path(self, value: Mapping[str, Any]) -> list[Any]:
        """Node, edge, node, edge, … node."""
        return [self._element(one) for one in _alternating(value["_NODES"], value["_RELS"])]


def _alternating(nodes: Sequence[Any], edges: Sequence[Any]) -> Iterator[Any]:
    for place, node in enumerate(nodes):
        yield node
        if place < len(edges):
            yield edges[place]


def _oid(engine_id: Mapping[str, int]) -> str:
    return str((engine_id["table"] + 1 << 48) + engine_id["offset"])


def _float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return "-0" if value == 0 and math.copysign(1, value) < 0 else value
