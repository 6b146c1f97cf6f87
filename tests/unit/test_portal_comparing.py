from datetime import UTC, datetime, timedelta
from uuid import UUID

from treadle.control.compare import compare_kpis
from treadle.control.run import Run
from treadle.control.states import RunStatus
from treadle.portal import comparing

A = {
    "total_revenue": 1000.0,
    "orders": 10,
    "aov": 100.0,
    "rows_without_revenue": 1,
    "revenue_by_region": {"West": 600, "East": 300, "South": 100},
    "funnel": {"conversion_rate_pct": 3.0, "orders": 10},
}
B = {
    "total_revenue": 1250.5,
    "orders": 10,
    "aov": 90.0,
    "rows_without_revenue": 4,
    "row_count": 12,
    "revenue_by_region": {"West": 500, "East": 550, "North": 200},
    "funnel": {"conversion_rate_pct": 3.5, "orders": 10},
}


def _rows():
    return {row["Figure"]: row for row in comparing.kpi_rows(compare_kpis(A, B))}


def test_a_change_is_told_in_absolute_and_relative_terms_and_whether_it_is_good():
    row = _rows()["Revenue"]
    assert (row["A"], row["B"], row["Change"], row["Relative"]) == ("1,000.00", "1,250.50", "+250.50", "+25.1 %")
    assert row["Direction"] == ["▲ up, better"]


def test_fewer_is_better_where_something_is_missing():
    assert _rows()["Rows without revenue"]["Direction"] == ["▲ up, worse"]
    assert _rows()["Average order value"]["Direction"] == ["▼ down, worse"]


def test_what_stayed_and_what_only_one_run_has_say_so():
    assert (_rows()["Orders"]["Change"], _rows()["Orders"]["Direction"]) == ("0", ["= unchanged"])
    assert (_rows()["Rows"]["A"], _rows()["Rows"]["Change"], _rows()["Rows"]["Direction"]) == ("–", "–", ["only in B"])


def test_the_change_of_a_share_is_in_points_and_a_figure_stands_once():
    assert _rows()["Converting / visitors"]["Change"] == "+0.50 points"
    assert list(_rows()).count("Orders") == 1
    assert list(_rows())[:3] == ["Revenue", "Orders", "Average order value"]


def test_every_direction_has_a_colour():
    found = compare_kpis(A, B)
    assert {word for row in comparing.kpi_rows(found) for word in row["Direction"]} <= comparing.DIRECTIONS.keys()
    assert {part.direction for part in comparing.breakdown_changes(found, "revenue_by_region")} <= comparing.DIRECTIONS.keys()


def test_the_headline_is_one_sentence():
    assert comparing.in_words(compare_kpis(A, B)).replace("\N{NO-BREAK SPACE}", " ") == (
        "From A to B, revenue rose by 250.50 (+25.1 %), orders stayed at 10, average order value fell by 10.00 (-10.0 %)"
        " and rows can only be seen in one of them."
    )
    assert comparing.in_words(compare_kpis({}, {})) == ""


def test_parts_are_sorted_by_the_size_of_their_change_and_what_is_new_or_gone_counts():
    parts = comparing.breakdown_changes(compare_kpis(A, B), "revenue_by_region")
    assert [(part.value, float(part.change), part.direction) for part in parts] == [
        ("East", 250, "▲ up"),
        ("North", 200, "only in B"),
        ("South", -100, "only in A"),
        ("West", -100, "▼ down"),
    ]


def test_the_chart_has_a_bar_for_every_change_and_there_is_none_without_changes():
    parts = comparing.breakdown_changes(compare_kpis(A, B), "revenue_by_region")
    chart = comparing.change_chart(parts)
    assert chart is not None
    assert [(row["value"], row["way"]) for row in chart.to_dict()["data"]["values"]] == [
        ("East", "grew"),
        ("North", "grew"),
        ("South", "shrank"),
        ("West", "shrank"),
    ]
    assert comparing.change_chart(comparing.breakdown_changes(compare_kpis(A, A), "revenue_by_region")) is None


def test_an_unknown_figure_and_breakdown_keep_their_names():
    found = compare_kpis({"late_orders": 1, "revenue_by_sales_rep": {"x": 1}}, {"late_orders": 2})
    assert comparing.kpi_rows(found)[0]["Figure"] == "Late orders"
    assert [comparing.breakdown_label(name) for name in comparing.breakdown_names(found)] == ["Sales rep"]


def _column(name, dtype, null_pct):
    return {"column": name, "dtype": dtype, "null_pct": null_pct}


def test_profiles_differ_by_rows_and_by_columns_gone_new_retyped_or_emptier():
    a = {
        "row_count": 100,
        "schema": [_column("x", "integer", 0.0), _column("gone", "text", 0), _column("y", "money", 5.0), _column("z", "text", 1.0)],
    }
    b = {
        "row_count": 90,
        "schema": [_column("x", "text", 2.5), _column("new", "date", 0), _column("y", "money", 1.0), _column("z", "text", 1.0)],
    }
    found = comparing.profile_differences(a, b)
    assert found.rows_told == "100 rows in A, 90 in B: 10 fewer (-10.0 %)"
    assert [(one.column, one.what, one.a, one.b, one.change) for one in found.columns] == [
        ("gone", "removed", "text", "–", 0.0),
        ("new", "added", "–", "date", 0.0),
        ("x", "retyped", "integer", "text", 0.0),
        ("y", "less empty", "5.00 %", "1.00 %", -4.0),
        ("x", "more empty", "0.00 %", "2.50 %", 2.5),
    ]
    assert {one.what for one in found.columns} == comparing.DIFFERENCES.keys()


def test_a_profile_that_is_not_what_it_should_be_has_nothing_to_say():
    found = comparing.profile_differences(
        {"schema": "none", "row_count": "many"}, {"schema": [1, None, {"dtype": "text"}], "row_count": True}
    )
    assert (found.rows_a, found.rows_b, found.columns) == (None, None, ())


def test_the_facts_of_two_runs_stand_side_by_side_with_what_differs():
    began = datetime(2026, 1, 1, 10, tzinfo=UTC)
    one = Run(UUID(int=1), began, "olga", "a.xlsx", "w", "p", RunStatus.SUCCEEDED, finished_at=began + timedelta(seconds=42))
    other = Run(UUID(int=2), began, "olga", "b.xlsx", "w", "p", RunStatus.SUCCEEDED)
    profile = {"mapping": {"Sales": "revenue"}, "file_size": 2048, "row_count": 3, "sheet": None}
    rows = {row["Fact"]: row for row in comparing.side_by_side(comparing.run_facts(one, profile), comparing.run_facts(other, None))}
    assert (rows["Input"]["A"], rows["Input"]["B"], rows["Input"]["Same"]) == ("a.xlsx", "b.xlsx", "≠")
    assert (rows["Columns mapped"]["A"], rows["Columns mapped"]["B"]) == ("Sales → revenue", "–")
    assert (rows["Duration"]["A"], rows["Duration"]["B"]) == ("42 s", "–")
    assert rows["Started by"]["Same"] == "="
