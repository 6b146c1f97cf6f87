"""The settings of the scenario flow: how large an archive may be, where documents are kept, and the graph of Cosmos DB.

They are read with all others, from the same places. None of them is needed to use the rest of Treadle, nor to build a scenario in Fabric; who
chooses Cosmos DB is told at once all that is missing.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from treadle.errors import MissingSettings

Part = Literal["cosmos", "gremlin"]

_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]{1,5})?")
_NEEDED: Final[dict[Part, tuple[str, ...]]] = {
    "cosmos": ("cosmos_url", "cosmos_key"),
    "gremlin": ("gremlin_url", "gremlin_database", "gremlin_graph", "gremlin_key"),
}


def _https_base(value: str) -> str:
    """Return a base URL without a trailing slash; a key must not travel in clear text, so only https is taken."""
    if not value.startswith("https://"):
        raise ValueError("must start with https://")
    return value.rstrip("/")


def _wss_url(value: str) -> str:
    """Return the address as it was given; a key must not travel in clear text."""
    if not value.startswith("wss://"):
        raise ValueError("must start with wss://")
    return value


def _hosts(value: str) -> str:
    """Return the list as it was given; a token goes to these hosts, so a pattern that is wider than it looks is refused."""
    names = value.replace(",", " ").split()
    if not names or not all(_HOST.fullmatch(name) for name in names):
        raise ValueError("must name hosts, such as *.kusto.fabric.microsoft.com")
    if any(name.startswith("*.") and name.count(".") < 2 for name in names):
        raise ValueError("must not leave a whole top-level domain open")
    return value


HttpsBase = Annotated[str, AfterValidator(_https_base)]
WssUrl = Annotated[str, AfterValidator(_wss_url)]
Hosts = Annotated[str, AfterValidator(_hosts)]


class ScenarioSettings(BaseSettings):
    """The scenario flow's part of all settings."""

    scenario_upload_limit_mb: int = Field(default=1024, ge=1, le=65536)  # a larger archive is not taken
    scenario_scratch_dir: Path | None = None  # where an archive lies while it is worked on; None: the system's folder for temporary files
    kusto_hosts: Hosts = "*.kusto.fabric.microsoft.com"  # hosts of eventhouses that get a token, parted by commas; *.a.b is all below a.b

    treadle_document_store: Literal["postgres", "cosmos"] = "postgres"  # where scenarios, their documents and connections are kept
    cosmos_url: HttpsBase | None = None  # of the account of Azure Cosmos DB for NoSQL; needed where documents are kept in cosmos
    cosmos_key: SecretStr | None = Field(default=None, min_length=1)  # its key
    cosmos_database: Annotated[str, Field(pattern=r"^[^/\\?#]{1,255}$")] = "scenarios"  # the database there; it is made if it is missing

    gremlin_url: WssUrl | None = None  # of Azure Cosmos DB for Apache Gremlin, for scenarios with the connector cosmosdb-gremlin
    gremlin_database: str | None = None  # the database there
    gremlin_graph: str | None = None  # the graph in it
    gremlin_key: SecretStr | None = Field(default=None, min_length=1)  # the account's key

    @property
    def kusto_host_names(self) -> tuple[str, ...]:
        """KUSTO_HOSTS, one by one."""
        return tuple(self.kusto_hosts.replace(",", " ").split())

    @property
    def scenario_secrets(self) -> tuple[str, ...]:
        """Every secret value of the scenario flow, for the redaction of logs."""
        return tuple(secret.get_secret_value() for secret in (self.cosmos_key, self.gremlin_key) if secret)

    def require_scenario(self, parts: Collection[Part]) -> None:
        """Return when all that these parts need is set.

        Raises:
            MissingSettings: names everything that is missing, not only the first.
        """
        missing = [name.upper() for part in _NEEDED if part in parts for name in _NEEDED[part] if not getattr(self, name)]
        if missing:
            raise MissingSettings(
                f"{len(missing)} setting{'s are' if len(missing) > 1 else ' is'} missing: {', '.join(missing)}.",
                hint="Set them beside the others; docs/reference/settings.md says what each is.",
                details={"missing": missing},
            )
