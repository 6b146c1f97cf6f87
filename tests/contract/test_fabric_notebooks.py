"""Notebooks run for real: what a notebook sees, what is kept of it, and how it is ended."""

import os
import signal
from pathlib import Path

import pytest
from tests.contract.fabric_trials import FabricCaller, expression, notebook_activity, notebook_source, part, until

from treadle.sandbox.fabric.notebook_runner import Limits, NotebookPlan, run_notebook
from treadle.sandbox.fabric.notebook_source import NotRunnable, cells_to_run, read_notebook

REPOSITORY_NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "sales_ingest.Notebook" / "notebook-content.py"
WAITS = "import threading\nthreading.Event().wait()"


@pytest.fixture
def workspace(fabric):
    workspace = fabric.workspace()
    yield workspace
    fabric.headers = FabricCaller(fabric.sandbox, fabric.https).headers
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)


@pytest.fixture
def run_cells(fabric, workspace):
    """Run a notebook of these cells by a pipeline; the job and its one activity run."""

    def run_cells(*cells, parameters=None, values=None, **activity):
        notebook = fabric.notebook(workspace, notebook_source(*cells, parameters=parameters), f"n{os.urandom(4).hex()}")
        pipeline = fabric.pipeline(workspace, notebook_activity(notebook, parameters=values, **activity), name=f"p{os.urandom(4).hex()}")
        job = fabric.run_to_end(workspace, pipeline)
        return job, fabric.activity_runs(workspace, job["id"])[-1]

    return run_cells


def start_waiting_notebook(fabric, workspace, witness, more=""):
    """A pipeline whose notebook has written its process id to `witness` and waits; the URL of the job, and the id."""
    cell = f"import os\n{more}\nopen({str(witness)!r}, 'w').write(str(os.getpid()))\n{WAITS}"
    notebook = fabric.notebook(workspace, notebook_source(cell))
    pipeline = fabric.pipeline(workspace, notebook_activity(notebook, policy={"timeout": "0.01:00:00"}))
    location = fabric.run(workspace, pipeline)
    return location, int(until(lambda: witness.exists() and witness.read_text()))


