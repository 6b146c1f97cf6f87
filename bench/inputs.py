"""Inputs of the sales benchmark: 15 columns, orders of one to three lines, the same rows in every format."""

from pathlib import Path

import numpy as np
import polars as pl

from treadle.flows.sales.sheet_writer import write_workbook

SEED = 7
WORDS = ("steel", "oak", "linen", "glass", "paper", "copper", "wool", "cork")


def make_input(path: Path, rows: int) -> None:
    """Write the table of `rows` rows to the path, in the format of its extension; a file that is there stays."""
    if path.exists():
        return
    temporary = path.with_name(f"part-{path.name}")
    frame = _table(rows)
    if path.suffix == ".parquet":
        frame.sink_parquet(temporary)
    elif path.suffix == ".csv":
        frame.sink_csv(temporary)
    else:
        table = frame.collect()
        write_workbook(temporary, table.columns, table.iter_rows())
    temporary.replace(path)


def _table(rows: int) -> pl.LazyFrame:
    random = np.random.default_rng(SEED)
    lines = np.cumsum(random.integers(0, 3, rows) > 0)  # two of three lines begin a new order
    cents = random.integers(100, 90_000, rows)
    quantity = random.integers(1, 12, rows)
    numbers = pl.LazyFrame(
        {
            "order": lines.astype(np.int32),
            "day": random.integers(0, 730, rows).astype(np.int32)[lines],
            "channel": random.integers(0, 4, rows).astype(np.int8),
            "region": random.integers(0, 6, rows).astype(np.int8),
            "product_category": random.integers(0, 9, rows).astype(np.int8),
            "customer": (200_000 * random.random(rows) ** 2).astype(np.int32),
            "quantity": quantity,
            "cents": cents,
            "discount": random.integers(0, 20, rows) / 100,
            "payment": random.integers(0, 5, rows).astype(np.int8),
            "city": random.integers(0, 400, rows).astype(np.int16),
            "first_word": random.integers(0, len(WORDS), rows).astype(np.int8),
            "second_word": random.integers(0, len(WORDS), rows).astype(np.int8),
        }
    )
    words = pl.Series(WORDS)
    return numbers.select(
        order_id="SO-" + pl.col("order").cast(pl.String).str.zfill(9),
        order_date=pl.date(2024, 1, 1) + pl.duration(days="day"),
        channel="channel " + pl.col("channel").cast(pl.String),
        region=pl.when(pl.col("region") > 0).then("region " + pl.col("region").cast(pl.String)),
        product_category="category " + pl.col("product_category").cast(pl.String),
        customer="Customer " + pl.col("customer").cast(pl.String).str.zfill(6),
        quantity="quantity",
        unit_price=pl.col("cents") / 100,
        discount="discount",
        revenue=(pl.col("cents") * pl.col("quantity")) / 100,
        payment="payment " + pl.col("payment").cast(pl.String),
        city="City " + pl.col("city").cast(pl.String),
        note=pl.lit(words).implode().list.get(pl.col("first_word")) + " " + pl.lit(words).implode().list.get(pl.col("second_word")),
        total_visitors=pl.lit(1_428_571),
        converting_visitors=pl.lit(49_080),
    )
