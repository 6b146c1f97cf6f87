"""Charts as Vega-Lite, ready to be kept: Altair checks each part of a chart against a schema, which takes longer than all the rest of a page."""

from typing import Any

import altair as alt


def spec_of(chart: alt.Chart | alt.LayerChart | alt.FacetChart) -> dict[str, Any]:
    """What `st.altair_chart` makes of a chart: without the size that Altair's default theme gives, for the page has its own."""
    spec: dict[str, Any] = chart.to_dict()
    spec.get("config", {}).pop("view", None)
    return spec
