"""The columns of a file as cards, and its first rows."""

from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from treadle.portal import words
from treadle.portal.importing.column_cards import ColumnCard, Order, chosen_cards, column_cards
from treadle.portal.importing.column_charts import CHART_HEIGHT, column_chart, in_words
from treadle.portal.told import empty
from treadle.visible_text import visible

CARDS_A_PAGE: Final = 12


def column_panel(profile: Mapping[str, Any]) -> None:
    """Every column as a card, with a search, an order, and only those with alerts if wanted."""
    cards = column_cards(profile)
    alerted = sum(bool(card.alerts) for card in cards)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        sought = st.text_input(
            "Search columns",
            type="search",
            live=True,
            key="column-search",
            placeholder="Search columns",
            label_visibility="collapsed",
            width=240,
        )
        order = st.selectbox("Order of columns", list(Order), key="column-order", label_visibility="collapsed", width=170)
        only = st.toggle(f"Only columns with alerts ({alerted})", key="column-alerts", disabled=not alerted)
    wanted = chosen_cards(cards, sought or "", order, only_alerts=only and bool(alerted))
    if not wanted:
        empty("No such column", f"None of the {len(cards)} columns fits the search and the filter.", icon=":material/search_off:")
        return
    pages = -(-len(wanted) // CARDS_A_PAGE)
    place = st.container(key="import-cards")
    at = st.pagination(pages, key="column-page") if pages > 1 else 1
    with place, st.grid(min_column_width=280, gap="small"):
        for card in wanted[(at - 1) * CARDS_A_PAGE : at * CARDS_A_PAGE]:
            column_card(card)


def column_card(card: ColumnCard) -> None:
    """One column: what it holds, how it spreads, what to know about it."""
    with st.container(border=True, height="stretch", gap="xsmall"):
        st.markdown(f"{card.icon} **{words.plain(card.name)}**")
        st.caption(f"{card.kind} · from {words.plain(card.source)}" if card.source else card.kind)
        if card.bars:
            st.altair_chart(
                column_chart(card.bars),
                width="stretch",
                height=CHART_HEIGHT,
                key=f"chart-{card.position}",
                alt=in_words(card.name, card.bars),
            )
        else:
            with st.container(height=CHART_HEIGHT, vertical_alignment="center", border=False):
                st.text(card.instead)
        st.caption(f"{card.missing_told} missing · {card.distinct_told} distinct  \n{words.plain(card.span)}")
        if card.alerts:
            with st.container(horizontal=True, gap="xsmall"):
                for alert in card.alerts:
                    st.badge(alert.word, icon=alert.icon, color=alert.colour, help=alert.sentence)


def sample_panel(profile: Mapping[str, Any]) -> None:
    """The first rows as a run would read them."""
    rows = profile["sample_rows"]
    if not rows:
        empty("No rows", "The file has a header, but no row under it.", icon=":material/table_rows:")
        return
    st.caption(f"The first {len(rows):,} of {profile['row_count']:,} rows, cleaned as a run would clean them.")
    order = [visible(str(entry["column"])) for entry in profile["schema"]]  # JSON that went through the database has lost it
    shown = words.visible_rows(rows)
    st.dataframe(shown, hide_index=True, column_order=order, placeholder=words.DASH, key="sample", alt="The first rows of the file")
