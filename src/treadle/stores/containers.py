"""The containers of documents, and who may touch them from outside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from treadle.errors import NotFound

UPLOAD_JOBS: Final = "upload-jobs"
SCENARIOS: Final = "scenarios"
THINGS: Final = "scenario-things"
DOCUMENTS: Final = "scenario-documents"
CONNECTIONS: Final = "fabric-connections"
CLAIMS: Final = "scenario-claims"


@dataclass(frozen=True, slots=True)
class Container:
    """One container. readable, writable: by the documents of the API; Treadle itself may always. what: is in it, for a person."""

    name: str
    what: str
    readable: bool = True
    writable: bool = False


CONTAINERS: Final[Mapping[str, Container]] = {
    container.name: container
    for container in (
        Container(UPLOAD_JOBS, "background jobs that build scenarios; a view of the jobs, never stored"),
        Container(SCENARIOS, "what is known of each scenario that was built", writable=True),
        Container(THINGS, "what a build made in Fabric, for plans and removals"),
        Container(DOCUMENTS, "the index of runbooks, tickets and prompts"),
        Container(CONNECTIONS, "workspaces; which one is active is told by the API of connections", readable=False),
        Container(CLAIMS, "which job works on a scenario or in a workspace; told by the API of jobs", readable=False),
    )
}


def open_container(name: str) -> Container:
    """A container that the API may read. Raises NotFound for every other name, so that nobody learns which exist."""
    container = CONTAINERS.get(name)
    if container is None or not container.readable:
        known = ", ".join(container.name for container in CONTAINERS.values() if container.readable)
        raise NotFound(f"There is no container {name[:80]!a}.", hint=f"There are {known}.", details={"container": name[:80]})
    return container
