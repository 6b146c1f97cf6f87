"""The notebook's job on a lakehouse folder: real workbooks, a real child process, no sandbox."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import polars as pl
import pytest

from tests.unit.published_runs import run_until_change
from treadle.errors import ChecksumMismatch, Conflict, InvalidInput, NotFound, PermissionDenied, TreadleError
from treadle.flows.sales.files import entry_of, exclusively
from treadle.flows.sales.ingest import ingest
from treadle.flows.sales.lakehouse import CURRENT, DATA_FILES, FAILED, IMPORT, KPIS, MANIFEST, PROFILE, RUN_METADATA, STARTED, run_path
from treadle.flows.sales.publish import open_current, read_manifest
from treadle.flows.sales.samples import write_sales_orders

SUPERSTORE = Path(__file__).parents[2] / "samples" / "superstore.xlsx"
SMALL = "order_id,revenue,region,order_date\n007,10.10,West,2024-01-01\n007,5.05,,2024-01-02\n008,20.00,East,2024-02-01\n"


@pytest.fixture
def lakehouse(tmp_path):
    (tmp_path / IMPORT).mkdir(parents=True)
    return tmp_path


@pytest.fixture(scope="module")
def made_runs(tmp_path_factory):
    """A lakehouse with two finished runs, of which the second is current; ask for `two_runs`, which is a copy to work on."""
    lakehouse = tmp_path_factory.mktemp("runs")
    (lakehouse / IMPORT).mkdir(parents=True)
    put(lakehouse, "small.csv", SMALL)
    first = run(lakehouse)
    put(lakehouse, "small.csv", SMALL.replace("20.00", "99.00"))
    return lakehouse, first, run(lakehouse)


@pytest.fixture
def two_runs(made_runs, tmp_path):
    """The lakehouse, the first run and the second, which is current."""
    lakehouse, first, second = made_runs
    shutil.copytree(lakehouse, tmp_path / "lake")
    return tmp_path / "lake", first, second


def put(lakehouse, name, content):
    path = lakehouse / IMPORT / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def run(lakehouse, input_file="small.csv", run_id=None):
    run_id = run_id or str(uuid4())
    ingest(input_file, run_id, "ada@example.org", "job-1", lakehouse=lakehouse)
    return run_id


def read(lakehouse, run_id, name):
    return json.loads((lakehouse / run_path(run_id, name)).read_bytes())


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} if folder.exists() else {}


def test_superstore_gives_its_known_figures(lakehouse):
    put(lakehouse, "superstore.xlsx", SUPERSTORE.read_bytes())
    put(lakehouse, "superstore.xlsx.mapping.json", '{"columns": {"Sales": "revenue", "Order ID": "order_id"}}')
    run_id = run(lakehouse, "superstore.xlsx")
    kpis = read(lakehouse, run_id, KPIS)
    assert (kpis["run_id"], kpis["row_count"], kpis["orders"], kpis["total_revenue"]) == (run_id, 9994, 5009, 2297200.86)
    assert kpis["revenue_by_region"] == {"West": 725457.82, "East": 678781.24, "Central": 501239.89, "South": 391721.91}
    assert len(kpis["time_series_monthly"]) == 48
    profile = read(lakehouse, run_id, PROFILE)
    assert (profile["row_count"], profile["mapping"]["Sales"], profile["sheet"]) == (9994, "revenue", "Orders")
    assert read(lakehouse, run_id, RUN_METADATA)["mapping"]["Sales"] == "revenue"


def test_the_sample_has_the_reference_funnel(lakehouse):
    write_sales_orders(lakehouse / IMPORT / "sales_orders_fact.xlsx")
    kpis = read(lakehouse, run(lakehouse, "sales_orders_fact.xlsx"), KPIS)
    assert kpis["orders"] == 50_000
    assert (kpis["funnel"]["conversion_rate_pct"], kpis["funnel"]["orders_per_visitor_pct"]) == (3.44, 3.5)


def test_a_run_leaves_its_sealed_folder_and_the_same_files_in_current(lakehouse):
    put(lakehouse, "small.csv", SMALL)
    run_id = run(lakehouse)
    folder = lakehouse / run_path(run_id)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*DATA_FILES, RUN_METADATA, STARTED])
    assert sorted(path.name for path in (lakehouse / CURRENT).iterdir()) == sorted([*DATA_FILES, MANIFEST])
    metadata = read(lakehouse, run_id, RUN_METADATA)
    assert metadata["files"] == [entry_of(folder / name).as_json() for name in DATA_FILES]
    for name in DATA_FILES:
        assert (lakehouse / CURRENT / name).read_bytes() == (folder / name).read_bytes()
    assert read_manifest(lakehouse).run_id == UUID(run_id)


def test_the_metadata_says_who_when_from_what_and_with_what(lakehouse):
    path = put(lakehouse, "small.csv", SMALL)
    run_id = run(lakehouse)
    metadata = read(lakehouse, run_id, RUN_METADATA)
    source = entry_of(path)
    expected = {
        "run_id": run_id,
        "kind": "run",
        "input_file": "small.csv",
        "requested_by": "ada@example.org",
        "pipeline_run_id": "job-1",
        "input_size_bytes": source.size_bytes,
        "input_sha256": source.sha256,
        "row_count": 3,
        "column_count": 4,
        "columns": ["order_id", "revenue", "region", "order_date"],
    }
    assert {name: metadata[name] for name in expected} == expected
    assert metadata["started_at"] < metadata["finished_at"]
    assert metadata["formats"].keys() == set(DATA_FILES)
    assert read(lakehouse, run_id, STARTED).keys() == {"run_id", "pipeline_run_id", "started_at"}


def test_the_cleaned_data_keeps_ids_money_and_missing_values(lakehouse):
    put(lakehouse, "small.csv", SMALL)
    folder = lakehouse / run_path(run(lakehouse))
    frame = pl.read_parquet(folder / "sales_cleaned.parquet")
    assert frame["order_id"].to_list() == ["007", "007", "008"]
    assert frame["revenue"].dtype == pl.Decimal(38, 6)
    assert frame["region"].to_list() == ["West", None, "East"]
    assert (folder / "sales_cleaned.csv").read_text().splitlines()[2].startswith("007,5.05")


def test_rows_with_a_missing_category_do_not_vanish(lakehouse):
    put(lakehouse, "small.csv", SMALL)
    kpis = read(lakehouse, run(lakehouse), KPIS)
    assert kpis["revenue_by_region"] == {"East": 20.0, "West": 10.1, "(missing)": 5.05}


def test_the_funnel_file_beside_the_workbook_counts(lakehouse):
    put(lakehouse, "small.csv", SMALL)
    put(lakehouse, "small.funnel.json", '{"total_visitors": 200, "converting_visitors": 10}')
    assert read(lakehouse, run(lakehouse), KPIS)["funnel"]["conversion_rate_pct"] == 5.0


@pytest.mark.parametrize("content", ["{", "[]", '{"total_visitors": -1}', b"\xff\xfe\x00"])
def test_a_broken_funnel_file_is_a_warning_in_the_metadata(lakehouse, content):
    put(lakehouse, "small.csv", SMALL)
    put(lakehouse, "small.funnel.json", content)
    run_id = run(lakehouse)
    assert "funnel" not in read(lakehouse, run_id, KPIS)
    assert any("small.funnel.json" in warning for warning in read(lakehouse, run_id, RUN_METADATA)["warnings"])


def test_failed_checks_of_the_file_are_warnings_in_the_metadata(lakehouse):
    put(lakehouse, "small.csv", "order_id,revenue\n1,10\n2,-5\n")
    assert any("negative" in warning for warning in read(lakehouse, run(lakehouse), RUN_METADATA)["warnings"])


def test_a_broken_mapping_file_ends_the_run(lakehouse):
    put(lakehouse, "small.csv", SMALL)
    put(lakehouse, "small.csv.mapping.json", "{")
    with pytest.raises(InvalidInput, match=r"small\.csv\.mapping\.json"):
        run(lakehouse)


@pytest.mark.parametrize("name", ["Umsätze März (final).csv", "売上 2026.csv", "50% & more;.csv", "-rf.csv"])
def test_unusual_names_are_files_like_any_other(lakehouse, name):
    put(lakehouse, name, SMALL)
    run_id = run(lakehouse, name)
    assert read(lakehouse, run_id, PROFILE)["file_name"] == name


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("broken.xlsx", b"not a workbook at all", InvalidInput, "broken"),
        ("sums.csv", "order_id,umsatz\n1,2\n", InvalidInput, "revenue"),
        ("header.csv", "order_id,revenue\n", InvalidInput, "rows"),
        ("../small.csv", None, InvalidInput, "slash"),
        ("a\x00b.csv", None, InvalidInput, "control"),
        ("x" * 300 + ".csv", None, InvalidInput, "255"),
        ("absent.csv", None, NotFound, "absent.csv"),
        (f"__restore__{UUID(int=9)}", None, NotFound, "not in the lakehouse"),
        ("__restore__x", None, InvalidInput, "run to restore"),
    ],
)
def test_a_failed_run_leaves_current_as_it_was_and_says_why(two_runs, name, content, error, words):
    lakehouse, _, _ = two_runs
    before = tree(lakehouse / CURRENT)
    if content:
        put(lakehouse, name, content)
    run_id = str(uuid4())
    with pytest.raises(error, match=words) as caught:
        run(lakehouse, name, run_id)
    assert tree(lakehouse / CURRENT) == before
    told = read(lakehouse, run_id, FAILED)
    assert told.keys() == {"error", "message", "hint", "details", "failed_at"}
    assert (told["error"], told["message"], told["hint"]) == (error.__name__, caught.value.message, caught.value.hint)
    assert "\n" not in caught.value.message
    assert sorted(path.name for path in (lakehouse / run_path(run_id)).iterdir()) == sorted([FAILED, STARTED])


def test_a_file_that_is_not_there_is_answered_with_those_that_are(lakehouse):
    put(lakehouse, "small.csv", SMALL)
    with pytest.raises(NotFound) as caught:
        run(lakehouse, "smal.csv")
    assert "small.csv" in caught.value.hint


@pytest.mark.parametrize("run_id", ["", "x", "../../x", "0B0A5F3E-0C39-4B2C-8A57-1F0B0C0D0E01"])
def test_a_run_id_that_is_none_is_refused_and_nothing_is_written(lakehouse, run_id):
    before = tree(lakehouse)
    with pytest.raises(InvalidInput, match="run id"):
        ingest("small.csv", run_id, "ada", lakehouse=lakehouse)
    assert tree(lakehouse) == before
    assert not (lakehouse / "Files/results").exists()


def test_a_run_that_nobody_asked_for_is_refused(lakehouse):
    with pytest.raises(InvalidInput, match="requested_by"):
        ingest("small.csv", str(uuid4()), "  ", lakehouse=lakehouse)


def test_without_a_lakehouse_the_person_is_told_to_attach_one(tmp_path):
    with pytest.raises(NotFound, match="no lakehouse"):
        ingest("small.csv", str(uuid4()), "ada", lakehouse=tmp_path)


@pytest.mark.parametrize("linked", ["small.csv", "small.csv.mapping.json"])
def test_a_link_out_of_the_lakehouse_is_not_followed(tmp_path, linked):
    lakehouse, outside = tmp_path / "lake", tmp_path / "outside.csv"
    (lakehouse / IMPORT).mkdir(parents=True)
    put(lakehouse, "small.csv", SMALL)
    outside.write_text('{"columns": {}}' if linked.endswith("json") else SMALL)
    (lakehouse / IMPORT / linked).unlink(missing_ok=True)
    (lakehouse / IMPORT / linked).symlink_to(outside)
    with pytest.raises(PermissionDenied, match="link"):
        run(lakehouse)


def test_a_link_inside_the_lakehouse_is_followed(lakehouse):
    put(lakehouse, "real.csv", SMALL)
    (lakehouse / IMPORT / "small.csv").symlink_to("real.csv")
    assert read(lakehouse, run(lakehouse), KPIS)["orders"] == 2


def test_executing_a_finished_run_again_publishes_it_again_and_rewrites_nothing(two_runs):
    lakehouse, _, current = two_runs
    before = tree(lakehouse / run_path(current))
    put(lakehouse, "small.csv", SMALL + "009,1,East,2024-03-01\n")
    (lakehouse / CURRENT / KPIS).unlink()
    run(lakehouse, run_id=current)
    assert tree(lakehouse / run_path(current)) == before
    assert (read_manifest(lakehouse).sequence, (lakehouse / CURRENT / KPIS).read_bytes()) == (3, before[KPIS])


def test_a_finished_run_does_not_come_back_over_a_newer_one(two_runs):
    lakehouse, first, second = two_runs
    before = tree(lakehouse)
    with pytest.raises(Conflict, match=second):
        run(lakehouse, run_id=first)
    assert tree(lakehouse) == before


def test_a_finished_run_is_not_executed_with_another_input(two_runs):
    lakehouse, _, current = two_runs
    with pytest.raises(Conflict, match=r"small\.csv"):
        run(lakehouse, "other.csv", current)


def test_a_failed_run_may_be_executed_again_and_then_tells_no_failure(lakehouse):
    put(lakehouse, "small.csv", "order_id\n1\n")
    run_id = str(uuid4())
    with pytest.raises(InvalidInput):
        run(lakehouse, run_id=run_id)
    put(lakehouse, "small.csv", SMALL)
    run(lakehouse, run_id=run_id)
    assert not (lakehouse / run_path(run_id, FAILED)).exists()


def test_two_executions_of_one_run_at_a_time_are_refused(lakehouse):
    put(lakehouse, "small.csv", SMALL)
    run_id = str(uuid4())
    (lakehouse / run_path(run_id)).mkdir(parents=True)
    with exclusively(lakehouse / run_path(run_id), wait_seconds=0), pytest.raises(Conflict, match="Another process"):
        run(lakehouse, run_id=run_id)
    run(lakehouse, run_id=run_id)


def test_a_restore_brings_the_earlier_run_back_and_has_only_metadata_of_its_own(two_runs):
    lakehouse, first, _ = two_runs
    restore = run(lakehouse, f"__restore__{first}")
    manifest = read_manifest(lakehouse)
    assert (str(manifest.run_id), str(manifest.published_by_run), manifest.sequence) == (first, restore, 3)
    assert (lakehouse / CURRENT / KPIS).read_bytes() == (lakehouse / run_path(first, KPIS)).read_bytes()
    metadata = read(lakehouse, restore, RUN_METADATA)
    assert (metadata["kind"], metadata["source_run_id"], metadata["files"]) == ("restore", first, [])
    assert sorted(path.name for path in (lakehouse / run_path(restore)).iterdir()) == sorted([STARTED, RUN_METADATA])


def test_a_restore_executed_twice_is_the_same_restore(two_runs):
    lakehouse, first, _ = two_runs
    restore = run(lakehouse, f"__restore__{first}")
    run(lakehouse, f"__restore__{first}", restore)
    assert str(read_manifest(lakehouse).run_id) == first


@pytest.mark.parametrize("name", DATA_FILES)
def test_a_damaged_run_is_not_restored_and_the_file_is_named(two_runs, name):
    lakehouse, first, second = two_runs
    with (lakehouse / run_path(first, name)).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ChecksumMismatch, match=name):
        run(lakehouse, f"__restore__{first}")
    assert str(read_manifest(lakehouse).run_id) == second


def test_a_restore_of_a_restore_points_to_the_run_that_has_the_files(two_runs):
    lakehouse, first, _ = two_runs
    restore = run(lakehouse, f"__restore__{first}")
    with pytest.raises(Conflict, match="itself a restore") as caught:
        run(lakehouse, f"__restore__{restore}")
    assert first in caught.value.hint


def test_a_run_that_did_not_finish_is_not_restored(lakehouse):
    put(lakehouse, "small.csv", "order_id\n1\n")
    run_id = str(uuid4())
    with pytest.raises(TreadleError):
        run(lakehouse, run_id=run_id)
    with pytest.raises(NotFound, match="did not finish"):
        run(lakehouse, f"__restore__{run_id}")


def test_two_runs_of_the_same_file_give_the_same_bytes(lakehouse):
    put(lakehouse, "small.csv", SMALL)
    first, second = (lakehouse / run_path(run(lakehouse)) for _ in range(2))
    for name in ("sales_cleaned.parquet", "sales_cleaned.csv", PROFILE):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_notebooks_own_process_stays_light():
    """Its address space and its start are what a hostile workbook and a short run pay for: the tables are computed in the child alone."""
    code = "import sys, treadle.flows.sales.ingest as m; print([n for n in ('polars', 'narwhals', 'pyarrow', 'fastexcel', 'psycopg') if n in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert told.stdout.strip() == "[]"


def test_the_limits_of_the_child_are_settings(lakehouse, monkeypatch):
    put(lakehouse, "small.csv", SMALL)
    monkeypatch.setenv("TREADLE_READ_SECONDS", "soon")
    with pytest.raises(InvalidInput, match="TREADLE_READ_SECONDS"):
        run(lakehouse)
    monkeypatch.setenv("TREADLE_READ_SECONDS", "0.01")
    with pytest.raises(InvalidInput, match="longer than"):
        run(lakehouse)


KILLED_INGEST = """
from treadle.flows.sales.ingest import ingest
def work():
    ingest({input_file!r}, {run_id!r}, "ada", lakehouse={root!r})
