"""Runs a notebook item: finds its source and its lakehouse, puts the parameters in, and runs it in a child process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from treadle.sandbox.fabric import items
from treadle.sandbox.fabric.definitions import content_part, text_of
from treadle.sandbox.fabric.notebook_runner import Limits, NotebookEnd, NotebookPlan, run_notebook
from treadle.sandbox.fabric.notebook_source import NotRunnable, cells_to_run, read_notebook
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.workshop import Workshop

_ZERO_ID: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class NotebookStart:
    """How a notebook is started. `lakehouse_id` goes before the one that the notebook names; None is no wish."""

    parameters: Mapping[str, Any]
    session_id: str
    job_id: str
    lakehouse_id: str | None


def run_notebook_item(shop: Workshop, notebook: Row, start: NotebookStart, why_stop: Callable[[], str | None]) -> NotebookEnd:
    """Run it to its end. A notebook that cannot be run ends like one that failed, with the reason as its error."""
    output = output_file(shop, start.session_id)
    try:
        cells, named = _cells_of(shop, notebook, start.parameters)
        lakehouse = _lakehouse_of(shop, notebook["workspace_id"], start.lakehouse_id or named)
    except NotRunnable as error:
        output.write_text(f"{error}\n", encoding="utf-8")
        return NotebookEnd(error={"ename": "NotRunnable", "evalue": str(error), "traceback": []})
    folder = None if lakehouse is None else shop.lake.path_of(lakehouse["workspace_id"], lakehouse["id"])
    plan = NotebookPlan(cells, folder, _context(notebook, start, lakehouse), output)
    limits = Limits(shop.options.notebook_output_bytes, shop.options.notebook_memory_bytes)
    return run_notebook(plan, python=shop.python, work_dir=shop.work_dir, limits=limits, why_stop=why_stop)


def _context(notebook: Row, start: NotebookStart, lakehouse: Row | None) -> dict[str, Any]:
    """What the notebook finds in `notebookutils.runtime.context`."""
    return {
        "currentNotebookId": notebook["id"],
        "currentNotebookName": notebook["display_name"],
        "currentWorkspaceId": notebook["workspace_id"],
        "currentRunId": start.job_id,
        "defaultLakehouseId": None if lakehouse is None else lakehouse["id"],
    }


def output_file(shop: Workshop, session_id: str) -> Path:
    """Where the output of a notebook session is kept."""
    return shop.output_dir / f"{session_id}.txt"


def output_link(shop: Workshop, notebook_id: str, session_id: str) -> str:
    """Where a person can read that output: the path of Fabric's Spark monitor, at the sandbox's own address."""
    return f"{shop.public_url}/workloads/de-ds/sparkmonitor/{notebook_id}/{session_id}"


def _cells_of(shop: Workshop, notebook: Row, parameters: Mapping[str, Any]) -> tuple[list[str], str | None]:
    kept_format, parts = items.parts_of(shop.records, notebook["id"])
    part = content_part("Notebook", parts)
    if part is None:
        raise NotRunnable(f"The notebook '{notebook['display_name']}' has no content.")
    source = read_notebook(text_of(part), ipynb=kept_format == "ipynb")
    return cells_to_run(source, parameters), source.default_lakehouse


def _lakehouse_of(shop: Workshop, workspace_id: str, lakehouse_id: str | None) -> Row | None:
    """The named lakehouse, of whatever workspace; else the only one of the notebook's workspace; else none."""
    if lakehouse_id and lakehouse_id != _ZERO_ID:
        row = shop.records.row("SELECT * FROM items WHERE id = :id AND type = 'Lakehouse'", id=lakehouse_id.lower())
        if row is None:
            raise NotRunnable(f"The default lakehouse '{lakehouse_id}' of the notebook does not exist.")
        return row
    rows = items.list_items(shop.records, workspace_id, item_type="Lakehouse", folder_id=None, recursive=True)
    return rows[0] if len(rows) == 1 else None
