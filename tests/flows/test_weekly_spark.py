"""The weekly flow on Spark makes what the embedded engine makes, byte for byte, and sums what plain Python sums. Spark is started once."""

import re
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tests.unit.test_weekly_metrics import PURCHASE, expected_metrics, make_events
from tests.unit.weekly_records import HOSTILE, WEEK, extract_of, record
from treadle.errors import InvalidInput
from treadle.flows.weekly import metrics, transform

pytestmark = pytest.mark.needs("java")
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "weekly_metrics.Notebook" / "notebook-content.py"


@pytest.fixture(scope="module")
def on_spark(tmp_path_factory):
    """The module, with a session whose scratch files go to a folder of the test's."""
    from treadle.flows.weekly import spark  # noqa: PLC0415 - PySpark is not imported where there is no Java

    session = spark.session(scratch=tmp_path_factory.mktemp("spark"))
    yield spark
    session.stop()


def _pages():
    """Ordinary and hostile records, more than a chunk of them; customers come again, with and without purchases."""
    ordinary = [
        record(
            user_id=f'"{number % 4001:04}"',
            price=f'"{number % 700}.{number % 100:02}"',
            event_type='"purchase"' if number % 3 else '"VIEW"',
        )
        for number in range(40_000)
    ]
    pages = [ordinary[at : at + 1000] for at in range(0, len(ordinary), 1000)]
    for number, page in enumerate(pages):
        page[number : number + 10] = HOSTILE[number % len(HOSTILE) :][:10]
    return pages


def test_transform_and_metrics_make_the_same_bytes_as_the_embedded_engine(on_spark, tmp_path):
    extracted = extract_of(tmp_path, _pages())
    told = []
    theirs = on_spark.transform_week(extracted, tmp_path / "spark", on_progress=lambda done, total: told.append((done, total)))
    ours = transform.transform_week(extracted, tmp_path / "embedded")
    assert theirs.rows_rejected > 0
    assert (theirs.events_sha256, theirs.rejects_sha256, theirs.rejects_by_rule) == (
        ours.events_sha256,
        ours.rejects_sha256,
        ours.rejects_by_rule,
    )
    assert theirs.inputs_sha256 == ours.inputs_sha256
    assert told[-1] == (40_000, 40_000)
    summed = on_spark.write_metrics(theirs.events_path, WEEK, tmp_path / "spark" / "metrics.parquet", PURCHASE)
    embedded = metrics.write_metrics(ours.events_path, WEEK, tmp_path / "embedded" / "metrics.parquet", PURCHASE)
    assert pl.read_parquet(summed.path).equals(pl.read_parquet(embedded.path))
    assert (summed.rows, summed.sha256, summed.size_bytes) == (embedded.rows, embedded.sha256, embedded.size_bytes)
    assert not [path for path in (tmp_path / "spark").iterdir() if path.name.startswith(".")]


def test_a_result_that_is_there_is_not_made_again(on_spark, tmp_path):
    extracted = extract_of(tmp_path, [[record(user_id='"1"')] * 40])
    made = on_spark.transform_week(extracted, tmp_path)
    before = made.events_path.stat().st_mtime_ns
    assert on_spark.transform_week(extracted, tmp_path) == made
    assert made.events_path.stat().st_mtime_ns == before


def test_a_batch_of_defects_is_refused_with_its_rejects(on_spark, tmp_path):
    extracted = extract_of(tmp_path, [[record(user_id='"1"')] * 9 + [b"5"]])
    with pytest.raises(InvalidInput, match="batch is refused"):
        on_spark.transform_week(extracted, tmp_path)
    assert pl.read_parquet(tmp_path / "rejects.parquet").height == 1
    assert not (tmp_path / "events.parquet").exists()


def test_metrics_on_spark_are_exact(on_spark, tmp_path):
    """Text keys as they are, in the order of their bytes; sums of money to the last place; a customer without a purchase."""
    last = 7 * 86_400_000_000 - 1
    rows = [("1", "purchase", "0.1", n) for n in range(1_000)] + [("1", "purchase", "31999999999999999999999999999999.000001", last)]
    rows += [
        ("007", "view", "5", 3),
        ("7", "purchase", None, 4),
        ("😀", "purchase", "999.999999", 5),
        ("é", "purchase", "1000", 6),
        (" x", "purchase", "5000", 7),
    ]
    make_events(rows).write_parquet(tmp_path / "events.parquet")
    written = on_spark.write_metrics(tmp_path / "events.parquet", WEEK, tmp_path / "metrics.parquet", PURCHASE)
    found = pl.read_parquet(written.path)
    assert found.rows() == expected_metrics(rows)
    assert found.schema == pl.read_parquet_schema(
        metrics.write_metrics(tmp_path / "events.parquet", WEEK, tmp_path / "ours.parquet", PURCHASE).path
    )


def test_a_sum_beyond_38_digits_fails_on_spark_too(on_spark, tmp_path):
    make_events([("1", "purchase", "9" * 32, n) for n in range(20)]).write_parquet(tmp_path / "events.parquet")
    with pytest.raises(Exception, match=r"ARITHMETIC_OVERFLOW|NUMERIC_VALUE_OUT_OF_RANGE"):
        on_spark.write_metrics(tmp_path / "events.parquet", WEEK, tmp_path / "metrics.parquet", PURCHASE)
    assert {path.name for path in tmp_path.iterdir()} == {"events.parquet"}


def test_the_notebook_for_fabric_runs_as_it_is(on_spark, tmp_path):
    source = tmp_path / "raw_events" / WEEK.folder / "events.parquet"
    source.parent.mkdir(parents=True)
    make_events([("1", "purchase", "12.50", 0), ("2", "view", None, 1)]).write_parquet(source)
    given = {"week_start": str(WEEK.start), "week_end": str(WEEK.end), "base_path": tmp_path.as_uri()}
    code = NOTEBOOK.read_text(encoding="utf-8")
    for name, value in given.items():  # what Fabric does with parameters
        code = re.sub(rf"^{name} = .*$", f"{name} = {value!r}", code, count=1, flags=re.MULTILINE)
    exec(compile(code, str(NOTEBOOK), "exec"), {"spark": on_spark.session()})
    found = pl.read_parquet(f"{tmp_path}/customer_metrics/{WEEK.folder}/part-*.parquet", hive_partitioning=False)
    assert found.select("external_customer_id", "total_spend_week").rows() == [("1", Decimal("12.5")), ("2", Decimal(0))]
