"""Weekly metrics: one definition, checked against a plain Python one, on Polars and DuckDB; and the file of them."""

import hashlib
from collections import defaultdict
from datetime import UTC, date, timedelta
from decimal import Decimal, localcontext

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.flows.weekly.metrics import METRIC_COLUMNS, weekly_metrics, write_metrics
from treadle.flows.weekly.week import Week

WEEK = Week(date(2019, 12, 2), date(2019, 12, 8))
PURCHASE = frozenset({"purchase"})
EVENTS = {
    "event_time": pl.Datetime("us", "UTC"),
    "event_type": pl.String,
    "price": pl.Decimal(38, 6),
    "user_id": pl.String,
    "batch_week_start": pl.Date,
    "batch_week_end": pl.Date,
}


def make_events(rows):
    """rows: (user_id, event_type, price, µs into the week)."""
    values = [
        (WEEK.opens_at + timedelta(microseconds=offset), kind, None if price is None else Decimal(price), user, WEEK.start, WEEK.end)
        for user, kind, price, offset in rows
    ]
    return pl.DataFrame(values, EVENTS, orient="row")


def expected_metrics(rows, spend_types=PURCHASE):
    """The definition of product.md §2, once more, in plain Python."""
    groups = defaultdict(list)
    for row in rows:
        groups[row[0]].append(row)
    found = []
    for user, events in sorted(groups.items(), key=lambda item: item[0].encode()):
        with localcontext(prec=60):
            spend = sum((Decimal(price) for _, kind, price, _ in events if kind in spend_types and price is not None), Decimal(0))
        tier = "HIGH" if spend >= 5000 else "MEDIUM" if spend >= 1000 else "LOW"
        last = WEEK.opens_at + timedelta(microseconds=max(event[3] for event in events))
        found.append((user, f"{user}_2019-12-02", WEEK.start, WEEK.end, spend, len(events), last, tier))
    return found


def metrics_of(events, spend_types=PURCHASE):
    return weekly_metrics(events.lazy(), WEEK, spend_types).collect(engine="streaming")


users = st.sampled_from(["7", "007", "0", "user", "User", "é", "😀", "a_b", " x", "10", "9"])
prices = (
    st.none() | st.decimals(0, 6000, places=6) | st.sampled_from([Decimal("999.999999"), Decimal(1000), Decimal("0.000001"), Decimal(5000)])
)
rows = st.lists(
    st.tuples(users, st.sampled_from(["purchase", "view", "cart", "Purchase"]), prices, st.integers(0, 7 * 86_400_000_000 - 1)), max_size=60
)


@given(rows, st.sampled_from([PURCHASE, frozenset({"purchase", "cart"}), frozenset({"refund"})]))
def test_the_metrics_are_what_the_definition_says(rows, spend_types):
    assert metrics_of(make_events(rows), spend_types).rows() == expected_metrics(rows, spend_types)


def test_the_types_are_exact():
    schema = metrics_of(make_events([("1", "view", None, 0)])).schema
    assert tuple(schema) == METRIC_COLUMNS
    assert schema["total_spend_week"] == pl.Decimal(38, 6)
    assert schema["activity_count_week"] == pl.Int64
    assert schema["last_activity_time"] == pl.Datetime("us", "UTC")
    assert schema["batch_week_start"] == pl.Date


def test_money_is_not_summed_in_floats():
    rows = [("1", "purchase", "0.1", n) for n in range(10_000)] + [("1", "purchase", "31999999999999999999999999999999.000001", 5)]
    assert metrics_of(make_events(rows))["total_spend_week"].to_list() == [Decimal("32000000000000000000000000000999.000001")]


def test_the_greatest_prices_that_the_contract_allows_can_be_summed(tmp_path):
    greatest = "99999999999999999999.999999"
    make_events([("1", "purchase", greatest, n) for n in range(50_000)]).write_parquet(tmp_path / "events.parquet")
    written = write_metrics(tmp_path / "events.parquet", WEEK, tmp_path / "metrics.parquet", PURCHASE)
    with localcontext(prec=50):
        assert pl.read_parquet(written.path)["total_spend_week"].to_list() == [Decimal(greatest) * 50_000]


