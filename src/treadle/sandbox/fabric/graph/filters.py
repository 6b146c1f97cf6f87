"""Filters of node and edge tables, on batches of rows. Source: "Graph Model definition", SingleFilter and GroupFilter."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from treadle.sandbox.fabric.graph.model import filter_group

arrow: Final[Any] = pa  # their types are unknown to the checker
compute: Final[Any] = pc

_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "Equal": compute.equal,
    "NotEqual": lambda values, wanted: compute.fill_null(compute.not_equal(values, wanted), fill_value=True),
    "GreaterThan": compute.greater,
    "GreaterThanOrEqual": compute.greater_equal,
    "LessThan": compute.less,
    "LessThanOrEqual": compute.less_equal,
}


def passing(batch: Any, wanted: Mapping[str, Any]) -> Any:
    """For each row whether it passes. A column without a value is no value's equal: it passes NotEqual, and is null for the other comparisons."""
    word, inner = filter_group(wanted)
    if inner is None:
        return _single(batch.column(wanted["columnName"]), wanted["operator"], wanted["value"])
    joined = arrow.array([word == "and"] * batch.num_rows, arrow.bool_())
    for one in inner:
        joined = (compute.and_kleene if word == "and" else compute.or_kleene)(joined, passing(batch, one))
    return joined


def _single(values: Any, operator: str, wanted: Any) -> Any:
    if operator == "Contains":
        return compute.match_substring(_text(values), str(wanted))
    if operator == "In":
        found = compute.is_in(_text(values), value_set=arrow.array([_as_text(one) for one in wanted], arrow.string()))
        return compute.if_else(compute.is_valid(values), found, None)
    try:
        return _COMPARE[operator](values, arrow.scalar(wanted, values.type))
    except (arrow.ArrowInvalid, arrow.ArrowTypeError, arrow.ArrowNotImplementedError):  # a number given as text, or a text as a number
        return _COMPARE[operator](_text(values), _as_text(wanted))


def _text(values: Any) -> Any:
    return values if arrow.types.is_string(values.type) else compute.cast(values, arrow.string())


def _as_text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
