"""By what Salesforce compares external ids, as far as that is known: in any case, as most such fields are. Pure.

Which letters it takes for one beyond ASCII is nowhere published. Unicode's full case folding (https://www.unicode.org/reports/tr44/#CaseFolding.txt) takes more
of them for one than lower case does – `ß` and `SS`, `ς` and `σ` – and so errs on the safe side: rows that may be one record are not both sent.
"""

import polars as pl


def folded(key: pl.Expr) -> pl.Expr:
    """A text column, each value folded; null stays null."""
    return key.map_batches(fold_keys, return_dtype=pl.String, is_elementwise=True)


def fold_keys(keys: pl.Series) -> pl.Series:
    """As `folded`. Python folds the few keys that are not ASCII; all others are in lower case by then, which for them is the same."""
    lower = keys.str.to_lowercase()
    others = lower.to_frame("key").select(is_wide(pl.col("key"))).to_series().arg_true()
    if others.is_empty():
        return lower
    return lower.scatter(others, pl.Series([text.casefold() for text in lower.gather(others)], dtype=pl.String))


def is_wide(key: pl.Expr) -> pl.Expr:
    """Whether a text has characters beyond ASCII, for which lower case is not all."""
    return key.str.len_bytes() != key.str.len_chars()