def is_running(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_parameters_are_put_in_after_the_parameters_cell_with_their_types(fabric, run_cells):
    values = {
        "text": {"value": 'it\'s "quoted"\n', "type": "string"},
        "count": {"value": "7", "type": "int"},
        "share": {"value": 0.5, "type": "float"},
        "really": {"value": "True", "type": "bool"},
    }
    cell = "print(repr((text, count, share, really, untouched)))"
    job, run = run_cells(cell, parameters="text = count = share = really = None\nuntouched = 'default'", values=values)
    assert job["status"] == "Completed"
    assert fabric.output(run) == repr(('it\'s "quoted"\n', 7, 0.5, True, "default")) + "\n"


def test_a_notebook_without_a_parameters_cell_gets_them_first(fabric, run_cells):
    _, run = run_cells("print(name)", values={"name": {"value": "first", "type": "string"}})
    assert fabric.output(run) == "first\n"


def test_the_cells_share_their_variables_and_run_as_main(fabric, run_cells):
    _, run = run_cells("x = 1\ndef f():\n    return x + 1", "x = 41\nprint(f(), __name__)")
    assert fabric.output(run) == "42 __main__\n"


def test_the_environment_has_the_lakehouse_and_no_secret(fabric, workspace, run_cells, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "planted")
    monkeypatch.setenv("PG_PASSWORD", "planted")
    lakehouse = fabric.lakehouse(workspace)
    _, run = run_cells(
        "import os, json\nfrom pathlib import Path\n"
        "root = Path(os.environ['TREADLE_LAKEHOUSE_ROOT'])\n(root / 'Files' / 'made.txt').write_text('by the notebook')\n"
        "print(json.dumps(dict(os.environ)))\nprint(os.getcwd() == os.environ['HOME'], os.getsid(0) == os.getpid())"
    )
    output = fabric.output(run)
    assert "planted" not in output
    assert fabric.sandbox.credentials.client_secret not in output
    assert output.endswith("True True\n")
    assert (fabric.sandbox.lake.path_of(workspace, lakehouse) / "Files" / "made.txt").read_text() == "by the notebook"


def test_of_two_lakehouses_the_named_one_is_attached_and_without_a_name_none(fabric, workspace, run_cells):
    fabric.lakehouse(workspace, "first")
    second = fabric.lakehouse(workspace, "second")
    cell = "import os\nprint(os.environ.get('TREADLE_LAKEHOUSE_ROOT'))"
    _, run = run_cells(cell)
    assert fabric.output(run) == "None\n"
    notebook = fabric.notebook(workspace, notebook_source(cell, lakehouse=second))
    pipeline = fabric.pipeline(workspace, notebook_activity(notebook))
    job = fabric.run_to_end(workspace, pipeline)
    assert fabric.output(fabric.activity_runs(workspace, job["id"])[0]).strip().endswith(second)


def test_a_lakehouse_of_the_call_goes_before_the_notebooks_own(fabric, workspace):
    own, other = fabric.lakehouse(workspace, "own"), fabric.lakehouse(workspace, "other")
    source = notebook_source(
        "import os, notebookutils\nnotebookutils.notebook.exit(os.environ['TREADLE_LAKEHOUSE_ROOT'][-36:])", lakehouse=own
    )
    notebook = fabric.notebook(workspace, source)

    def exit_value(execution_data):
        job = fabric.run_to_end(workspace, notebook, "RunNotebook", executionData=execution_data)
        url = f"/workspaces/{workspace}/notebooks/{notebook}/jobs/execute/instances/{job['id']}?beta=true"
        return fabric.get(url).json()["properties"]["exitValue"]

    assert exit_value({}) == own
    assert exit_value({"configuration": {"defaultLakehouse": {"name": "other", "id": other}}}) == other
    assert (
        exit_value({"compute": "Jupyter", "computeConfiguration": {"defaultLakehouse": {"referenceType": "ById", "itemId": other}}})
        == other
    )


def test_a_default_lakehouse_that_does_not_exist_fails_the_notebook_by_name(fabric, workspace):
    missing = "11111111-2222-3333-4444-555555555555"
    notebook = fabric.notebook(workspace, notebook_source("1", lakehouse=missing))
    job = fabric.run_to_end(workspace, notebook, "RunNotebook")
    assert missing in job["failureReason"]["message"]


def test_the_exit_value_ends_the_notebook_and_is_shown(fabric, run_cells):
    job, run = run_cells("import notebookutils\nnotebookutils.notebook.exit('42 rows')\nprint('never')", "print('nor this')")
    assert job["status"] == "Completed"
    assert run["status"] == "Succeeded"
    assert run["output"]["result"]["exitValue"] == "42 rows"
    assert run["output"]["result"]["runStatus"] == "Succeeded"
    assert fabric.output(run) == ""


def test_an_exception_is_told_in_the_activity_in_the_job_and_in_the_output(fabric, run_cells):
    job, run = run_cells("print('before')", "def f():\n    raise KeyError('revenue')\nf()", "print('after')")
    assert job["status"] == "Failed"
    assert job["failureReason"]["message"].startswith("Operation on target Run failed: Notebook execution failed at Notebook service")
    assert "Error name - KeyError, Error value - 'revenue'" in job["failureReason"]["message"]
    assert run["status"] == "Failed"
    assert run["error"]["target"] == "Run"
    assert run["error"]["failureType"] == "UserError"
    error = run["output"]["result"]["error"]
    assert (error["ename"], error["evalue"]) == ("KeyError", "'revenue'")
    assert any("raise KeyError('revenue')" in line for line in error["traceback"])
    assert '<cell 2>", line 2, in f' in fabric.output(run)
    assert "after" not in fabric.output(run)


@pytest.mark.parametrize("cell", ["raise SystemExit(0)", "import sys\nsys.exit('leaving')"])
def test_leaving_by_system_exit_is_a_failure(run_cells, cell):
    job, run = run_cells(cell)
    assert job["status"] == "Failed"
    assert run["output"]["result"]["error"]["ename"] == "SystemExit"


def test_a_process_that_ends_without_a_word_is_told_with_its_exit_code(run_cells):
    job, _ = run_cells("import os\nos._exit(7)")
    assert "ended with exit code 7 before the notebook did" in job["failureReason"]["message"]


@pytest.mark.kills
def test_a_notebook_that_somebody_kills_ends_as_failed_and_says_so(fabric, workspace, tmp_path):
    location, pid = start_waiting_notebook(fabric, workspace, tmp_path / "pid")
    os.kill(pid, signal.SIGKILL)
    job = fabric.ended(location)
    assert job["status"] == "Failed"
    assert "killed from outside by signal 9 (SIGKILL)" in job["failureReason"]["message"]


@pytest.mark.kills
def test_a_cancelled_notebook_goes_with_all_that_it_started(fabric, workspace, tmp_path):
    grandchild = tmp_path / "grandchild"
    more = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import threading; threading.Event().wait()'], start_new_session=True)\n"
        f"open({str(grandchild)!r}, 'w').write(str(child.pid))"
    )
    location, pid = start_waiting_notebook(fabric, workspace, tmp_path / "pid", more)
    fabric.post(f"{location}/cancel", expect=202)
    job = fabric.ended(location)
    assert job["status"] == "Cancelled"
    assert [run["status"] for run in fabric.activity_runs(workspace, job["id"])] == ["Cancelled"]
    assert not is_running(pid)
    assert not is_running(int(grandchild.read_text()))


