"""treadle files …: what lies in Files/import/, bring a file there, look into one."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from treadle.cli.options import Json, State, local_file, say_environment, session
from treadle.cli.output import reported, say, show_json, show_table, upload_progress
from treadle.cli.runs import parse_mapping
from treadle.control import runs
from treadle.errors import Conflict, NotFound
from treadle.flows.sales import samples
from treadle.flows.sales.input_file import check_input_file
from treadle.flows.sales.input_files import list_input_files, staged_file, stored_mapping
from treadle.flows.sales.inspect_file import inspect_file
from treadle.flows.sales.lakehouse import IMPORT, import_path
from treadle.wiring import Wiring

app = typer.Typer(no_args_is_help=True, help="Workbooks in Files/import/: list, upload, profile.")


@app.command("ls")
@reported
def ls(state: State = None, json_output: Json = False) -> None:
    """List the workbooks that a run can read."""
    with session(state) as wiring:
        found = list_input_files(wiring.lake)
        if json_output:
            show_json(found)
        else:
            show_table(
                ("name", "size", "modified"),
                [(file.name, f"{file.size_bytes:,}", file.modified_at) for file in found],
                empty=f"{IMPORT}/ is empty. Bring a file with: treadle files upload FILE",
            )


@app.command("upload")
@reported
def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="A workbook on this machine.")],
    name: Annotated[str | None, typer.Option("--name", help="The name to give it in the lake (default: its own).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite/--no-overwrite", help="Replace a file of that name.")] = True,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Upload a workbook to Files/import/. An older file of that name stays readable until the new one is whole."""
    with session(state) as wiring:
        say_environment(wiring.settings)
        target = check_input_file(name or file.name)
        _refuse_while_read(wiring, target)
        limit = wiring.sales.upload_limit_bytes
        with upload_progress(target) as progress, staged_file(wiring.lake, file, limit_bytes=limit, progress=progress) as staged:
            stored = staged.put_in_place(import_path(target), overwrite=overwrite)
        if json_output:
            show_json(stored)
        say(f"{target} is in {IMPORT}/ ({stored.size_bytes:,} bytes). Look into it with: treadle files profile {target}")


@app.command("profile")
@reported
def profile(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A name in Files/import/, or a file on this machine.")],
    mapping: Annotated[
        list[str] | None, typer.Option("--map", metavar="A=b", help="Read column A as b (default: what is stored beside the file).")
    ] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", help="The sheet to read.")] = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Show columns, checks and samples of a workbook, as a run would see it. Changes nothing."""
    chosen = parse_mapping(mapping) if mapping else None
    if local := local_file(file):
        found = inspect_file(local, mapping=chosen or {}, sheet=sheet)
    else:
        with session(state) as wiring, tempfile.TemporaryDirectory(prefix="treadle-") as folder:
            copy = _download(wiring, file, Path(folder))
            stored = stored_mapping(wiring.lake, file)
            found = inspect_file(copy, mapping=stored.columns if chosen is None else chosen, sheet=sheet or stored.sheet)
    if json_output:
        show_json(found)
    else:
        print_profile(found)


@app.command("sample")
@reported
def sample(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, writable=True, help="Where to write it.")
    ] = Path(),
    json_output: Json = False,
) -> None:
    """Write the sample workbook sales_orders_fact.xlsx: 50,000 invented orders with a conversion funnel, the same on every machine."""
    path = folder / samples.FILE_NAME
    samples.write_sales_orders(path)
    if json_output:
        show_json({"path": path, "size_bytes": path.stat().st_size})
    say(f"{path} is written. Run it with: treadle run start {path} --wait")


def print_profile(found: dict[str, Any]) -> None:
    """Print a profile as tables: the checks, then the columns."""
    say(
        f"{found['file_name']}: {found['row_count']:,} rows × {found['column_count']} columns"
        + (f", sheet {found['sheet']}" if found.get("sheet") else "")
    )
    checks = [("passed" if check["passed"] else check["severity"], check["check"], check["detail"]) for check in found["validations"]]
    show_table(("outcome", "check", "detail"), checks, title="Checks", empty="No checks.")
    columns = [
        (
            item["column"],
            item["source_column"],
            item["dtype"],
            f"{item['null_pct']:.1f}",
            f"{item['distinct_count']:,}",
            _short(item["min"]),
            _short(item["max"]),
        )
        for item in found["schema"]
    ]
    show_table(("column", "from", "type", "null %", "distinct", "min", "max"), columns, gap=True, title="Columns", empty="No columns.")


def _refuse_while_read(wiring: Wiring, target: str) -> None:
    reading = [run for run in runs.active_runs(wiring.database) if run.input_file == target]
    if reading:
        raise Conflict(
            f"Run {reading[0].run_id} is reading {target} at this moment.",
            hint="Wait for its end, or upload under another name with --name.",
            details={"run_id": str(reading[0].run_id)},
        )


def _download(wiring: Wiring, name: str, folder: Path) -> Path:
    target = folder / check_input_file(name)
    try:
        with target.open("wb") as content:
            wiring.lake.download(import_path(name), content)
    except NotFound as error:
        raise NotFound(
            f"{name} is neither a file on this machine nor in {IMPORT}/.", hint="See what is there with: treadle files ls"
        ) from error
    return target


def _short(value: Any) -> str:
    text = "–" if value is None else str(value)
    return text if len(text) <= 28 else text[:27] + "…"
