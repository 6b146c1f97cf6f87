"""Compare: two runs side by side; the address names both, so it can be passed on."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import streamlit as st

from treadle.actions import runs
from treadle.control.compare import Comparison
from treadle.control.run import Run
from treadle.control.states import RunStatus
from treadle.errors import InvalidInput, NotFound
from treadle.portal import comparing, components, run_detail, words
from treadle.portal.comparing import DIFFERENCES, DIRECTIONS
from treadle.portal.frame import zone
from treadle.portal.shared import services
from treadle.portal.told import empty, failed, told
from treadle.portal.vega import spec_of
from treadle.portal.who import current

LISTED: Final = 50
SIDES: Final = ("a", "b")


def page() -> None:
    """Which two runs, and what differs between them, part by part: one that cannot be told hides no other."""
    st.title("Compare")
    with told(again="compare"):
        listed = list(runs.list_runs(services(), current(), status={RunStatus.SUCCEEDED}, include_restores=False, limit=LISTED).runs)
        named = {side: run for side in SIDES if (run := named_run(side))}
        if any(st.query_params.get(side) and side not in named for side in SIDES):
            st.page_link("app_pages/archive.py", label="Choose two runs in the archive", icon=":material/inventory_2:")
            return  # the address stays as it was given: who sent it must see what is wrong with it
        known = {run.run_id: run for run in [*listed, *named.values()]}
        if len(known) < 2 and len(named) < 2:
            empty("Two runs are needed", "There is nothing to compare until a second run has succeeded.", icon=":material/compare_arrows:")
            st.page_link("app_pages/archive.py", label="Look in the archive", icon=":material/inventory_2:")
            return
        first, second = default_pair(listed, named.get("a"), named.get("b"))
        pick(known, first, second)
        show(first, second)


def named_run(side: str) -> Run | None:
    """The run that the address names for this side. None: it names none, or none that exists, which is said."""
    text = st.query_params.get(side, "")
    if not text:
        return None
    try:
        run = runs.find_run(services(), current(), text)
        source = run_detail.made_by(run)
        if run.is_restore and source:
            st.caption(f"Run {components.short_id(run.run_id)} is a restore: what is compared is the run that it brought back.")
            return runs.get_run(services(), current(), source)
    except (NotFound, InvalidInput) as error:
        failed(error)
        return None
    return run


def default_pair(listed: list[Run], a: Run | None, b: Run | None) -> tuple[Run, Run]:
    """Fill in what the address leaves open: the newest run, and the one before it. There are two runs to choose from."""
    if a and b:
        return a, b
    if a:
        return a, next(run for run in listed if run.run_id != a.run_id)
    if b:
        older = [run for run in listed if run.run_id != b.run_id]
        return next((run for run in older if run.created_at < b.created_at), older[0]), b
    return listed[1], listed[0]


def pick(known: dict[UUID, Run], first: Run, second: Run) -> None:
    """The two choices, and the button that swaps them. The address is what holds them."""
    chosen = {"a": str(first.run_id), "b": str(second.run_id)}
    if {side: st.query_params.get(side) for side in SIDES} != chosen:
        st.query_params.update(chosen)
    options = [str(run.run_id) for run in sorted(known.values(), key=lambda run: run.created_at, reverse=True)]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for side in SIDES:
            st.session_state[f"compare-{side}"] = chosen[side]
            st.selectbox(
                side.upper(),
                options,
                format_func=lambda run_id: option_label(known[UUID(run_id)]) if UUID(run_id) in known else run_id,
                key=f"compare-{side}",
                on_change=rename_address,
                args=(side,),
                width=380,
            )
        st.button("Swap", icon=":material/swap_horiz:", on_click=swap, key="swap")


def option_label(run: Run) -> str:
    """A run in the list of choices."""
    return f"{components.short_id(run.run_id)} · {words.moment(run.created_at, zone())} · {components.run_name(run)}"


def rename_address(side: str) -> None:
    """Write the choice into the address."""
    st.query_params[side] = st.session_state[f"compare-{side}"]


def swap() -> None:
    """Exchange the two sides."""
    a, b = (st.query_params.get(side, "") for side in SIDES)
    st.query_params.update({"a": b, "b": a})


def show(first: Run, second: Run) -> None:
    """All parts. The lake's come last, for it may be slow."""
    if first.run_id == second.run_id:
        st.info("Both sides are the same run; choose another one to see a difference.", icon=":material/info:")
    figures_place, parts_place, profile_place, runs_place = (st.container() for _ in range(4))
    with figures_place, told():
        found = runs.compare(services(), current(), first.run_id, second.run_id)
        figures(found)
        with parts_place:
            breakdowns(found)
    profiles: list[dict[str, Any] | None] = [None, None]
    with profile_place, told():
        st.subheader("What the files held")
        profiles = [run_detail.profile_of(first), run_detail.profile_of(second)]
        profile_differences(first, second, *profiles)
    with runs_place:
        st.subheader("The runs")
        facts = (comparing.run_facts(run, profile, zone()) for run, profile in zip((first, second), profiles, strict=True))
        st.dataframe(
            words.visible_rows(comparing.side_by_side(*facts)),
            hide_index=True,
            key="compare-facts",
            alt="Where both runs came from and how they went",
            column_config={"Fact": st.column_config.TextColumn("", width=130), "Same": st.column_config.TextColumn("", width=40)},
        )
        with st.container(horizontal=True, gap="medium"):
            for side, run in zip(SIDES, (first, second), strict=True):
                st.page_link(
                    "app_pages/run.py", label=f"Open {side.upper()}", icon=":material/play_circle:", query_params={"run": str(run.run_id)}
                )