@pytest.mark.kills
def test_what_a_notebook_leaves_behind_does_not_outlive_it(fabric, run_cells, tmp_path):
    left = tmp_path / "left"
    job, _ = run_cells(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import threading; threading.Event().wait()'], start_new_session=True)\n"
        f"open({str(left)!r}, 'w').write(str(child.pid))"
    )
    assert job["status"] == "Completed"
    assert not is_running(int(left.read_text()))


def test_the_timeout_of_the_activity_ends_it_by_the_sandbox_clock(fabric, workspace, tmp_path):
    location, pid = start_waiting_notebook(fabric, workspace, tmp_path / "pid")
    fabric.sandbox.clock.advance(3601)
    fabric.headers = FabricCaller(fabric.sandbox, fabric.https).headers
    job = fabric.ended(location)
    assert job["status"] == "Failed"
    assert "did not end within the activity's timeout of 1:00:00" in job["failureReason"]["message"]
    assert not is_running(pid)


def test_output_is_kept_up_to_a_limit(fabric, run_cells):
    fabric.sandbox.fabric.options.notebook_output_bytes = 1000
    job, run = run_cells("import sys\nfor _ in range(200_000):\n    print('x' * 99)\nsys.stderr.write('end')")
    assert job["status"] == "Completed"
    output = fabric.output(run)
    assert output.startswith("x" * 99)
    assert output.endswith("\n[the sandbox keeps the first 1000 bytes of output]\n")
    assert len(output) < 1100


def test_output_of_exactly_the_limit_is_not_called_cut(fabric, run_cells):
    fabric.sandbox.fabric.options.notebook_output_bytes = 4
    _, run = run_cells("print('abc')")
    assert fabric.output(run) == "abc\n"


def test_output_can_be_read_while_the_notebook_runs(fabric, workspace, tmp_path):
    location, _ = start_waiting_notebook(fabric, workspace, tmp_path / "pid", "print('working', flush=True)")
    job_id = location.rsplit("/", 1)[1]
    folder = fabric.sandbox.fabric.shop.output_dir
    assert until(lambda: [file for file in folder.glob("*.txt") if file.read_text() == "working\n"])
    assert fabric.activity_runs(workspace, job_id)[0]["status"] == "InProgress"


def test_a_link_to_output_that_does_not_exist_is_not_found(fabric):
    root = fabric.sandbox.endpoints.fabric_url
    for session in ("11111111-2222-3333-4444-555555555555", "..", "%2e%2e%2ffabric.sqlite3", "a%00b"):
        assert fabric.https.get(f"{root}/workloads/de-ds/sparkmonitor/n/{session}").status_code in (404, 501)


def test_memory_is_bounded_when_asked(fabric, run_cells):
    fabric.sandbox.fabric.options.notebook_memory_bytes = 512 * 1024 * 1024
    job, run = run_cells("x = bytearray(2 * 1024 ** 3)")
    assert job["status"] == "Failed"
    assert run["output"]["result"]["error"]["ename"] == "MemoryError"


@pytest.mark.parametrize("cell", ["%pip install nothing", "!ls", "# MAGIC %%sql\n# MAGIC select 1"])
def test_magic_is_refused_by_name(fabric, run_cells, cell):
    job, run = run_cells(cell)
    assert "not modelled by the Treadle sandbox" in job["failureReason"]["message"]
    assert cell.split("\n")[0] in fabric.output(run)


def test_a_notebook_in_ipynb_runs_too(fabric, workspace):
    document = """{"nbformat": 4, "metadata": {"kernel_info": {"name": "jupyter"}}, "cells": [
        {"cell_type": "markdown", "source": ["# title"]},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["a = 1\\n", "b = 2"]},
        {"cell_type": "code", "metadata": {}, "source": "import notebookutils\\nnotebookutils.notebook.exit(a + b)"}]}"""
    body = {"displayName": "n", "definition": {"format": "ipynb", "parts": [part("notebook-content.ipynb", document)]}}
    notebook = fabric.finished(fabric.post(f"/workspaces/{workspace}/notebooks", body)).json()["id"]
    parameters = {"a": {"value": 40, "type": "int"}}
    job = fabric.run_to_end(workspace, notebook, "RunNotebook", executionData={"parameters": parameters})
    url = f"/workspaces/{workspace}/notebooks/{notebook}/jobs/execute/instances/{job['id']}?beta=true"
    assert fabric.get(url).json()["properties"]["exitValue"] == "42"


