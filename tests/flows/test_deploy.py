"""treadle deploy: a plan first, then the same result however often it is repeated."""

import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from treadle.errors import InvalidInput
from treadle.flows.sales import deploy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(deploy.NOTEBOOKS, tmp_path / "notebooks"))


@pytest.fixture
def workspace(treadle) -> str:
    """A workspace of this test's own."""
    created = treadle.fabric.create_workspace(f"deploy-{uuid4().hex[:12]}")
    return created.workspace_id


def test_into_an_empty_workspace_everything_is_created_and_refers_to_each_other(treadle, workspace, folder):
    assert [change.action for change in deploy.plan_items(treadle.fabric, workspace, folder=folder)] == ["create"] * 4
    place = deploy.deploy_items(treadle.fabric, workspace, folder=folder)
    notebook = next(item for item in treadle.fabric.list_items(workspace, "Notebook") if item.name == "sales_ingest")
    pipeline = treadle.fabric.get_item_definition(workspace, place.pipeline_id)["pipeline-content.json"].decode()
    assert notebook.item_id in pipeline
    assert workspace in pipeline
    content = treadle.fabric.get_item_definition(workspace, notebook.item_id)["notebook-content.py"].decode()
    assert place.lakehouse_id in content


def test_repeating_a_deployment_changes_nothing(treadle, workspace, folder):
    first = deploy.deploy_items(treadle.fabric, workspace, folder=folder)
    assert [change.action for change in deploy.plan_items(treadle.fabric, workspace, folder=folder)] == ["unchanged"] * 4
    assert deploy.deploy_items(treadle.fabric, workspace, folder=folder).pipeline_id == first.pipeline_id


def test_a_changed_notebook_is_the_only_update(treadle, workspace, folder):
    deploy.deploy_items(treadle.fabric, workspace, folder=folder)
    notebook = folder / "sales_ingest.Notebook" / "notebook-content.py"
    notebook.write_text(notebook.read_text().replace('requested_by = ""', 'requested_by = "nobody"'))
    plan = deploy.plan_items(treadle.fabric, workspace, folder=folder)
    assert [change.name for change in plan if change.action != "unchanged"] == ["sales_ingest"]
    deploy.deploy_items(treadle.fabric, workspace, folder=folder)
    assert [change.action for change in deploy.plan_items(treadle.fabric, workspace, folder=folder)] == ["unchanged"] * 4


def test_an_item_that_the_settings_name_is_used_whatever_its_name(treadle, workspace, folder):
    lakehouse = treadle.fabric.create_item(workspace, name="corporate", type="Lakehouse")
    place = deploy.deploy_items(treadle.fabric, workspace, known={"Lakehouse": lakehouse.item_id}, folder=folder)
    assert place.lakehouse_id == lakehouse.item_id
    assert [item.name for item in treadle.fabric.list_items(workspace, "Lakehouse")] == ["corporate"]


def test_a_folder_without_items_is_refused(treadle, workspace, tmp_path):
    with pytest.raises(InvalidInput, match="not a folder"):
        deploy.plan_items(treadle.fabric, workspace, folder=tmp_path / "nowhere")
    (tmp_path / "bad.Notebook").mkdir()
    (tmp_path / "bad.Notebook" / ".platform").write_text("not json")
    with pytest.raises(InvalidInput, match="git format"):
        deploy.plan_items(treadle.fabric, workspace, folder=tmp_path)
