"""Where Fabric's own pages show what Treadle started. Pure."""

from urllib.parse import quote

from treadle.control.run import Run


def fabric_page(base_url: str | None, run: Run) -> str | None:
    """The page of the run's job in Fabric's monitoring. None: this environment has no such pages, or no job is known yet.

    Fabric's reference does not give the form of the address. It is the one that Microsoft's operator for Airflow links to
    (PyPI: apache-airflow-microsoft-fabric-plugin, hooks/fabric.py), with the pipeline's id, which we have, where that has its name.
    """
    if not base_url or not run.fabric_job_id:
        return None
    workspace, pipeline, job = (quote(part, safe="") for part in (run.workspace_id, run.pipeline_item_id, run.fabric_job_id))
    return f"{base_url}/workloads/data-pipeline/monitoring/workspaces/{workspace}/pipelines/{pipeline}/{job}"
