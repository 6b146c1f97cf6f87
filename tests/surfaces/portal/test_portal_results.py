"""Results: what is current, any run by its address, and what a reader is told when something is missing or damaged."""

import time
from dataclasses import replace
from io import BytesIO
from uuid import UUID, uuid4

import polars as pl
import pytest
import streamlit as st
from azure.core.credentials import AccessToken

from tests.surfaces.api.conftest import eventually
from tests.surfaces.portal.conftest import texts, working
from treadle.actions import results
from treadle.clients.onelake import OneLakeClient
from treadle.control import runs
from treadle.control.access import Principal, Role, local_principal
from treadle.control.run_search import Page
from treadle.errors import ChecksumMismatch, InvalidInput, NotFound, PermissionDenied
from treadle.flows.sales.artifacts import CSV, PARQUET
from treadle.flows.sales.lakehouse import CURRENT, IMPORT, KPIS, MANIFEST, current_path, run_path
from treadle.portal import result_table, words
from treadle.portal.safe_csv import safe_csv_of_parquet

VIEWER = local_principal("vic", Role.VIEWER)
CITIES = ["=1+1", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "Zürich", ""]


def _ids(settings) -> tuple[str, str]:
    return settings.fabric_workspace_id, settings.fabric_lakehouse_id


class _NoToken:
    """A sign-in that always works; the lake behind it does not answer."""

    def get_token(self, *_: str, **__: object) -> AccessToken:
        return AccessToken("none", 2**31)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    st.cache_data.clear()


@pytest.fixture
def published(service):
    """Run a workbook of 20 rows with names that are not harmless, four rows of them without a city; the id of the run."""

    def run(price: float = 10.0) -> UUID:
        name = f"results-{uuid4().hex[:8]}.csv"
        lines = [f'{n:05d},2026-0{n % 3 + 1}-{n + 1:02d},{price + n},"{CITIES[n % 5]}",{"North" if n % 2 else "South"}' for n in range(20)]
        service.wiring.lake.upload(f"{IMPORT}/{name}", ("order_id,order_date,revenue,city,region\n" + "\n".join(lines) + "\n").encode())
        with working(service.wiring):
            run_id = UUID(service.operator.post("/api/runs", json={"input_file": name}).json()["run_id"])
            eventually(lambda: runs.get_run(service.wiring.database, run_id).status.ended, seconds=60, what="the end of the run")
        assert runs.get_run(service.wiring.database, run_id).status == "SUCCEEDED"
        return run_id

    return run


def test_the_current_results_say_what_they_are_and_how_they_changed(service, published, open_page):
    published(10.0)
    newest = published(20.0)
    at = open_page("results", role=Role.VIEWER)
    assert not at.exception
    said = texts(at)
    revenue = next(metric for metric in at.metric if metric.label == "Revenue")
    assert (revenue.value, revenue.delta) == ("590.00", "+51.3 %")
    assert next(metric for metric in at.metric if metric.label == "Orders").delta == "0"
    assert f"from run {newest}" in said
    assert "5 of 5 files" in said
    assert len(at.dataframe[-1].value) == 20


def test_another_run_is_shown_by_its_address_and_said_not_to_be_current(published, open_page):
    older, newest = published(10.0), published(20.0)
    at = open_page("results", run=str(older)[:8])
    assert not at.exception
    assert next(metric for metric in at.metric if metric.label == "Revenue").value == "390.00"
    said = texts(at)
    assert "not the current results" in said
    assert str(newest) in said


def test_the_breakdown_is_in_the_address_and_rows_without_a_value_are_counted(published, open_page):
    published()
    at = open_page("results", breakdown="City")
    assert not at.exception
    said = texts(at)
    assert "Revenue by city" in said
    assert "**No city:** 4 rows" in said
    written = [element.value for kind in (at.markdown, at.caption, at.subheader) for element in kind]
    assert "<img" not in "".join(written), "names of others are drawn in the chart, not written into Markdown"


