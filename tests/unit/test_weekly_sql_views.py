"""The T-SQL views say what `weekly_metrics` and the mapping say: translated by sqlglot, run by DuckDB, compared value by value."""

from datetime import UTC
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
import sqlglot
from hypothesis import given, settings
from sqlglot import exp
from tests.unit.test_weekly_metrics import expected_metrics, make_events, metrics_of, rows

from treadle.flows.weekly.metrics import METRIC_COLUMNS
from treadle.flows.weekly.sync_fields import CUSTOMER_WEEKLY, DescribedField, mapped

SQL = Path(__file__).parents[2] / "sql"
METRICS, EXPORT = "vw_reverse_etl_customer_weekly", "vw_salesforce_customer_weekly_export"


def _statements(name):
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return sqlglot.parse(code.replace("$(events)", "dbo.events").replace("$(spend_types)", "'purchase'"), read="tsql")


def _for_duckdb(name):
    """DuckDB compares text by its bytes, which is what the collation asks SQL Server for."""
    (view,) = _statements(name)
    return view.transform(lambda node: node.this if isinstance(node, exp.Collate) else node).sql(dialect="duckdb")


def _run(events, view):
    naive = events.with_columns(pl.col("event_time").dt.replace_time_zone(None))  # OPENROWSET reads datetime2, which has no zone; it is UTC
    with duckdb.connect() as engine:
        engine.execute("CREATE SCHEMA dbo")
        engine.register("given_events", naive)
        engine.execute("CREATE TABLE dbo.events AS SELECT * FROM given_events")
        engine.execute(_for_duckdb(METRICS))
        engine.execute(_for_duckdb(EXPORT))
        found = engine.sql(f"SELECT * FROM dbo.{view} ORDER BY external_customer_id")
        assert tuple(found.columns) == METRIC_COLUMNS
        return [(*row[:6], row[6].replace(tzinfo=UTC), row[7]) for row in found.fetchall()]


@settings(max_examples=30)
@given(rows)
def test_the_view_of_the_metrics_equals_the_metrics(rows):
    events = make_events(rows)
    assert _run(events, METRICS) == metrics_of(events).rows() == expected_metrics(rows)


@settings(max_examples=30)
@given(rows)
def test_the_view_for_salesforce_equals_the_mapping(rows):
    metrics = metrics_of(make_events(rows))
    money = DescribedField("total_spend_week", "currency", precision=18, scale=2)
    rules = {rule.source: rule for rule in CUSTOMER_WEEKLY.rules}
    sent = metrics.with_columns(
        mapped(rules[name], money, metrics.schema[name]).alias(name) for name in ("total_spend_week", "last_activity_time")
    )
    assert _run(make_events(rows), EXPORT) == sent.select(METRIC_COLUMNS).rows()


@pytest.mark.parametrize(
    ("spend", "shown"), [("0.005", "0.00"), ("0.015", "0.02"), ("0.025", "0.02"), ("0.0251", "0.03"), ("999.995", "1000.00")]
)
def test_half_a_cent_goes_to_the_even_one(spend, shown):
    assert _run(make_events([("1", "purchase", spend, 0)]), EXPORT)[0][4] == Decimal(shown)


@pytest.mark.parametrize("name", [METRICS, EXPORT])
def test_a_script_is_one_view_in_t_sql(name):
    (view,) = _statements(name)
    assert isinstance(view, exp.Create)
    assert view.kind == "VIEW"
    assert "ALTER" in (SQL / f"{name}.sql").read_text(encoding="utf-8")


def test_spend_counts_the_purchase_type_alone():
    assert _run(make_events([("1", "Purchase", "5", 0), ("1", "purchase", "7", 1)]), METRICS)[0][4] == Decimal(7)
