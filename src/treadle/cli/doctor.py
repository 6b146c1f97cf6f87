"""treadle doctor: check, one by one, everything that a run needs, and say what to do about what is missing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import typer

from treadle.cli.exit_codes import DEFECT
from treadle.cli.options import Json, State, settings_of
from treadle.cli.output import Markup, local_time, reported, say, show_json
from treadle.cli.tables import show_table
from treadle.control import lock
from treadle.control.migrate import require_migrated
from treadle.errors import NotFound, TreadleError
from treadle.flows.sales.lakehouse import IMPORT
from treadle.wiring import Wiring, wired


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a run needs, and whether it is there."""

    name: str
    passed: bool
    detail: str
    hint: str | None = None


@reported
def doctor(state: State = None, json_output: Json = False) -> None:
    """Check settings, sign-in, Fabric, OneLake, database and lock. Changes nothing; exit code 1 if something is wrong."""
    checks = list(_all_checks(state))
    if json_output:
        show_json(checks)
    else:
        show_table(("", "check", "finding"), [(_mark(check), check.name, check.detail) for check in checks], empty="")
        for check in checks:
            if check.hint and not check.passed:
                say(f"{check.name}: {check.hint}")
    if not all(check.passed for check in checks):
        raise typer.Exit(DEFECT)


def _all_checks(state: State) -> Iterator[Check]:
    try:
        settings = settings_of(state)
    except TreadleError as error:
        yield Check("settings", passed=False, detail=error.message, hint=error.hint)
        return
    yield Check("settings", passed=True, detail=f"environment {settings.treadle_environment}")
    with wired(settings) as wiring:
        for name, check in (
            ("workspace", _workspace), ("pipeline", _pipeline), ("lakehouse", _lakehouse), ("database", _database), ("tables", _tables), ("own tables", _own_tables), ("lock", _lock),
        ):  # fmt: skip
            yield from _checked(name, partial(check, wiring))


def _checked(name: str, check: Callable[[], str | list[Check]]) -> Iterator[Check]:
    try:
        found = check()
    except TreadleError as error:
        yield Check(name, passed=False, detail=error.message, hint=error.hint)
        return
    if isinstance(found, str):
        yield Check(name, passed=True, detail=found)
    else:
        yield from found


def _workspace(wiring: Wiring) -> str:
    workspace = wiring.fabric.get_workspace(wiring.sales.workspace)
    return f"signed in; workspace {workspace.name} at {wiring.settings.fabric_api_url}"


def _pipeline(wiring: Wiring) -> str:
    for item in wiring.fabric.list_items(wiring.sales.workspace, "DataPipeline"):
        if item.item_id == wiring.sales.pipeline:
            return f"pipeline {item.name}"
    raise NotFound(
        f"The workspace has no pipeline {wiring.sales.pipeline}.", hint="Correct FABRIC_PIPELINE_ID, or put it there with: treadle deploy"
    )


def _lakehouse(wiring: Wiring) -> str:
    return f"{len(wiring.lake.list_files(IMPORT))} files in {IMPORT}/ at {wiring.settings.onelake_url}"


def _database(wiring: Wiring) -> str:
    return f"answers; its clock says {wiring.database.now():%Y-%m-%d %H:%M:%S} UTC"


def _tables(wiring: Wiring) -> str | list[Check]:
    problems = wiring.database.check()
    if problems:
        return [Check(f"table {found.table}", passed=False, detail=found.problem, hint=found.hint) for found in problems]
    optional = "with" if wiring.database.schema.has_status_last_updated_at else "without"
    return f"all five, {optional} the optional column status_last_updated_at"


def _own_tables(wiring: Wiring) -> str:
    require_migrated(wiring.own)
    return "all migrations of the schema treadle are applied"


def _lock(wiring: Wiring) -> str | list[Check]:
    held = lock.show_lock(wiring.database)
    if held.run_id is None:
        return "free"
    since = f"held by {held.locked_by} for run {held.run_id} since {local_time(held.locked_at)}"
    if held.run and not held.run.status.ended:
        return since
    return [
        Check(
            "lock",
            passed=False,
            detail=f"{since}, but that run is not active",
            hint="Start a worker, which frees it, or: treadle lock release --reason …",
        )
    ]


def _mark(check: Check) -> Markup:
    return Markup("[green]●[/]" if check.passed else "[red]✕[/]")