def test_a_run_without_results_says_why(service, put_file, open_page):
    run_id = service.operator.post("/api/runs", json={"input_file": put_file()}).json()["run_id"]
    assert "still going on" in texts(open_page("results", run=run_id))
    service.operator.post(f"/api/runs/{run_id}/cancel")
    with working(service.wiring):
        pass
    if runs.get_run(service.wiring.database, UUID(run_id)).status == "FAILED":
        assert "has no results" in texts(open_page("results", run=run_id))


def test_an_address_of_no_run_is_told_with_the_way_on(open_page):
    at = open_page("results", run="00000000")
    assert not at.exception
    assert "no run" in texts(at).lower()


def test_a_missing_file_is_seen_and_read_from_the_runs_own_folder(service, published, open_page):
    run_id = published()
    lake = service.wiring.lake
    whole = lake.read_bytes(current_path(KPIS), max_bytes=10**6)
    lake.delete(current_path(KPIS))
    try:
        assert "4 of 5 files" in texts(open_page("results"))
        source = results.published(service.wiring.services, VIEWER)
        assert not source.is_whole
        assert results.read(service.wiring.services, VIEWER, source, KPIS) == whole
    finally:
        lake.upload(current_path(KPIS), whole)
    assert results.kpis(service.wiring.services, VIEWER, run_id)["orders"] == 20


def test_a_lake_that_is_away_leaves_the_figures_of_the_database(service, published, open_page):
    published()
    settings = service.environment.settings
    away = OneLakeClient("https://localhost:1", *_ids(settings), _NoToken(), deadline_seconds=0.5, backoff_seconds=0.01)
    services = service.wiring.services
    at = open_page("results", services=replace(services, sales=replace(services.sales, lake=away)))
    away.close()
    assert not at.exception
    assert next(metric for metric in at.metric if metric.label == "Revenue").value == "390.00"
    assert len(at.error) == 1, texts(at)
    assert "cannot be read now" in texts(at)


def test_a_lake_that_does_not_answer_keeps_a_page_waiting_no_longer_than_a_look_may_take(service, open_page):
    st.cache_data.clear()
    away = OneLakeClient("https://localhost:1", *_ids(service.environment.settings), _NoToken(), deadline_seconds=60)
    services, began = service.wiring.services, time.monotonic()
    at = open_page("import_file", services=replace(services, sales=replace(services.sales, lake=away)))
    away.close()
    assert time.monotonic() - began < 20, "the client alone would wait for a minute"
    assert "A run that goes on is not affected" in at.error[0].value
    assert [button.label for button in at.button if button.key == "again-import"] == ["Try again"]


def test_a_restore_shows_the_results_that_it_brought_back(service, published, open_page):
    older, _ = published(10.0), published(20.0)
    with working(service.wiring):
        restore = service.operator.post(f"/api/runs/{older}/restore").json()["run_id"]
        eventually(lambda: runs.get_run(service.wiring.database, UUID(restore)).status.ended, seconds=60, what="the end of the restore")
    for at in (open_page("results"), open_page("results", run=restore)):
        assert not at.exception
        assert next(metric for metric in at.metric if metric.label == "Revenue").value == "390.00"
        assert "brought back by" in texts(at)
        assert f"Source: Files/results/current/ from run {older}" in texts(at)


def test_a_database_without_runs_leaves_what_the_lake_has_or_says_that_there_is_nothing(service, published, open_page, monkeypatch):
    run_id = published()
    lake = service.wiring.lake

    def unknown(_: object, asked: UUID) -> None:
        raise NotFound(f"There is no run {asked}.")

    monkeypatch.setattr(runs, "list_runs", lambda *_, **__: Page((), None))
    monkeypatch.setattr(runs, "get_run", unknown)
    at = open_page("results")
    assert not at.exception
    assert next(metric for metric in at.metric if metric.label == "Revenue").value == "390.00"
    assert f"Run {run_id}, which the database does not know" in texts(at)
    manifest = lake.read_bytes(current_path(MANIFEST), max_bytes=10**6)
    lake.delete(current_path(MANIFEST))
    st.cache_data.clear()
    try:
        assert "Nothing published yet" in texts(open_page("results"))
    finally:
        lake.upload(current_path(MANIFEST), manifest)


