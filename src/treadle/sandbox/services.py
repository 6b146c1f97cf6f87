"""Builds the simulated clouds around one clock, one fault script and one tenant."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.sandbox.answers import blob_error, dfs_error, entra_error, fabric_error
from treadle.sandbox.clock import Clock
from treadle.sandbox.endpoints import Endpoints
from treadle.sandbox.entra.routes import entra_routes
from treadle.sandbox.entra.store import FABRIC_AUDIENCE, KUSTO_AUDIENCE, STORAGE_AUDIENCE, EntraStore
from treadle.sandbox.events.routes import events_error, events_routes
from treadle.sandbox.events.store import EventsStore
from treadle.sandbox.fabric.cloud import FabricCloud
from treadle.sandbox.fabric.routes import fabric_routes
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.kusto.cloud import KustoCloud
from treadle.sandbox.kusto.routes import kusto_error, kusto_routes
from treadle.sandbox.oidc.routes import oidc_error, oidc_routes
from treadle.sandbox.oidc.store import OidcStore
from treadle.sandbox.onelake.routes import blob_app, blob_operation, dfs_app, dfs_operation
from treadle.sandbox.onelake.store import LakeStore
from treadle.sandbox.salesforce.cloud import SalesforceCloud
from treadle.sandbox.salesforce.routes import data_routes, salesforce_error
from treadle.sandbox.salesforce.routes_ingest import ingest_routes
from treadle.sandbox.salesforce.routes_oauth import oauth_routes
from treadle.sandbox.service import Service, service_of_routes

OWN_FOLDER: Final = "sandbox"
"""Inside the state folder: what the sandbox keeps for itself. The OneLake tree lies beside it."""


@dataclass(frozen=True, slots=True)
class Clouds:
    """The stores behind the services, for tests in the same process, and the services by name."""

    entra: EntraStore
    fabric: FabricCloud
    lake: LakeStore
    oidc: OidcStore
    events: EventsStore
    salesforce: SalesforceCloud
    kusto: KustoCloud
    services: dict[str, Service]

    def stop(self) -> None:
        """End the jobs that run and close the files."""
        self.fabric.stop()
        self.salesforce.stop()
        self.kusto.close()
        self.lake.close()


def build_clouds(state_dir: Path, clock: Clock, faults: FaultScript, endpoints: Endpoints, notebook_python: str) -> Clouds:
    """Open all stores of a state folder and make their services. Fabric keeps its items in the lake; the lake asks Fabric what they are called."""
    entra = EntraStore(state_dir / OWN_FOLDER, clock)
    lake = LakeStore(state_dir, clock)
    lake_urls = (endpoints.dfs_url, endpoints.blob_url)
    kusto = KustoCloud(state_dir / OWN_FOLDER / "kusto", clock, faults, lake, public_url=endpoints.kusto_url, lake_urls=lake_urls)
    entra.cluster_url = endpoints.kusto_url
    folder = state_dir / OWN_FOLDER / "fabric"
    fabric = FabricCloud(folder, clock, faults, lake, kusto, public_url=endpoints.fabric_url, notebook_python=notebook_python)
    lake.catalog = fabric
    kusto.catalog = fabric
    oidc = OidcStore(state_dir / OWN_FOLDER / "oidc", endpoints.oidc_url, clock)
    events = EventsStore(state_dir / OWN_FOLDER / "events", clock)
    salesforce = SalesforceCloud(state_dir / OWN_FOLDER / "salesforce", clock, faults, instance_url=endpoints.salesforce_url)
    tenant_id, authenticate = entra.credentials.tenant_id, entra.authenticate
    dfs = dfs_app(lake, clock, faults, authenticate, tenant_id=tenant_id)
    blob = blob_app(lake, clock, faults, authenticate, tenant_id=tenant_id)
    services = [
        service_of_routes("entra", entra_routes(entra, clock), entra_error),
        service_of_routes("fabric", fabric_routes(fabric, authenticate), fabric_error, expired_token=_expired(entra, FABRIC_AUDIENCE)),
        service_of_routes("oidc", oidc_routes(oidc, faults), oidc_error),
        service_of_routes("events", events_routes(events, faults), events_error),
        salesforce_service(salesforce),
        kusto_service(kusto, entra, endpoints.entra_url),
        Service("dfs", dfs, dfs_operation, dfs_error, _expired(entra, STORAGE_AUDIENCE)),
        Service("blob", blob, blob_operation, blob_error, _expired(entra, STORAGE_AUDIENCE)),
    ]
    return Clouds(entra, fabric, lake, oidc, events, salesforce, kusto, {service.name: service for service in services})


def salesforce_service(salesforce: SalesforceCloud) -> Service:
    """The org as a service; ingest comes before the rest, whose paths are wider."""
    routes = [*oauth_routes(salesforce), *ingest_routes(salesforce), *data_routes(salesforce)]
    return service_of_routes("salesforce", routes, salesforce_error, expired_token=lambda: salesforce.identity.open_session(seconds=-60))


def kusto_service(kusto: KustoCloud, entra: EntraStore, login_url: str) -> Service:
    """The query services of all eventhouses on one port."""
    routes = kusto_routes(kusto, entra, login_url)
    return service_of_routes("kusto", routes, kusto_error(kusto), expired_token=_expired(entra, KUSTO_AUDIENCE))


def _expired(entra: EntraStore, audience: str) -> Callable[[], str]:
    return lambda: entra.issue_token(audience=audience, lifetime_seconds=-60).access_token
