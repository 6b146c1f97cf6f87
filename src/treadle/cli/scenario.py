"""treadle scenario …: what an archive with a scenario holds, whether it can be built, and – in the modules beside – what is done with it."""

import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from treadle.cli import scenario_build, scenario_look
from treadle.cli.options import Json
from treadle.cli.output import Markup, counted, reported, say, show_json, stdout, waiting_for
from treadle.cli.tables import show_table
from treadle.flows.scenario.check import Checked, check_scenario
from treadle.flows.scenario.column_types import Reason
from treadle.flows.scenario.ontology import relationship_names
from treadle.flows.scenario.schema import EdgeRule, VertexType

FAULTS: Final = 2  # the exit code of unusable input

app = typer.Typer(no_args_is_help=True, help="Scenarios: an archive becomes tables, an ontology and a graph.")


@app.callback()
def scenario() -> None:
    """Scenarios: an archive becomes tables, an ontology and a graph."""


app.command("plan")(scenario_build.plan)
app.command("apply")(scenario_build.apply)
app.command("destroy")(scenario_build.destroy)
app.command("ls")(scenario_look.ls)
app.command("show")(scenario_look.show)
app.command("query")(scenario_look.query)
app.command("docs")(scenario_look.docs)
app.command("jobs")(scenario_look.jobs)


@app.command("check")
@reported
def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.tar.gz", exists=True, dir_okay=False, readable=True, help="An archive on this machine.")
    ],
    json_output: Json = False,
) -> None:
    """Show what an archive would become, and everything that keeps it from that. Changes nothing; needs no cloud and no database.

    Exit code 2 if there are faults.
    """
    with tempfile.TemporaryDirectory(prefix="treadle-") as scratch, file.open("rb") as source, waiting_for(f"Reading {file.name}"):
        found = check_scenario(source, Path(scratch))
    if json_output:
        show_json(as_data(found))
    else:
        _show(file.name, found)
    if found.faults:
        say(f"{file.name} cannot be built: {counted(len(found.faults), 'fault')}.")
        raise typer.Exit(FAULTS)


def as_data(found: Checked) -> dict[str, Any]:
    """A check as JSON has it."""
    manifest = found.manifest
    return {
        "buildable": not found.faults,
        "name": manifest.name if manifest else None,
        "display_name": manifest.display_name if manifest else None,
        "connector": manifest.connector if manifest else None,
        "tables": [
            {
                "name": table.name,
                "csv_file": table.csv_file,
                "rows": table.rows,
                "size_bytes": table.size_bytes,
                "sha256": table.sha256,
                "columns": table.columns,
            }
            for table in found.tables
        ],
        "entity_types": [_entity_data(vertex, found) for vertex in found.schema.vertices] if found.schema else [],
        "relationship_types": [_relationship_data(name, rules) for name, rules in _relationships(found).items()],
        "faults": found.faults,
        "notes": found.notes,
    }


def _show(file_name: str, found: Checked) -> None:
    verdict = "[bold red]Faults[/]" if found.faults else "[bold green]Can be built[/]"
    stdout().print(verdict)
    named = f"{found.manifest.display_name} ({found.manifest.name})" if found.manifest else "no scenario that can be read"
    stdout().print(f"{file_name}: {named}", markup=False, soft_wrap=True)
    show_table(
        ("table", "from", "columns", "rows", "size"),
        [(table.name, table.csv_file, str(len(table.columns)), f"{table.rows:,}", f"{table.size_bytes:,}") for table in found.tables],
        whole=("table",),
        gap=True,
        title="Tables",
        empty="No table could be read.",
    )
    if found.schema:
        _show_graph(found)
    _show_faults(found)


def _show_graph(found: Checked) -> None:
    vertices = found.schema.vertices if found.schema else ()
    entities = [
        (vertex.label, vertex.id_column, ", ".join(f"{item['name']} {item['type'] or '?'}{item['sign']}" for item in _typed(vertex, found)))
        for vertex in vertices
    ]
    show_table(("entity type", "key", "properties"), entities, whole=("entity type", "key"), gap=True, title="Entity types", empty="None.")
    if any("*" in properties for _, _, properties in entities):
        say("* not declared: found from the values. property_types in graph_schema.yaml decides otherwise.")
    rows = [
        (name, rules[0].source.label, rules[0].target.label, "; ".join(_told(rule) for rule in rules))
        for name, rules in _relationships(found).items()
    ]
    columns = ("relationship type", "from", "to", "rows of")
    show_table(columns, rows, whole=columns[:3], gap=True, title="Relationship types", empty="No relationship types.")


def _show_faults(found: Checked) -> None:
    if found.faults:
        rows = [(Markup(f"[red]{fault.code}[/]"), fault.where, fault.message, fault.hint) for fault in found.faults]
        show_table(("fault", "where", "what", "what to do"), rows, whole=("fault",), gap=True, title="Faults", empty="")
    if found.notes:
        show_table(("",), [(note,) for note in found.notes], gap=True, title="Worth knowing", empty="")


def _relationships(found: Checked) -> dict[str, list[EdgeRule]]:
    """The edge rules of each relationship type, by the name that it gets in the ontology."""
    edges = found.schema.edges if found.schema else ()
    names = relationship_names(list(dict.fromkeys(edge.endpoints for edge in edges)))
    rules: dict[str, list[EdgeRule]] = {}
    for edge in edges:
        rules.setdefault(names[edge.endpoints], []).append(edge)
    return rules


def _told(rule: EdgeRule) -> str:
    table = f"{rule.csv_file}: {rule.source.column} → {rule.target.column}"
    return f"{table} where {rule.filter.column} {'≠' if rule.filter.negate else '='} {rule.filter.value}" if rule.filter else table


def _typed(vertex: VertexType, found: Checked) -> list[dict[str, Any]]:
    table = next((item for item in found.tables if item.csv_file == vertex.csv_file), None)
    columns = {column.name: column for column in table.columns} if table else {}
    typed: list[dict[str, Any]] = []
    for name in vertex.properties:
        column = columns.get(name)
        sign = "*" if column and column.reason is not Reason.DECLARED else ""
        typed.append({"name": name, "type": column.type if column else None, "reason": column.reason if column else None, "sign": sign})
    return typed


def _entity_data(vertex: VertexType, found: Checked) -> dict[str, Any]:
    properties = [{key: item[key] for key in ("name", "type", "reason")} for item in _typed(vertex, found)]
    return {"label": vertex.label, "csv_file": vertex.csv_file, "key": vertex.id_column, "properties": properties}


def _relationship_data(name: str, rules: list[EdgeRule]) -> dict[str, Any]:
    first = rules[0]
    tables = [
        {"csv_file": rule.csv_file, "source_column": rule.source.column, "target_column": rule.target.column, "filter": rule.filter}
        for rule in rules
    ]
    return {"name": name, "label": first.label, "source": first.source.label, "target": first.target.label, "rules": tables}
