"""Which workspace somebody means, by its id, by its name, or by both: they must mean one, and what is built is recorded under the name it has."""

from collections.abc import Iterable

from treadle.clients.fabric import FabricClient, Workspace, WorkspaceId
from treadle.clients.locations import checked_id
from treadle.errors import InvalidInput, NotFound


def find_workspace(fabric: FabricClient, workspace_id: str | None, name: str | None) -> Workspace | None:
    """The workspace that is meant; Fabric is asked. Neither id nor name: None. An empty name is none.

    Raises:
        NotFound: there is none of this id or name that the identity sees. PermissionDenied: as Fabric answers.
        InvalidInput: the id is none, several have the name, or id and name mean different ones.
    """
    if workspace_id is not None:
        found = fabric.get_workspace(WorkspaceId(checked_id(workspace_id, "workspace")))
        require_name(found, name)
        return found
    return the_one_called(name, fabric.list_workspaces()) if name else None


def the_one_called(name: str, workspaces: Iterable[Workspace]) -> Workspace:
    """The one with exactly this name. Pure. Raises NotFound and InvalidInput as `find_workspace`."""
    found = [workspace for workspace in workspaces if workspace.name == name]
    if not found:
        raise NotFound(
            f"There is no workspace {name[:80]!a} that this identity sees.",
            hint="See which are connected with: GET /query/fabric/connections; connect another one by its id with POST there. Or send its id.",
            details={"workspace_name": name},
        )
    if len(found) > 1:
        ids = [workspace.workspace_id for workspace in found]
        raise InvalidInput(
            f"{len(found)} workspaces are called {name[:80]!a}: {', '.join(ids)}.",
            hint="Send the id of the one that is meant.",
            details={"workspace_name": name, "workspace_ids": ids},
        )
    return found[0]


def require_name(workspace: Workspace, name: str | None) -> None:
    """Raise InvalidInput when a name was given that the workspace does not have. Pure."""
    if name and name != workspace.name:
        raise InvalidInput(
            f"The workspace {workspace.workspace_id} is called {workspace.name[:80]!a}, not {name[:80]!a}.",
            hint="Leave out one of the two, or correct it.",
            details={"workspace_id": workspace.workspace_id, "workspace_name": name, "called": workspace.name},
        )
