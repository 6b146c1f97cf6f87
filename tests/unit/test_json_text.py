import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.flows.sales.json_text import to_json


def test_decimals_keep_all_their_places():
    assert to_json({"a": Decimal("0.10"), "b": Decimal("123456789012345678901234.57"), "c": Decimal("1E+3")}) == (
        '{\n  "a": 0.10,\n  "b": 123456789012345678901234.57,\n  "c": 1000\n}\n'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), Decimal("NaN"), Decimal("Infinity")])
def test_what_json_has_no_number_for_is_null(value):
    assert to_json([value]) == "[\n  null\n]\n"


def test_dates_times_and_ids_are_text():
    values = [date(2024, 1, 2), datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), UUID(int=1)]
    assert json.loads(to_json(values)) == ["2024-01-02", "2024-01-02T03:04:05+00:00", "00000000-0000-0000-0000-000000000001"]


def test_rows_of_a_list_stand_on_one_line_each_and_keep_their_order():
    assert to_json({"rows": [{"b": 1, "a": None}, {"b": True, "a": "x"}]}) == (
        '{\n  "rows": [\n    {"b": 1, "a": null},\n    {"b": true, "a": "x"}\n  ]\n}\n'
    )


def test_empty_containers_and_nested_ones():
    assert json.loads(to_json({"a": {}, "b": [], "c": [[], [1]], "d": [{}]})) == {"a": {}, "b": [], "c": [[], [1]], "d": [{}]}


def test_a_lone_surrogate_can_be_stored():
    assert json.loads(to_json({"name": "a\ud800"}).encode()) == {"name": "a\ud800"}


def test_an_unknown_kind_is_refused():
    with pytest.raises(TypeError, match="bytes"):
        to_json({"a": b"x"})


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_is_written_is_read_back(value):
    assert json.loads(to_json(value).encode()) == value
