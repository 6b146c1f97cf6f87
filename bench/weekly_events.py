"""An extract for the benchmark of the weekly transform: pages of events as the API sends them, 1 % of them bad in every way, and 1 % valid in an unusual form."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl

from treadle.flows.weekly.extract import Extracted, PageFile
from treadle.flows.weekly.page_files import path_of, write_page
from treadle.flows.weekly.week import Week

SEED = 7
WEEK = Week(date(2019, 12, 2), date(2019, 12, 8))
INGESTED_AT = datetime(2019, 12, 9, 5, 30, tzinfo=UTC)
PAGE_ROWS = 1000
BAD = ODD = 0.01
_AT_ONCE = 200_000
_SECONDS = 7 * 86_400

BAD_FORMS = (
    ("event_time", '"event_time":null'),
    ("event_time", '"event_time":"2019-12-32T00:00:00Z"'),
    ("event_time", '"event_time":1575275400'),
    ("event_time", '"event_time":"2018-12-02T00:00:00Z"'),
    ("event_type", '"event_type":123'),
    ("event_type", '"type":"view"'),
    ("product_id", '"product_id":true'),
    ("category_id", '"category_id":[2103807459595387724]'),
    ("brand", '"brand":5'),
    ("brand", '"brand":"\\ud800"'),
    ("price", '"price":"twelve"'),
    ("price", '"price":-1.5'),
    ("price", '"price":1.1234567'),
    ("user_id", '"user_id":""'),
    ("user_id", '"user_id":{"id":541312140}'),
    ("user_id", '"user_id":"7","user_id":null'),
    ("", "5"),
)
"""The field that is replaced (none: the whole record) and what comes in its place."""

ODD_FORMS = (
    ("event_time", '"event_time":"20191204T083000+0100"'),
    ("event_time", '"event_time":"2019-12-04T08:30:00.25"'),
    ("event_type", '"event_type":" PURCHASE "'),
    ("product_id", '"product_id":"044600062"'),
    ("category_code", '"category_code":""'),
    ("brand", '"brand":"say \\"hi\\""'),
    ("price", '"price":"12.5"'),
    ("price", '"price":""'),
    ("user_id", '"user_id":541312140'),
    ("user_session", '"user_session":"a","user_session":"b"'),
)


MANIFEST = "bench_extract.json"


def make_extract(folder: Path, rows: int) -> None:
    """Write the pages of an extract of so many records below the folder, unless they are there."""
    if (folder / MANIFEST).exists():
        return
    pages = []
    for number, body in enumerate(_bodies(rows), 1):
        write_page(path_of(folder, number), body)
        pages.append(
            {
                "number": number,
                "rows": min(PAGE_ROWS, rows - PAGE_ROWS * (number - 1)),
                "size_bytes": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        )
    (folder / MANIFEST).write_text(json.dumps(pages))


def read_made_extract(folder: Path) -> Extracted:
    """The extract that was made there."""
    pages = tuple(PageFile(path=path_of(folder, page["number"]), **page) for page in json.loads((folder / MANIFEST).read_bytes()))
    rows = sum(page.rows for page in pages)
    return Extracted(WEEK, pages, rows, rows, WEEK.opens_at, WEEK.closes_at, INGESTED_AT)


def _bodies(rows: int) -> Iterator[bytes]:
    for first in range(0, rows, _AT_ONCE):
        records = _records(first, min(_AT_ONCE, rows - first), rows)
        for start in range(0, len(records), PAGE_ROWS):
            yield f'{{"data":[{",".join(records[start : start + PAGE_ROWS])}],"meta":{{"total":{rows}}}}}'.encode()


def _records(first: int, count: int, rows: int) -> list[str]:
    random = np.random.default_rng([SEED, first])
    records = _good_records(random, first, count, rows)
    draws = random.random(count)
    for forms, low, high in ((BAD_FORMS, 0.0, BAD), (ODD_FORMS, BAD, BAD + ODD)):
        for index in np.flatnonzero((draws >= low) & (draws < high)):
            records[index] = _with(records[index], forms[random.integers(0, len(forms))])
    return records


def _with(record: str, form: tuple[str, str]) -> str:
    field, written = form
    return re.sub(rf'"{field}":("[^"]*"|[^,}}]*)', lambda _: written, record, count=1) if field else written


def _good_records(random: np.random.Generator, first: int, count: int, rows: int) -> list[str]:
    seconds = (np.arange(first, first + count) * (_SECONDS - 1) // rows).astype(np.int64)
    draws = pl.DataFrame(
        {
            "time": seconds,
            "type": random.integers(0, 20, count),
            "product": random.integers(1_000_000, 60_000_000, count),
            "category": random.integers(0, 800, count),
            "brand": random.integers(0, 300, count),
            "cents": (200_000 * random.random(count) ** 3).astype(np.int64),
            "user": (9_000_000 * random.random(count) ** 2).astype(np.int64) + 512_000_000,
            "session": random.integers(0, 10**12, count),
        }
    )
    category, brand, session = pl.col("category"), pl.col("brand"), pl.col("session").cast(pl.String).str.zfill(12)
    opened = pl.lit(datetime.combine(WEEK.start, datetime.min.time())) + pl.duration(seconds="time")
    fields: Sequence[tuple[str, pl.Expr]] = (
        ("event_time", _quoted(opened.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))),
        (
            "event_type",
            _quoted(
                pl.when(pl.col("type") < 17)
                .then(pl.lit("view"))
                .when(pl.col("type") < 19)
                .then(pl.lit("cart"))
                .otherwise(pl.lit("purchase"))
            ),
        ),
        ("product_id", pl.col("product").cast(pl.String)),
        ("category_id", (category + 2_103_807_459_595_387_724).cast(pl.String)),
        (
            "category_code",
            pl.when(category % 5 > 0).then(_quoted(pl.format("electronics.category{}", category % 100))).otherwise(pl.lit("null")),
        ),
        ("brand", pl.when(brand % 7 > 0).then(_quoted(pl.format("brand {}", brand))).otherwise(pl.lit("null"))),
        ("price", pl.format("{}.{}", pl.col("cents") // 100, (pl.col("cents") % 100).cast(pl.String).str.zfill(2))),
        ("user_id", _quoted(pl.col("user").cast(pl.String))),
        ("user_session", _quoted(pl.format("{}-8bb3-4e00-8c23-{}", session.str.slice(4), session))),
    )
    written = [pl.concat_str(pl.lit(f'"{name}":'), value) for name, value in fields]
    return draws.select(pl.concat_str(pl.lit("{"), pl.concat_str(written, separator=","), pl.lit("}")))["literal"].to_list()


def _quoted(text: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.lit('"'), text, pl.lit('"'))