def test_the_listed_form_of_parameters_reaches_a_notebook(fabric, workspace):
    source = notebook_source("import notebookutils\nnotebookutils.notebook.exit(repr((a, b)))", parameters="a = b = None")
    notebook = fabric.notebook(workspace, source)
    parameters = [{"name": "a", "type": "Text", "value": "x"}, {"name": "b", "type": "Integer", "value": 3}]
    job = fabric.run_to_end(workspace, notebook, "RunNotebook", parameters=parameters)
    url = f"/workspaces/{workspace}/notebooks/{notebook}/jobs/execute/instances/{job['id']}?beta=true"
    assert fabric.get(url).json()["properties"]["exitValue"] == "('x', 3)"


def test_spark_that_has_no_room_is_told_inside_the_activity(fabric, workspace):
    notebook = fabric.notebook(workspace, notebook_source("1"))
    pipeline = fabric.pipeline(workspace, notebook_activity(notebook))
    fabric.sandbox.faults.script("fabric.RunOnDemandItemJob", "capacity_exceeded")
    job = fabric.run_to_end(workspace, pipeline)
    message = fabric.activity_runs(workspace, job["id"])[0]["error"]["message"]
    assert "http status code - '430'" in message
    assert "[TooManyRequestsForCapacity]" in message
    assert message in job["failureReason"]["message"]


def test_an_interpreter_that_does_not_start_is_told(tmp_path):
    plan = NotebookPlan([], None, {}, tmp_path / "output.txt")
    end = run_notebook(plan, python=str(tmp_path / "no-python"), work_dir=tmp_path, limits=Limits(100, None), why_stop=lambda: None)
    assert end.error["ename"] == "SessionNotStarted"
    assert "no-python" in end.error["evalue"]


# The source format, without a process.


def test_the_repositorys_notebook_is_parameters_and_one_call():
    notebook = read_notebook(REPOSITORY_NOTEBOOK.read_text(encoding="utf-8"), ipynb=False)
    assert [cell.parameters for cell in notebook.cells] == [True, False]
    defaults = {}
    exec(notebook.cells[0].source, defaults)
    assert {name: value for name, value in defaults.items() if name != "__builtins__"} == {
        "input_file": "",
        "run_id": "",
        "requested_by": "",
        "pipeline_run_id": "",
    }
    assert notebook.cells[1].source.count("ingest(") == 1


def test_a_line_that_looks_like_magic_inside_a_text_is_plain_python():
    notebook = read_notebook(notebook_source('x = """\n%d items\n!important\n"""'), ipynb=False)
    assert len(cells_to_run(notebook, {})) == 1


def test_windows_line_ends_and_markdown_do_no_harm():
    text = notebook_source("a = 1", "b = 2").replace("# CELL", "# MARKDOWN ********************\n\n# # title\n\n# CELL", 1)
    notebook = read_notebook(text.replace("\n", "\r\n"), ipynb=False)
    assert [cell.source for cell in notebook.cells] == ["a = 1", "b = 2"]


def test_a_cell_in_another_language_cannot_run():
    text = notebook_source("SELECT 1") + '\n# METADATA ********************\n\n# META {\n# META   "language": "sparksql"\n# META }\n'
    with pytest.raises(NotRunnable, match="sparksql"):
        cells_to_run(read_notebook(text, ipynb=False), {})


@pytest.mark.parametrize("name", ["a b", "class", "1a", "a;import os"])
def test_a_parameter_that_cannot_be_a_variable_is_refused(name):
    with pytest.raises(NotRunnable, match="cannot be a variable"):
        cells_to_run(read_notebook(notebook_source("1"), ipynb=False), {name: 1})


def test_expressions_reach_the_notebook(fabric, workspace):
    notebook = fabric.notebook(workspace, notebook_source("print(run, who, job)", parameters="run = who = job = ''"))
    values = {
        "run": expression("@pipeline().parameters.run_id"),
        "who": {"value": "for @{pipeline().parameters.who}", "type": "string"},
        "job": expression("@pipeline().RunId"),
    }
    declared = {"run_id": {"type": "string"}, "who": {"type": "string", "defaultValue": "nobody"}}
    pipeline = fabric.pipeline(workspace, notebook_activity(notebook, parameters=values), parameters=declared)
    job = fabric.run_to_end(workspace, pipeline, executionData={"parameters": {"run_id": "r-1"}})
    assert fabric.output(fabric.activity_runs(workspace, job["id"])[0]) == f"r-1 for nobody {job['id']}\n"
