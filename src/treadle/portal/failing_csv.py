"""The rows on which checks failed as a CSV that a spreadsheet opens in UTF-8, and in which no text can be taken for a formula."""

import csv
import io
import re
from collections.abc import Iterable
from typing import Final

from treadle.flows.sales.failing_rows import FailedCheck, kept_of
from treadle.portal.safe_csv import safe_text

HEADER: Final = ("file", "row", "column", "value", "check", "severity", "reason", "listed")
_NUMBER: Final = re.compile(r"-\d+(\.\d+)?")  # begins like a formula, and is none


def failing_rows_csv(file_name: str, failed: Iterable[FailedCheck]) -> bytes:
    """One line for each place at which a check failed. `row` counts as a spreadsheet does; `listed` says how many of all such places are here."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(HEADER)
    for one in failed:
        listed = kept_of(one.count, len(one.cells))
        for cell in one.cells:
            told = (one.check, one.severity, one.reason, listed)
            writer.writerow([safe_text(file_name), cell.row, safe_text(cell.column), _safe_value(cell.value or ""), *map(safe_text, told)])
    return text.getvalue().encode("utf-8-sig", "replace")


def _safe_value(value: str) -> str:
    return value if _NUMBER.fullmatch(value) else safe_text(value)