def figures(found: Comparison) -> None:
    """The table of figures, and the headline of it in words."""
    st.subheader("Figures")
    rows = comparing.kpi_rows(found)
    if not rows:
        st.caption("Neither run has figures: they did not succeed, or nothing was recorded.")
        return
    st.markdown(words.plain(comparing.in_words(found)))
    st.dataframe(
        rows,
        hide_index=True,
        key="compare-figures",
        alt="Figures of both runs and their change",
        height="content",
        column_config=change_columns("Figure", rows),
    )


def change_columns(first: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the columns of a table of changes are shown. On a narrow screen a number is never cut, which would look like another number."""
    return {
        first: st.column_config.TextColumn(width="small"),
        **{name: st.column_config.TextColumn(alignment="right", width=_width(rows, name)) for name in ("A", "B", "Change", "Relative")},
        "Direction": st.column_config.MultiselectColumn(options=list(DIRECTIONS), color=list(DIRECTIONS.values()), width=130),
    }


def _width(rows: Sequence[Mapping[str, Any]], name: str) -> int:
    """Of a column in pixels, so that its longest text fits."""
    return 30 + 8 * max([len(name), *(len(str(row.get(name) or "")) for row in rows)])


def breakdowns(found: Comparison) -> None:
    """Where the change of revenue comes from, by one breakdown at a time."""
    st.subheader("Breakdowns")
    names = comparing.breakdown_names(found)
    if not names:
        st.caption("Neither run has breakdowns.")
        return
    name = st.selectbox("Breakdown", names, format_func=comparing.breakdown_label, key="part", bind="query-params", width=260)
    parts = comparing.breakdown_changes(found, name)
    chart = change_spec(parts)
    bars, table = st.columns([2, 3], gap="medium")
    with bars:
        if chart is None:
            st.caption("No value of this breakdown has changed.")
        else:
            label = comparing.breakdown_label(name).lower()
            st.vega_lite_chart(spec=chart, width="stretch", key="compare-bars", alt=f"Change of revenue by {label}, largest first")
    with table:
        rows = words.visible_rows(comparing.breakdown_rows(parts))
        st.dataframe(
            rows,
            hide_index=True,
            key="compare-parts",
            alt="Revenue of every value in both runs, largest change first",
            column_config=change_columns("Value", rows),
        )


@st.cache_data(ttl=600, max_entries=64, show_spinner=False)
def change_spec(parts: Sequence[comparing.PartChange]) -> dict[str, Any] | None:
    """The largest changes as Vega-Lite. None: nothing has changed."""
    chart = comparing.change_chart(parts)
    return spec_of(chart) if chart else None


def profile_differences(first: Run, second: Run, a: dict[str, Any] | None, b: dict[str, Any] | None) -> None:
    """Rows and columns that are not the same; where a profile is not in the lake, that is said."""
    missing = [components.short_id(run.run_id) for run, profile in ((first, a), (second, b)) if profile is None]
    if a is None or b is None:
        st.caption(f"The lake has no profile of run {' and '.join(missing)}, so the files cannot be compared.")
        return
    found = comparing.profile_differences(a, b)
    st.markdown(words.plain(f"{found.rows_told}."))
    if not found.columns:
        st.caption("Both have the same columns, of the same types, with the same share of empty cells.")
        return
    st.dataframe(
        words.visible_rows(comparing.difference_rows(found)),
        hide_index=True,
        key="compare-profiles",
        alt="Columns that differ",
        column_config={
            "Column": st.column_config.TextColumn(width="medium"),
            "Difference": st.column_config.MultiselectColumn(options=list(DIFFERENCES), color=list(DIFFERENCES.values()), width=130),
            "A": st.column_config.TextColumn(alignment="right"),
            "B": st.column_config.TextColumn(alignment="right"),
            "Change": st.column_config.TextColumn(alignment="right"),
        },
    )


page()
