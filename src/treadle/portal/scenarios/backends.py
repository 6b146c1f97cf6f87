"""Where a graph goes, as people call it. Pure."""

from collections.abc import Mapping
from typing import Final

from treadle.flows.scenario.schema import Connector

BACKENDS: Final[Mapping[str, str]] = {
    "": "As the scenario says",
    str(Connector.FABRIC_GQL): "Fabric graph (GQL)",
    str(Connector.COSMOSDB_GREMLIN): "Cosmos DB (Gremlin)",
}


def backend_word(backend: str) -> str:
    """The backend's name; one that is new here keeps its own word."""
    return BACKENDS.get(backend, backend)
