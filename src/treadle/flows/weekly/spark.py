# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001 - the embedded engine's own steps, carried out in another order of machines
"""The weekly flow's two heavy steps on Spark, for `--engine spark` and for notebooks in Fabric: the same code judges and sums, other machines do it.

`transform_week` and `write_metrics` make the very files that the embedded engine makes, byte for byte. Where there is a session, as in a Fabric
notebook, it is used; otherwise one is started on this machine.
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import polars as pl
from pyspark.sql import SparkSession

from treadle.flows.weekly import transform as embedded
from treadle.flows.weekly.extract import Extracted, PageFile
from treadle.flows.weekly.hashed_parquet import HashedParquet
from treadle.flows.weekly.metrics import METRIC_COLUMNS, MetricsFile, publish_metrics, weekly_metrics
from treadle.flows.weekly.transform import EVENTS_FILE, REJECTS_FILE, Transformed
from treadle.flows.weekly.verdicts import EVENTS, REJECTS, Verdicts
from treadle.flows.weekly.week import Week

_LOCAL: Final = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "4",
    "spark.ui.showConsoleProgress": "false",
}
_EXACT: Final = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # a sum beyond 38 digits fails, where it would otherwise be null
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}


def session(scratch: Path | None = None) -> SparkSession:
    """The session that is active, or a new one on this machine's cores, which listens on 127.0.0.1 only. scratch: where that one keeps its own files."""
    spark: Any = SparkSession.getActiveSession()
    if spark is None:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # or workers would take whatever `python3` is
        builder: Any = SparkSession.builder.master(f"local[{os.cpu_count() or 1}]").appName("treadle")
        places = {"spark.local.dir": str(scratch), "spark.sql.warehouse.dir": str(scratch / "warehouse")} if scratch else {}
        for name, value in {**_LOCAL, **places}.items():
            builder = builder.config(name, value)
        spark = builder.getOrCreate()
    for name, value in _EXACT.items():
        spark.conf.set(name, value)
    return spark


def transform_week(
    extracted: Extracted,
    folder: Path,
    *,
    force: bool = False,
    check: Callable[[], None] = lambda: None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Transformed:
    """As `transform.transform_week`, with the pages judged by Spark's workers, which must see the page files under the same paths.

    The driver takes the verdicts in their order, a few chunks ahead, and writes the files of the week.
    """
    inputs = embedded._inputs_sha256(extracted)
    earlier = None if force else embedded.read_transformed(folder)
    if earlier is not None and earlier.inputs_sha256 == inputs and embedded._is_whole(earlier):
        return earlier
    with (
        embedded._disk_told(folder),
        HashedParquet(folder / EVENTS_FILE, EVENTS, dictionary=embedded._REPEATED, statistics=embedded._SEARCHED) as events,
        HashedParquet(folder / REJECTS_FILE, REJECTS, dictionary=("rule", "field", "reason"), statistics=("row_index",)) as rejects,
    ):
        by_rule: Counter[str] = Counter()
        done = 0
        for chunk in _verdicts_in_order(extracted):
            check()
            events.write(chunk.events)
            rejects.write(chunk.rejects)
            by_rule += chunk.by_rule
            done += chunk.rows
            on_progress(done, extracted.rows_fetched)
        result = embedded._result(extracted, inputs, events.finish(), rejects.finish(), by_rule)
        embedded._publish(result, events, rejects, folder)
    embedded._require_acceptable(result)
    return result


def _verdicts_in_order(extracted: Extracted) -> Generator[Verdicts]:
    """The verdicts on each chunk of pages, in the order of the pages."""
    chunks: list[tuple[int, list[PageFile]]] = list(embedded._chunks(extracted.pages))
    if chunks:
        context: Any = session().sparkContext
        judged = context.parallelize(chunks, len(chunks)).map(partial(_judge, extracted))
        yield from judged.toLocalIterator(prefetchPartitions=True)


def _judge(extracted: Extracted, chunk: tuple[int, list[PageFile]]) -> Verdicts:
    return embedded._verdicts(extracted, *chunk)


def write_metrics(events_path: Path, week: Week, out: Path, spend_types: frozenset[str]) -> MetricsFile:
    """As `metrics.write_metrics`, summed by Spark. Its parts are put together here, in the order of the customers."""
    with _scratch(out) as scratch:
        run_metrics(session(), _on_this_machine(events_path), week, _on_this_machine(scratch), spend_types)
        parts = sorted(scratch.glob("part-*.parquet"))  # Spark numbers them by the ranges that it sorted
        return publish_metrics(pl.scan_parquet(parts).select(METRIC_COLUMNS), out)


def run_metrics(spark: SparkSession, events: str, week: Week, target: str, spend_types: frozenset[str]) -> None:
    """Read a week's events and replace the metrics at `target`, a folder of Parquet files in ascending order of customers; both as Spark names places."""
    for name, value in _EXACT.items():
        spark.conf.set(name, value)
    weekly_metrics(spark.read.parquet(events), week, spend_types).write.mode("overwrite").parquet(target)


def _on_this_machine(path: Path) -> str:
    """A file's name for Spark, as it is: Spark does not read the `%3D` that `as_uri` makes of the `=` in `week_start=2019-12-02`."""
    return f"file://{path.absolute()}"


@contextmanager
def _scratch(out: Path) -> Generator[Path]:
    scratch = out.with_name(f".{out.name}.{uuid4().hex[:12]}.spark.tmp")
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