def test_changed_bytes_of_the_same_size_are_found_by_reading_them(service, published):
    run_id = published()
    services, lake = service.wiring.services, service.wiring.lake
    source = results.of_run(services, VIEWER, run_id)
    assert results.verify(services, VIEWER, source) > 0
    whole = lake.read_bytes(run_path(run_id, KPIS), max_bytes=10**6)
    lake.upload(run_path(run_id, KPIS), whole.replace(b"0", b"1"))
    assert results.of_run(services, VIEWER, run_id).is_whole, "sizes alone do not tell"
    with pytest.raises(ChecksumMismatch) as damaged:
        results.verify(services, VIEWER, source)
    assert damaged.value.details["files"] == [KPIS]
    lake.upload(run_path(run_id, KPIS), whole)


def test_the_csv_to_take_away_has_no_formula_and_all_rows(service, published):
    source = results.of_run(service.wiring.services, VIEWER, published())
    with results.open_file(service.wiring.services, VIEWER, source, "sales_cleaned.parquet") as parquet:
        content = safe_csv_of_parquet(parquet)
    table = pl.read_csv(BytesIO(content))
    assert table.height == 20
    assert set(table["city"].drop_nulls()) == {"'=1+1", *CITIES[1:4]} | ({""} & set(table["city"]))
    assert table["revenue"].sum() == 390


def test_what_is_too_large_for_a_page_is_refused_with_the_way_to_get_it(service, published, monkeypatch):
    source = results.of_run(service.wiring.services, VIEWER, published())
    monkeypatch.setattr(results, "DOWNLOAD_BYTES", 10)
    monkeypatch.setattr(results, "PREVIEW_BYTES", 10)
    with pytest.raises(InvalidInput) as refused:
        results.open_file(service.wiring.services, VIEWER, source, KPIS)
    assert refused.value.hint == f"Get it from the API: /api/runs/{source.run_id}/artifacts/{KPIS}"
    with pytest.raises(InvalidInput):
        results.preview(service.wiring.services, VIEWER, source)


def test_the_limit_of_a_page_holds_for_the_csv_as_it_is_sent(service, published, monkeypatch):
    source = results.of_run(service.wiring.services, VIEWER, published())
    stored = source.file(CSV).size_bytes
    with results.open_file(service.wiring.services, VIEWER, source, PARQUET) as parquet:
        sent = len(safe_csv_of_parquet(parquet))
    assert stored < sent < stored * result_table.REWRITTEN
    assert result_table.sent_size(source, CSV) == (f"about {words.size(stored)}", True)
    result_table.require_sendable(source, CSV, sent)
    monkeypatch.setattr(results, "DOWNLOAD_BYTES", stored)
    assert not result_table.sent_size(source, CSV)[1]
    with pytest.raises(InvalidInput, match="that a page sends"):
        result_table.require_sendable(source, CSV, sent)


def test_nobody_without_the_right_gets_anything(service, published):
    run_id, nobody = published(), Principal("local:x", "x", None, "local")
    services = service.wiring.services
    source = replace(results.of_run(services, VIEWER, run_id), folder=CURRENT)
    for asked in (
        lambda: results.published(services, nobody),
        lambda: results.of_run(services, nobody, run_id),
        lambda: results.kpis(services, nobody, run_id),
        lambda: results.preview(services, nobody, source),
        lambda: results.missing_values(services, nobody, source),
        lambda: results.open_file(services, nobody, source, KPIS),
    ):
        with pytest.raises(PermissionDenied):
            asked()
