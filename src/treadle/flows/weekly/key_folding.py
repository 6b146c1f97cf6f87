"""By what Salesforce compares external ids, as far as that is known: in any case, as most such fields are. Pure.

Which letters it takes for one beyond ASCII is nowhere published. Unicode's full case folding (https://www.unicode.org/reports/tr44/#CaseFolding.txt) takes more
of them for one than lower case does – `ß` and `SS`, `ς` and `σ` – and so errs on the safe side: rows that may be one record are not both sent.
"""

from typing import Any, Final

import numpy as np
import polars as pl

_BEYOND_ASCII: Final = 128
_CAPITAL_A: Final = np.uint8(ord("A"))
_LETTERS: Final = 26


def folded(key: pl.Expr) -> pl.Expr:
    """A text column, each value folded; null stays null."""
    return key.map_batches(fold_keys, return_dtype=pl.String, is_elementwise=True)


def fold_keys(keys: pl.Series) -> pl.Series:
    """As `folded`. Python folds the few keys that are not ASCII; all others are in lower case by then, which for them is the same."""
    if _fold_to_themselves(keys):
        return keys
    lower = keys.str.to_lowercase()
    others = lower.to_frame("key").select(_is_wide(pl.col("key"))).to_series().arg_true()
    if others.is_empty():
        return lower
    return lower.scatter(others, pl.Series([text.casefold() for text in lower.gather(others)], dtype=pl.String))


def _fold_to_themselves(keys: pl.Series) -> bool:
    """Whether there is neither a capital letter nor anything beyond ASCII. All bytes of the column are looked at together: most ids are digits."""
    anything: Any = keys
    text = anything.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
    if text is None or text.size == 0:
        return True
    read = np.frombuffer(text, np.uint8)
    return bool(read.max() < _BEYOND_ASCII and (read - _CAPITAL_A).min() >= _LETTERS)  # bytes below A wrap round, far above the letters


def _is_wide(key: pl.Expr) -> pl.Expr:
    """Whether a text has characters beyond ASCII, for which lower case is not all."""
    return key.str.len_bytes() != key.str.len_chars()