"""


@pytest.mark.kills
@pytest.mark.parametrize("first_kill", [1, 2, 3])
def test_a_notebook_killed_anywhere_leaves_current_whole_and_its_run_can_be_executed_again(two_runs, first_kill):
    lakehouse, _, current = two_runs
    new = str(uuid4())
    code = KILLED_INGEST.format(input_file="small.csv", run_id=new, root=str(lakehouse))
    number, kills = first_kill, 0
    while run_until_change(number, code):
        manifest = read_manifest(lakehouse)
        assert str(manifest.run_id) == current
        for entry in manifest.files:
            with open_current(lakehouse, manifest, entry.name) as file:
                assert file.read() == (lakehouse / run_path(current, entry.name)).read_bytes()
        number, kills = number + 3, kills + 1
    assert kills >= 4
    assert str(read_manifest(lakehouse).run_id) == new
    assert sorted(path.name for path in (lakehouse / run_path(new)).iterdir()) == sorted([*DATA_FILES, RUN_METADATA, STARTED])
    assert sorted(path.name for path in (lakehouse / CURRENT).iterdir()) == sorted([*DATA_FILES, MANIFEST])


@pytest.mark.kills
def test_a_restore_killed_anywhere_leaves_current_whole_and_can_be_executed_again(two_runs):
    lakehouse, first, second = two_runs
    restore = str(uuid4())
    code = KILLED_INGEST.format(input_file=f"__restore__{first}", run_id=restore, root=str(lakehouse))
    kills = 0
    while run_until_change(kills + 1, code):
        kills += 1
        assert str(read_manifest(lakehouse).run_id) == second
    assert kills >= 8
    assert str(read_manifest(lakehouse).run_id) == first


def test_a_lakehouse_that_fails_is_reported_as_such(lakehouse):
    put(lakehouse, "small.csv", SMALL)
    (lakehouse / CURRENT).parent.mkdir(parents=True)
    (lakehouse / CURRENT).write_text("a file where the folder should be")
    with pytest.raises(TreadleError, match="lakehouse could not be"):
        run(lakehouse)
