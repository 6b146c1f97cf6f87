"""From a table as it was read to the cleaned one: every column by its rule, checked against all rows.

Rules are decided on the first rows, which is quick, and hold only if they read every value of the column. Where one does not, it is
decided again on the whole column, and what still cannot be read is counted and reported.
Polars throughout, for the reasons given in `column_rule`; streaming to Parquet has no counterpart in narwhals either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, NamedTuple

import polars as pl

from treadle.errors import InvalidInput
from treadle.flows.sales.reading.column_rule import REVENUE, ColumnRule, Evidence, rounding_notes, trimmed_text
from treadle.flows.sales.reading.failing_cells import kind_word, with_failing_rows
from treadle.flows.sales.reading.long_numbers import shortened_identifiers
from treadle.flows.sales.reading.mixed_marks import mixed_mark_findings
from treadle.flows.sales.reading.names import NamePlan
from treadle.flows.sales.reading.raw_table import SAVE_AGAIN, UNCACHED_FORMULAS, RawTable, is_lost
from treadle.flows.sales.reading.text_columns import decide_text
from treadle.flows.sales.reading.typed_columns import decide_typed
from treadle.flows.sales.table import CleanColumn, CleanTable, Finding, Severity

SAMPLE_ROWS: Final = 1_000
_EXAMPLES: Final = 3
_EXAMPLES_AMONG: Final = 100  # the first values, of which different ones are told
_PARQUET_NAME: Final = "cleaned.parquet"
_ABSENT: Final = "absent\0"  # what flags are called while a table is read; no column's name has a NUL
_ROUNDED: Final = "rounded\0"


class _Cleaned(NamedTuple):
    frame: pl.LazyFrame
    row_count: int
    null_counts: Mapping[str, int]
    absent_counts: Mapping[str, int]  # of them, those that were null or empty in the source; columns that cannot lose a value are left out
    rounded_counts: Mapping[str, int]  # only columns of which the rule may round
    parquet: Path | None


def clean(raw: RawTable, plan: NamePlan, scratch: Path, *, failing_rows: bool = False) -> CleanTable:
    """Read every column by what it holds, drop what is wholly empty at the end, and say what was found.

    scratch: an existing folder for files that must outlive this call, because the table may be read from them.
    failing_rows: whether findings are to say on which rows, and the rows are to be kept as the file has them.

    Raises:
        InvalidInput: there are no rows, or none of them has a revenue.
    """
    sources = {name: str(position) for position, name in enumerate(plan.names)}
    sample = raw.frame.head(SAMPLE_ROWS + 1).collect()
    whole = sample.height <= SAMPLE_ROWS
    rules = _decide_all(sources, sample, whole_columns=whole)
    cleaned = _read_all(raw, sources, rules, scratch)
    lost = _lost(raw, sources, rules, cleaned)
    doubted = [] if whole else [name for name in sources if name in lost or _is_assumed(rules[name])]
    if doubted:
        again = {name: _decide_again(raw, name, sources[name], _evidence(rules)) for name in doubted}
        differ = any(not _reads_alike(rules[name], rule) for name, rule in again.items())
        rules |= again
        cleaned = _read_all(raw, sources, rules, scratch) if differ else cleaned
        lost = _lost(raw, sources, rules, cleaned) if differ else lost
    _require_revenue(raw, sources, cleaned, lost)
    rules = {name: _noting_rounding(rule, cleaned.rounded_counts.get(name, 0)) for name, rule in rules.items()}
    table = _table(raw, plan, rules, cleaned, lost)
    _require_any_revenue(raw, sources, cleaned)
    marks = mixed_mark_findings(raw, sources, rules, failing_rows=failing_rows)
    table = replace(table, findings=(*table.findings, *marks, *shortened_identifiers(raw, sources, failing_rows=failing_rows)))
    return with_failing_rows(table, raw, sources, rules, lost, cleaned.rounded_counts) if failing_rows else table


def _decide_all(sources: Mapping[str, str], sample: pl.DataFrame, *, whole_columns: bool) -> dict[str, ColumnRule]:
    """Decide all columns; those that left something open are decided again, knowing the others."""
    rules = {name: _decide(name, sample[source], whole_column=whole_columns) for name, source in sources.items()}
    evidence = _evidence(rules)
    undecided = [name for name, rule in rules.items() if _is_assumed(rule)]
    if evidence != Evidence():
        rules |= {name: _decide(name, sample[sources[name]], whole_column=whole_columns, evidence=evidence) for name in undecided}
    return rules


def _noting_rounding(rule: ColumnRule, count: int) -> ColumnRule:
    return replace(rule, notes=(*rule.notes, *rounding_notes(count))) if count else rule


def _is_assumed(rule: ColumnRule) -> bool:
    return bool((rule.dates and rule.dates.assumed) or (rule.numbers and rule.numbers.assumed))


def _reads_alike(rule: ColumnRule, other: ColumnRule) -> bool:
    """Whether two rules read texts in the same way, though one may have had to assume what the other knows."""
    if rule.dates and other.dates:
        return rule.trims == other.trims and rule.dates.formats == other.dates.formats
    if rule.numbers and other.numbers:
        return (
            rule.kind is other.kind
            and rule.trims == other.trims
            and replace(rule.numbers, assumed=False) == replace(other.numbers, assumed=False)
        )
    return False


def _decide(name: str, values: pl.Series, *, whole_column: bool, evidence: Evidence | None = None) -> ColumnRule:
    if values.dtype == pl.String:
        return decide_text(name, values, evidence or Evidence(), whole_column=whole_column)
    return decide_typed(name, values)


def _evidence(rules: Mapping[str, ColumnRule]) -> Evidence:
    """What the columns that show it agree on; where they do not agree, nothing."""
    orders: set[Literal["day first", "month first"]] = {
        rule.dates.order for rule in rules.values() if rule.dates and rule.dates.order and not rule.dates.assumed
    }
    marks = {rule.numbers.decimal_mark for rule in rules.values() if rule.numbers and not rule.numbers.assumed and not rule.numbers.whole}
    return Evidence(next(iter(orders)) if len(orders) == 1 else None, "," if marks == {","} else ".")


def _decide_again(raw: RawTable, name: str, source: str, evidence: Evidence) -> ColumnRule:
    column = raw.frame.select(source).collect(engine=raw.engine).to_series()
    return _decide(name, column, whole_column=True, evidence=evidence)


def _read_all(raw: RawTable, sources: Mapping[str, str], rules: Mapping[str, ColumnRule], scratch: Path) -> _Cleaned:
    """Read all columns, and count in the same pass what tells whether the rules hold."""
    absent = [name for name, rule in rules.items() if not rule.keeps_all]
    rounded = {name: rule.is_rounded for name, rule in rules.items() if rule.is_rounded}
    texts = {name for name, dtype in raw.frame.collect_schema().items() if dtype == pl.String}
    read = _trimmed(raw.frame, [sources[name] for name, rule in rules.items() if rule.trims]).select(
        *(rules[name].read(pl.col(source)).alias(name) for name, source in sources.items()),
        *(_is_absent(sources[name], text=sources[name] in texts).alias(f"{_ABSENT}{name}") for name in absent),
        *(is_rounded(pl.col(sources[name])).alias(f"{_ROUNDED}{name}") for name, is_rounded in rounded.items()),
    )
    flags = [f"{_ABSENT}{name}" for name in absent] + [f"{_ROUNDED}{name}" for name in rounded]
    counted = [pl.len().alias(""), *(pl.col(name).null_count() for name in sources), *(pl.col(flag).sum() for flag in flags)]
    frame, counts, path = (
        _collect_in_memory(read, list(sources), counted) if raw.in_memory else _stream(read, list(sources), counted, scratch)
    )
    return _Cleaned(
        frame,
        row_count=counts[""],
        null_counts={name: counts[name] for name in sources},
        absent_counts={name: counts[f"{_ABSENT}{name}"] for name in absent},
        rounded_counts={name: counts[f"{_ROUNDED}{name}"] for name in rounded},
        parquet=path,
    )


def _trimmed(frame: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
    """The same as `trimmed_text`, in two steps: within one, the engine would strip twice."""
    stripped = frame.with_columns(pl.col(name).str.strip_chars() for name in columns)
    return stripped.with_columns(pl.when(pl.col(name) != "").then(pl.col(name)) for name in columns)


def _is_absent(source: str, *, text: bool) -> pl.Expr:
    """Whether there is no value; a text of spaces alone is not found, which `_lost` makes up for."""
    column = pl.col(source)
    return column.is_null() | (column == "") if text else column.is_null()


def _collect_in_memory(read: pl.LazyFrame, names: list[str], counted: list[pl.Expr]) -> tuple[pl.LazyFrame, dict[str, int], None]:
    frame = read.collect()
    return frame.select(names).lazy(), frame.select(counted).row(0, named=True), None


def _stream(read: pl.LazyFrame, names: list[str], counted: list[pl.Expr], scratch: Path) -> tuple[pl.LazyFrame, dict[str, int], Path]:
    """Write the columns and count side by side, so that the source is read once."""
    path = scratch / _PARQUET_NAME
    sink = read.select(names).sink_parquet(path, compression="snappy", lazy=True)
    counts = pl.collect_all([sink, read.select(counted)], engine="streaming")[1].row(0, named=True)
    return pl.scan_parquet(path, glob=False), counts, path


def _lost(raw: RawTable, sources: Mapping[str, str], rules: Mapping[str, ColumnRule], cleaned: _Cleaned) -> dict[str, int]:
    """How many values of a column are there in the source and null after reading; only columns that lost any."""
    doubtful = [name for name, absent in cleaned.absent_counts.items() if cleaned.null_counts[name] > absent]
    if not doubtful:
        return {}
    counts = raw.frame.select(is_lost(raw, sources[name], rules[name]).sum().alias(name) for name in doubtful)
    return {name: count for name, count in counts.collect(engine=raw.engine).row(0, named=True).items() if count}


def _require_revenue(raw: RawTable, sources: Mapping[str, str], cleaned: _Cleaned, lost: Mapping[str, int]) -> None:
    if lost.get(REVENUE, 0) == 0 or cleaned.null_counts[REVENUE] < cleaned.row_count:  # also when there is no such column
        return
    source = sources[REVENUE]
    found = ", ".join(repr(value) for value in _examples(raw, source, pl.col(source).is_not_null()))
    raise InvalidInput(
        f"No value of the column {raw.headers[int(source)]!r}, which is to be the revenue, is a number. It holds, for example: {found}.",
        hint='Name the column that holds the revenue, for example: --map "Sales=revenue"',
        details={"column": raw.headers[int(source)], "examples": found},
    )


def _require_any_revenue(raw: RawTable, sources: Mapping[str, str], cleaned: _Cleaned) -> None:
    """Refuse a table whose revenue is empty in every row: the sum of nothing would be published as zero."""
    if REVENUE not in sources or cleaned.null_counts[REVENUE] < cleaned.row_count:
        return
    header = raw.headers[int(sources[REVENUE])]
    uncached = next((finding.detail for finding in raw.findings if finding.check == UNCACHED_FORMULAS), "")
    raise InvalidInput(
        f"The column {header!r}, which is to be the revenue, is empty in every row. {uncached.removesuffix(SAVE_AGAIN)}".rstrip(),
        hint=SAVE_AGAIN if uncached else 'Name the column that holds the revenue, for example: --map "Sales=revenue"',
        details={"column": header},
    )


def _examples(raw: RawTable, source: str, which: pl.Expr) -> list[str]:
    values = raw.frame.filter(which).select(pl.col(source)).head(_EXAMPLES_AMONG).collect(engine=raw.engine).to_series()
    return list(dict.fromkeys(str(value)[:60] for value in values))[:_EXAMPLES]


def _table(raw: RawTable, plan: NamePlan, rules: Mapping[str, ColumnRule], cleaned: _Cleaned, lost: Mapping[str, int]) -> CleanTable:
    empty_rows = _trailing_empty_rows(raw, cleaned)
    row_count = cleaned.row_count - empty_rows
    if row_count == 0:
        raise InvalidInput(
            "There are no rows under the header.",
            hint="Check that the right sheet was read, and that it holds the orders.",
            details={"sheet": raw.sheet},
        )
    kept = [
        position
        for position, name in enumerate(plan.names)
        if raw.headers[position] is not None or cleaned.null_counts[name] < cleaned.row_count
    ]
    columns = tuple(_column(raw, plan.names[position], position, rules, lost) for position in kept)
    frame = cleaned.frame.head(row_count) if empty_rows else cleaned.frame
    whole = empty_rows == 0 and len(kept) == len(plan.names)
    return CleanTable(
        frame=frame if len(kept) == len(plan.names) else frame.select([column.name for column in columns]),
        columns=columns,
        row_count=row_count,
        sheet=raw.sheet,
        mapping=plan.mapping,
        findings=(
            *raw.findings,
            *plan.findings,
            *_empty_findings(empty_rows, len(plan.names) - len(kept)),
            *_rule_findings(columns, rules),
            *_lost_findings(raw, plan, rules, lost),
        ),
        parquet=cleaned.parquet if whole else None,
    )


def _column(raw: RawTable, name: str, position: int, rules: Mapping[str, ColumnRule], lost: Mapping[str, int]) -> CleanColumn:
    return CleanColumn(name, raw.headers[position] or "", rules[name].kind, unparseable=lost.get(name, 0))


def _trailing_empty_rows(raw: RawTable, cleaned: _Cleaned) -> int:
    """How many rows at the end have no value at all. The source decides: a value that could not be read is one."""
    is_empty = pl.all_horizontal(pl.all().is_null())
    if cleaned.row_count == 0 or not cleaned.frame.tail(1).select(is_empty).collect().item():
        return 0
    texts = [name for name, dtype in raw.frame.collect_schema().items() if dtype == pl.String]
    bare = raw.frame.with_columns(trimmed_text(pl.col(name)) for name in texts)
    last = bare.select((~is_empty).alias("filled")).with_row_index("row").filter("filled").select(pl.col("row").max())
    found = last.collect(engine=raw.engine).item()
    return cleaned.row_count if found is None else cleaned.row_count - int(found) - 1


def _empty_findings(rows: int, columns: int) -> list[Finding]:
    dropped = [(rows, "row", "at the end"), (columns, "column", "without a header")]
    return [
        Finding(f"empty_{what}s", passed=True, detail=f"{count:,} wholly empty {what}{'s' if count > 1 else ''} {where} left out.")
        for count, what, where in dropped
        if count
    ]


def _rule_findings(columns: Sequence[CleanColumn], rules: Mapping[str, ColumnRule]) -> list[Finding]:
    return [
        Finding(
            "column_reading",
            passed="assumed" not in note and "rounded" not in note,
            detail=f"{column.name}: {note}.",
            severity=_severity_of(note),
            column=column.name,
        )
        for column in columns
        for note in rules[column.name].notes
    ]


def _severity_of(note: str) -> Severity:
    return "warning" if "assumed" in note or "rounded" in note or "others" in note else "info"


def _lost_findings(raw: RawTable, plan: NamePlan, rules: Mapping[str, ColumnRule], lost: Mapping[str, int]) -> list[Finding]:
    return [_lost_finding(raw, name, str(plan.names.index(name)), rules[name], count) for name, count in lost.items()]


def _lost_finding(raw: RawTable, name: str, source: str, rule: ColumnRule, count: int) -> Finding:
    examples = ", ".join(repr(value) for value in _examples(raw, source, is_lost(raw, source, rule)))
    values = "1 value" if count == 1 else f"{count:,} values"
    detail = f"{name}: {values} could not be read as {kind_word(rule.kind)}, left empty: {examples}."
    return Finding("values_readable", passed=False, detail=detail, severity="warning", column=name)