@settings(max_examples=20)
@given(rows)
def test_the_same_definition_runs_on_duckdb(rows):
    events = make_events(rows).with_columns(pl.col("event_time").dt.replace_time_zone(None))  # noqa: F841 - DuckDB finds it by its name
    with duckdb.connect() as engine:
        found = weekly_metrics(engine.sql("SELECT * FROM events"), WEEK, PURCHASE).fetchall()
    assert [(*row[:6], row[6].replace(tzinfo=UTC), row[7]) for row in found] == expected_metrics(rows)


@pytest.fixture
def many():
    return make_events(
        [(f"{(n * 7919) % 5003:04}", "purchase" if n % 3 else "view", f"{n % 500}.25" if n % 5 else None, n) for n in range(40_000)]
    )


def test_the_file_has_the_metrics_and_tells_its_hash(tmp_path, many):
    many.write_parquet(tmp_path / "events.parquet")
    written = write_metrics(tmp_path / "events.parquet", WEEK, tmp_path / "work" / "metrics.parquet", PURCHASE)
    assert pl.read_parquet(written.path).equals(metrics_of(many))
    assert (written.rows, written.size_bytes) == (5003, written.path.stat().st_size)
    assert written.sha256 == hashlib.sha256(written.path.read_bytes()).hexdigest()
    assert [path.name for path in written.path.parent.iterdir()] == ["metrics.parquet"]


@pytest.mark.parametrize("events_per_pass", [100, 7_000, 39_999])
def test_the_bytes_do_not_depend_on_the_order_of_events_or_on_the_passes(tmp_path, many, events_per_pass):
    many.write_parquet(tmp_path / "events.parquet")
    whole = write_metrics(tmp_path / "events.parquet", WEEK, tmp_path / "whole.parquet", PURCHASE)
    many.sample(fraction=1, shuffle=True, seed=3).write_parquet(tmp_path / "shuffled.parquet", row_group_size=1_111)
    passes = write_metrics(tmp_path / "shuffled.parquet", WEEK, tmp_path / "passes.parquet", PURCHASE, events_per_pass=events_per_pass)
    assert (passes.sha256, passes.rows) == (whole.sha256, whole.rows)
    assert {path.name for path in tmp_path.iterdir()} == {"events.parquet", "shuffled.parquet", "whole.parquet", "passes.parquet"}


def test_one_customer_with_all_events_needs_no_range_of_customers(tmp_path):
    make_events([("only", "purchase", "1", n) for n in range(1_000)]).write_parquet(tmp_path / "events.parquet")
    written = write_metrics(tmp_path / "events.parquet", WEEK, tmp_path / "metrics.parquet", PURCHASE, events_per_pass=100)
    assert pl.read_parquet(written.path)["total_spend_week"].to_list() == [Decimal(1000)]


def test_a_failure_leaves_the_file_that_was_there(tmp_path, many):
    out = tmp_path / "metrics.parquet"
    many.write_parquet(tmp_path / "events.parquet")
    before = write_metrics(tmp_path / "events.parquet", WEEK, out, PURCHASE)
    greatest = "99999999999999999999999999999999"
    make_events([("1", "purchase", greatest, n) for n in range(3)]).write_parquet(tmp_path / "events.parquet")
    with pytest.raises(pl.exceptions.PolarsError, match="overflow"):
        write_metrics(tmp_path / "events.parquet", WEEK, out, PURCHASE)
    assert hashlib.sha256(out.read_bytes()).hexdigest() == before.sha256
    assert {path.name for path in tmp_path.iterdir()} == {"events.parquet", "metrics.parquet"}


def test_no_events_give_an_empty_file(tmp_path):
    make_events([]).write_parquet(tmp_path / "events.parquet")
    written = write_metrics(tmp_path / "events.parquet", WEEK, tmp_path / "metrics.parquet", PURCHASE)
    assert written.rows == 0
    assert pl.read_parquet(written.path).columns == list(METRIC_COLUMNS)
