"""treadle files …: what lies in Files/import/, bring a file there, look into one."""

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from treadle.actions import files
from treadle.cli.exit_codes import INVALID
from treadle.cli.options import Json, State, acting, local_file, looking, say_environment, session
from treadle.cli.output import reported, say, show_json, stdout, upload_progress
from treadle.cli.runs import parse_mapping
from treadle.cli.tables import narrow, show_table
from treadle.control.access import Right, require
from treadle.errors import InvalidInput, NotFound
from treadle.flows.sales import samples
from treadle.flows.sales.failing_rows import kept_of
from treadle.flows.sales.input_file import check_input_file
from treadle.flows.sales.input_files import stored_mapping
from treadle.flows.sales.inspect_file import Inspection, inspect_file
from treadle.flows.sales.lakehouse import IMPORT, import_path
from treadle.flows.sales.verdict import Verdict, verdict
from treadle.wiring import Wiring

SAMPLE_ROWS = 5
LONG_VALUE, SHORT_VALUE = 28, 12  # characters of a value, on a wide and on a narrow terminal

SHOWN_AS_COLUMN = "columns_renamed"  # the table of columns says it

_VERDICT_MARKS: Final = {
    Verdict.READY: "[bold green]Ready[/]", Verdict.READY_WITH_WARNINGS: "[bold yellow]Ready with warnings[/]", Verdict.BLOCKED: "[bold red]Blocked[/]",
}  # fmt: skip

app = typer.Typer(no_args_is_help=True, help="Workbooks in Files/import/: list, upload, profile.")


@app.command("ls")
@reported
def ls(state: State = None, json_output: Json = False) -> None:
    """List the workbooks that a run can read."""
    with session(state) as wiring:
        found = files.list_files(wiring.services, looking(wiring))
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
        with upload_progress(target) as progress:
            stored = files.upload(wiring.services, acting(wiring, None), file, name=target, overwrite=overwrite, progress=progress)
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
    failing_rows: Annotated[
        Path | None, typer.Option("--failing-rows", metavar="CSV", dir_okay=False, help="Write the rows on which checks fail to this file.")
    ] = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Show columns, checks and samples of a workbook, as a run would see it. Changes nothing.

    Exit code 2 if a check fails with severity error: a run would refuse the file.
    """
    chosen = parse_mapping(mapping) if mapping else None
    if local := local_file(file):
        inspection = inspect_file(local, mapping=chosen or {}, sheet=sheet)
    else:
        with session(state) as wiring:
            as_stored = chosen is None and sheet is None
            inspection = (_known_profile(wiring, file, with_rows=failing_rows is not None) if as_stored else None) or _profile_in_lake(
                wiring, file, chosen, sheet
            )
    found = inspection.profile
    if failing_rows:
        _write_failing_rows(failing_rows, inspection)
    if json_output:
        show_json({"verdict": verdict(found["validations"]), **found})
    else:
        print_profile(found)
    if refused := [check["check"] for check in found["validations"] if check["severity"] == "error" and not check["passed"]]:
        say(f"A run would refuse this file: {', '.join(refused)}.")
        raise typer.Exit(INVALID)


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


def _write_failing_rows(target: Path, found: Inspection) -> None:
    from treadle.portal.failing_csv import failing_rows_csv  # noqa: PLC0415 - brings Polars, which the other commands do not need

    target.write_bytes(failing_rows_csv(str(found.profile["file_name"]), found.failed))
    count, kept = sum(one.count for one in found.failed), sum(len(one.cells) for one in found.failed)
    say(f"{target} is written: {kept_of(count, kept)}." if kept else f"{target} is written: no check failed on a row.")


def _known_profile(wiring: Wiring, file: str, *, with_rows: bool) -> Inspection | None:
    """What a background job has found out about this very version of the file. None: none has, or Treadle's own tables are not there."""
    try:
        known = files.cached_profile(wiring.services, looking(wiring), file)
    except InvalidInput:
        return None
    if known is None:
        return None
    try:
        failed = files.failing_rows(wiring.services, looking(wiring), file, known.etag) if with_rows else []
    except NotFound:  # replaced this very moment
        return None
    return Inspection(dict(known.profile), failed)


def _profile_in_lake(wiring: Wiring, file: str, mapping: Mapping[str, str] | None, sheet: str | None) -> Inspection:
    with tempfile.TemporaryDirectory(prefix="treadle-") as folder:
        copy = _download(wiring, file, Path(folder))
        stored = stored_mapping(wiring.lake, file)
        return inspect_file(copy, mapping=stored.columns if mapping is None else mapping, sheet=sheet or stored.sheet)


def print_profile(found: dict[str, Any]) -> None:
    """Print a profile: the verdict, then the checks, the columns and some rows as tables."""
    stdout().print(_VERDICT_MARKS[verdict(found["validations"])])
    facts = f"{found['file_name']}: {found['row_count']:,} rows × {found['column_count']} columns"
    stdout().print(facts + (f", sheet {found['sheet']}" if found.get("sheet") else ""), markup=False, soft_wrap=True)
    checks = [
        ("passed" if check["passed"] else check["severity"], check["check"], check["detail"])
        for check in found["validations"]
        if check["check"] != SHOWN_AS_COLUMN
    ]
    show_table(("outcome", "check", "detail"), checks, whole=("outcome", "check"), gap=True, title="Checks", empty="No checks.")
    chars = SHORT_VALUE if narrow() else LONG_VALUE
    columns = [
        (
            item["column"],
            item["source_column"],
            item["dtype"],
            f"{item['null_pct']:.1f}",
            f"{item['distinct_count']:,}",
            _short(item["min"], chars),
            _short(item["max"], chars),
        )
        for item in found["schema"]
    ]
    names = ("column", "from", "type", "null %", "distinct", "min", "max")
    show_table(names, columns, whole=names[:5], tight=narrow(), gap=True, title="Columns", empty="No columns.")
    _print_samples(found)


def _print_samples(found: dict[str, Any]) -> None:
    """The first rows, with as many columns as there is room for."""
    rows: list[dict[str, Any]] = found["sample_rows"][:SAMPLE_ROWS]
    names = [item["column"] for item in found["schema"] if item["column"] in (rows[0] if rows else {})]
    if not names:
        return
    cells = {name: [_short(row[name], SHORT_VALUE) for row in rows] for name in names}
    widths = itertools.accumulate(2 + max(map(len, (name, *values))) for name, values in cells.items())
    shown = [name for name, width in zip(names, widths, strict=True) if width - 2 <= stdout().width] or names[:1]
    title = "Samples" if len(shown) == len(names) else f"Samples, {len(shown)} of {len(names)} columns (all: --json)"
    show_table(shown, list(zip(*(cells[name] for name in shown), strict=True)), whole=shown, gap=True, title=title, empty="")


def _download(wiring: Wiring, name: str, folder: Path) -> Path:
    require(looking(wiring), Right.FILES_READ)
    target = folder / check_input_file(name)
    try:
        with target.open("wb") as content:
            wiring.lake.download(import_path(name), content)
    except NotFound as error:
        raise NotFound(
            f"{name} is neither a file on this machine nor in {IMPORT}/.", hint="See what is there with: treadle files ls"
        ) from error
    return target


def _short(value: Any, chars: int) -> str:
    text = "–" if value is None else str(value)
    return text if len(text) <= chars else text[: chars - 1] + "…"
