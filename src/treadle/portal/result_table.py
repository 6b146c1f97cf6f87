"""The data behind a run's figures: its first rows, and its files to take away."""

from functools import partial
from typing import Any, Final
from uuid import UUID

import polars as pl
import polars.selectors as cs
import streamlit as st

from treadle.actions import results
from treadle.actions.results import Source
from treadle.control.access import Principal
from treadle.errors import InvalidInput, TreadleError
from treadle.flows.sales.artifacts import CSV, PARQUET
from treadle.flows.sales.lakehouse import KPIS, PROFILE
from treadle.portal import components, words
from treadle.portal.published import Shown, source_of
from treadle.portal.safe_csv import safe_csv_of_parquet
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.who import current
from treadle.visible_text import visible

REWRITTEN: Final = 1.5  # a CSV made safe has quotation marks round each text: the sample's grows by an eighth, and more of short texts


def table(shown: Shown, row_count: float | None) -> None:
    """The first rows of the cleaned table, and the files to take away."""
    st.subheader("Cleaned data")
    with told(), st.skeleton(height=320):
        try:
            source = source_of(shown)
        except TreadleError:
            st.caption("The table and the files cannot be read now; the line at the top says why.")
            return
        size = source.file(PARQUET).size_bytes
        if size > results.PREVIEW_BYTES:
            st.caption(f"The table is too large to be opened here ({words.size(size)}); download it to look into it.")
        else:
            frame = first_rows(current(), source.run_id, source)
            st.dataframe(
                frame,
                key="results-rows",
                hide_index=True,
                height=320,
                column_config=column_formats(frame),
                alt="The first rows of the cleaned table",
            )
            st.caption(f"The first {words.number(frame.height)} of {words.number(row_count)} rows, {words.number(frame.width)} columns.")
        downloads(source)


@st.cache_data(ttl=600, max_entries=8, show_spinner=False, hash_funcs={Principal: repr})
def first_rows(who: Principal, run_id: UUID, _source: Source) -> pl.DataFrame:  # noqa: ARG001 - a run's files never change
    """The first rows; exact amounts as numbers that a table can show, and days without the midnight that Parquet gives them."""
    frame = results.preview(services(), who, _source).with_columns(cs.decimal().cast(pl.Float64))
    days = [name for name in frame.select(cs.datetime()).columns if (frame[name].dt.truncate("1d") == frame[name]).all()]
    return visible_texts(frame.with_columns(pl.col(days).cast(pl.Date)) if days else frame)


def visible_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """The table with nothing hidden in its texts and in the names of its columns; a name stays where another column would get the same. Pure."""
    texts = frame.select(cs.string() | cs.categorical()).cast(pl.String)
    told = frame.with_columns(pl.Series(name, map(_visible_or_none, texts[name]), pl.String) for name in texts.columns)
    names = {name: visible(name) for name in frame.columns}
    return told.rename(names) if len(set(names.values())) == len(names) else told


def _visible_or_none(text: str | None) -> str | None:
    return None if text is None else visible(text)


def column_formats(frame: pl.DataFrame) -> dict[str, Any]:
    """Amounts with separators, days without a time; all else as it is."""
    amounts = {name: st.column_config.NumberColumn(format="%,.2f") for name in frame.select(cs.float()).columns}
    return amounts | {name: st.column_config.DateColumn(format="YYYY-MM-DD") for name in frame.select(cs.date()).columns}


def downloads(source: Source) -> None:
    """The files, made or fetched when somebody clicks."""
    short = components.short_id(source.run_id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="downloads"):
        for name, label, kind, made in (
            (CSV, "CSV for spreadsheets", "text/csv", spreadsheet),
            (PARQUET, "Parquet", "application/vnd.apache.parquet", as_it_is),
            (KPIS, "Figures, JSON", "application/json", as_it_is),
            (PROFILE, "Profile, JSON", "application/json", as_it_is),
        ):
            size, fits = sent_size(source, name)
            if not fits:
                st.caption(f"{label} ({size}) is too large for a page; with an API token: `GET {results.api_path(source, name)}`")
                continue
            stem, _, suffix = name.rpartition(".")
            st.download_button(
                f"{label} ({size})",
                data=partial(made, current(), source, name),
                file_name=f"{stem}-{short}.{suffix}",
                mime=kind,
                key=f"download-{name}",
                on_click="ignore",
                icon=":material/download:",
            )
    st.caption(
        "In the CSV, text that a spreadsheet would take for a formula has an apostrophe in front, so that it is shown and not run."
        " Parquet has every text as it is, and exact amounts."
    )


def sent_size(source: Source, name: str) -> tuple[str, bool]:
    """How large what is sent will be, in words, and whether a page sends it. The CSV is rewritten: until it is made, its size is not known."""
    stored = source.file(name).size_bytes
    if name == CSV:
        return f"about {words.size(stored)}", stored * REWRITTEN <= results.DOWNLOAD_BYTES
    return words.size(stored), stored <= results.DOWNLOAD_BYTES


def spreadsheet(who: Principal, source: Source, name: str) -> bytes:
    """The table as CSV that is safe to open. Raises InvalidInput when that is larger than what a page sends."""
    with results.open_file(services(), who, source, PARQUET) as parquet:
        content = safe_csv_of_parquet(parquet)
    require_sendable(source, name, len(content))
    return content


def require_sendable(source: Source, name: str, size_bytes: int) -> None:
    """Refuse what has grown beyond what a page sends. Raises InvalidInput, which names the way that has no limit."""
    if size_bytes > results.DOWNLOAD_BYTES:
        raise InvalidInput(
            f"{name} has {size_bytes:,} bytes for spreadsheets, more than the {results.DOWNLOAD_BYTES:,} that a page sends.",
            hint=f"Get it from the API: {results.api_path(source, name)}",
        )


def as_it_is(who: Principal, source: Source, name: str) -> bytes:
    """A file as it was written."""
    with results.open_file(services(), who, source, name) as file:
        return file.read()
