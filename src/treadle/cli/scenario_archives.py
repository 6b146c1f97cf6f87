"""Which archive is for which slot, and where a scenario is built: what plan and apply ask of their arguments."""

import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from treadle.actions import connections
from treadle.cli.options import looking
from treadle.clients.fabric import Workspace, WorkspaceId
from treadle.clients.locations import is_id
from treadle.control.access import Right, require
from treadle.errors import InvalidInput, NotFound
from treadle.flows.scenario.slot_files import Slot
from treadle.wiring import Wiring

Archive = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE.tar.gz",
        exists=True,
        dir_okay=False,
        readable=True,
        help="Archives with a graph, telemetry or both, as their content says.",
        show_default=False,
    ),
]
Workspaces = Annotated[
    str | None,
    typer.Option(
        "--workspace", metavar="ID|NAME", help="Where to build (default: the active connection, else the settings').", show_default=False
    ),
]


def slot_option(slot: Slot, what: str) -> typer.models.OptionInfo:
    """The option that names the archive of one slot."""
    return typer.Option(f"--{slot}", metavar="FILE", exists=True, dir_okay=False, readable=True, help=what, show_default=False)


GraphFile = Annotated[Path | None, slot_option(Slot.GRAPH, "The archive with the graph: scenario.yaml, graph_schema.yaml, CSV files.")]
TelemetryFile = Annotated[Path | None, slot_option(Slot.TELEMETRY, "The archive with the telemetry tables.")]
RunbooksFile = Annotated[Path | None, slot_option(Slot.RUNBOOKS, "An archive of runbooks, as text files.")]
TicketsFile = Annotated[Path | None, slot_option(Slot.TICKETS, "An archive of tickets, as text files.")]
PromptsFile = Annotated[Path | None, slot_option(Slot.PROMPTS, "An archive of prompts, as text files.")]


def archives_of(files: Sequence[Path], named: Mapping[Slot, Path | None]) -> dict[Slot, Path]:
    """Slot → archive, in the order in which they are done. One file may be for two slots.

    Raises:
        InvalidInput: nothing was given, a slot is given twice, or a file holds no scenario.
    """
    given = [(slot, path) for slot, path in named.items() if path] + [(slot, path) for path in files for slot in _slots_in(path)]
    if not given:
        raise InvalidInput(
            "There is nothing to build.", hint="Give an archive, such as telco-noc.tar.gz, or --graph, --telemetry, --runbooks …"
        )
    found: dict[Slot, Path] = {}
    for slot, path in given:
        if slot in found:
            raise InvalidInput(f"There are two archives for {slot}: {found[slot].name} and {path.name}.", hint="Leave one of them out.")
        found[slot] = path
    return {slot: found[slot] for slot in Slot if slot in found}


@contextmanager
def opened(paths: Mapping[Slot, Path]) -> Generator[dict[Slot, BinaryIO]]:
    """The archives, each open at its beginning. One that is for two slots is open twice, for each is read by itself."""
    with ExitStack() as stack:
        yield {slot: stack.enter_context(path.open("rb")) for slot, path in paths.items()}


def workspace_of(wiring: Wiring, wanted: str | None) -> Workspace:
    """The workspace of this id or name; without one, that of the active connection, else that of the settings. Fabric is asked.

    Raises:
        NotFound: there is none that this identity sees.
        InvalidInput: several have the name.
    """
    who = looking(wiring)
    require(who, Right.SCENARIOS_READ)
    if wanted is None:
        active = connections.active(wiring.services, who)
        wanted = active.workspace_id if active else wiring.settings.fabric_workspace_id
    if is_id(wanted):
        return wiring.fabric.get_workspace(WorkspaceId(wanted))
    found = [workspace for workspace in wiring.fabric.list_workspaces() if workspace.name == wanted]
    if not found:
        raise NotFound(f"There is no workspace {wanted!a} that this identity sees.", hint="Give its id, or a role in it to the identity.")
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} workspaces are called {wanted!a}.", hint="Give the id of the one that is meant.")
    return found[0]


def _slots_in(path: Path) -> list[Slot]:
    """What is in an archive that came without a word about it."""
    from treadle.flows.scenario.recognise import parts_of  # noqa: PLC0415 - it is needed only for these

    with tempfile.TemporaryDirectory(prefix="treadle-") as scratch, path.open("rb") as source:
        found = [Slot(part) for part in parts_of(source, Path(scratch))]
    if not found:
        raise InvalidInput(
            f"{path.name} holds no scenario: no scenario.yaml with a graph or telemetry.",
            hint="Say what it is with --runbooks, --tickets or --prompts.",
        )
    return found
