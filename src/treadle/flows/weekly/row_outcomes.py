"""What became of each row, as Salesforce tells it: by external id, never by position. Pure.

A frame with a row each: `external_id`, `salesforce_id`, `outcome` (OUTCOMES), `code`, `message`.
"""

from typing import Final

import polars as pl

from treadle.errors import OperationFailed

OUTCOMES: Final = ("created", "updated", "refused", "undecided")
OUTCOME_SCHEMA: Final = {
    "external_id": pl.String,
    "salesforce_id": pl.String,
    "outcome": pl.String,
    "code": pl.String,
    "message": pl.String,
}
# The row is as good as it was: it may be sent again. https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm
PASSING_CODES: Final = frozenset(
    {
        "UNABLE_TO_LOCK_ROW",
        "SERVER_UNAVAILABLE",
        "UNKNOWN_EXCEPTION",
        "REQUEST_RUNNING_TOO_LONG",
        "TXN_SECURITY_RUNTIME_EXCEPTION",
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "PROCESSING_HALTED",
        "REQUEST_LIMIT_EXCEEDED",
        "STORAGE_LIMIT_EXCEEDED",
        "TOO_MANY_LOCK_FAILURE",
    }
)


def correlate(rows: pl.DataFrame, succeeded: pl.DataFrame, failed: pl.DataFrame, external_id_field: str) -> pl.DataFrame:
    """What became of each row, by its external id – never by its position. Pure.

    Salesforce may write an id back in another case or without its outer spaces; a row in neither set was never tried.
    """
    good = _by_key(succeeded, external_id_field).select(
        "exact",
        salesforce_id=_text_of(succeeded, "sf__Id"),
        good=_text_of(succeeded, "sf__Created").str.to_lowercase() == "true",
        error=pl.lit(None, pl.String),
    )
    bad = _by_key(failed, external_id_field).select(
        "exact", salesforce_id=pl.lit(None, pl.String), good=pl.lit(None, pl.Boolean), error=_text_of(failed, "sf__Error")
    )
    found = _matched(rows.select("external_id"), pl.concat([good, bad]).unique("exact", keep="first", maintain_order=True))
    code = pl.col("error").str.extract(r"^([A-Z][A-Z0-9_]{2,})(?::|$)").fill_null("UNKNOWN")
    outcome = (
        pl.when(pl.col("good").is_not_null())
        .then(pl.when("good").then(pl.lit("created")).otherwise(pl.lit("updated")))
        .when(pl.col("error").is_not_null())
        .then(pl.when(code.is_in(list(PASSING_CODES))).then(pl.lit("undecided")).otherwise(pl.lit("refused")))
        .otherwise(pl.lit("undecided"))
    )
    refused = pl.col("good").is_null() & pl.col("error").is_not_null()
    message = pl.col("error").str.strip_prefix(code).str.strip_chars_start(":").str.replace(r":--$", "")
    return found.select(
        "external_id",
        "salesforce_id",
        outcome=outcome,
        code=pl.when(refused).then(code).otherwise(pl.lit(None, pl.String)),
        message=pl.when(refused).then(message).otherwise(pl.lit(None, pl.String)),
    )


def _matched(rows: pl.DataFrame, results: pl.DataFrame) -> pl.DataFrame:
    """Each row with its result: by its id as it is, or, among what is left on both sides, in any case where that is unambiguous."""
    keyed = rows.with_columns(exact=pl.col("external_id").str.strip_chars())
    by_exact = keyed.join(results, on="exact", how="inner", maintain_order="left")
    left = keyed.join(results, on="exact", how="anti", maintain_order="left").with_columns(folded=pl.col("exact").str.to_lowercase())
    others = results.join(keyed, on="exact", how="anti").with_columns(folded=pl.col("exact").str.to_lowercase()).drop("exact")
    once = [frame.filter(pl.len().over("folded") == 1) for frame in (left, others)]
    by_folded = once[0].join(once[1], on="folded", how="inner").drop("folded")
    told = pl.concat([by_exact, by_folded.select(by_exact.columns)]).drop("exact")
    return rows.join(told, on="external_id", how="left", maintain_order="left")


def _by_key(results: pl.DataFrame, external_id_field: str) -> pl.DataFrame:
    if external_id_field not in results.columns:
        raise OperationFailed(
            f"Salesforce's results have no column {external_id_field}, so nobody can tell whose they are.",
            hint="Report this as a defect of Treadle.",
        )
    return results.with_columns(exact=pl.col(external_id_field).str.strip_chars())


def _text_of(results: pl.DataFrame, name: str) -> pl.Expr:
    """A column of the results; a set without rows may lack it."""
    return pl.col(name) if name in results.columns else pl.lit(None, pl.String)


def outcome_of(code: str) -> str:
    """What an error code of Salesforce means for its row: `undecided` where it will pass, else `refused`."""
    return "undecided" if code in PASSING_CODES else "refused"
