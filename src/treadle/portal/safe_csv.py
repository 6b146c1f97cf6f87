"""CSV that a spreadsheet can open without running what somebody wrote into a cell.

A spreadsheet takes text that begins with one of RISKY for a formula. Such text gets an apostrophe in front, which shows it as text; numbers and dates
stay what they are. Source: https://owasp.org/www-community/attacks/CSV_Injection
"""

import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, Final

import polars as pl
import polars.selectors as cs

RISKY: Final = "=+-@\t\r\n＝＋－＠"  # the last four are the full-width ones, which Excel reads alike in some languages
_PATTERN: Final = r"^[=+\-@\t\r\n＝＋－＠]"
_TEXT: Final = cs.string() | cs.categorical() | cs.enum()


def safe_text(text: str) -> str:
    """The text, with an apostrophe in front if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(tuple(RISKY)) else text


def safe_columns(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The same table with every text and every column's name made safe; the other columns are untouched."""
    safe = frame.with_columns(_TEXT.cast(pl.String).str.replace(_PATTERN, "'${0}"))
    return safe.rename({name: safe_text(name) for name in frame.collect_schema().names() if safe_text(name) != name})


def safe_csv(frame: pl.DataFrame) -> str:
    """The table as CSV: comma, header; text is quoted, so that a `;` in it begins no cell in countries where that parts them."""
    return safe_columns(frame.lazy()).collect().write_csv(quote_style="non_numeric")


def safe_csv_of_parquet(parquet: BinaryIO) -> bytes:
    """The same for a Parquet file, a piece at a time, in UTF-8 with the mark at its beginning by which Excel knows it."""
    with tempfile.TemporaryDirectory(prefix="treadle-csv-") as folder:
        source, target = Path(folder) / "table.parquet", Path(folder) / "table.csv"
        with source.open("wb") as file:
            shutil.copyfileobj(parquet, file)
        safe_columns(pl.scan_parquet(source, glob=False)).sink_csv(target, quote_style="non_numeric", include_bom=True)
        return target.read_bytes()
