"""Builds what a command works with, from settings: the only place that knows which parts belong together."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from treadle import __version__
from treadle.actions.services import Limits, Services
from treadle.clients.addresses import leads_elsewhere
from treadle.clients.entra import credential
from treadle.clients.fabric import FabricClient, ItemId, WorkspaceId
from treadle.clients.onelake import OneLakeClient
from treadle.clients.webhooks import open_channel
from treadle.control.database import Database
from treadle.control.jobs.kinds import Kind, by_name
from treadle.control.jobs.recurring import Recurring
from treadle.control.jobs.worker import JobWorker
from treadle.control.worker import Worker
from treadle.flows.sales.drive import drive_run
from treadle.flows.sales.jobs import sales_kinds, sales_recurrings
from treadle.flows.sales.notifications import Notifications, sweep_notices
from treadle.flows.sales.services import SalesServices
from treadle.flows.scenario.jobs import scenario_clean_ups, scenario_kinds
from treadle.flows.scenario.provision_item import item_kind
from treadle.flows.weekly.clean_up import weekly_clean_ups
from treadle.flows.weekly.jobs import weekly_kinds
from treadle.settings import Settings
from treadle.wiring_scenario import ScenarioOpener
from treadle.wiring_weekly import WeeklyOpener


@dataclass(frozen=True, slots=True)
class Wiring:
    """Everything that one process needs, ready to use."""

    settings: Settings
    database: Database
    own: Database  # where the schema `treadle` is; the same object as `database` unless TREADLE_PG_DATABASE names another
    fabric: FabricClient
    lake: OneLakeClient
    sales: SalesServices
    weekly: WeeklyOpener  # call it for the weekly flow's services
    scenarios: ScenarioOpener  # the same for the scenario flow's

    @property
    def services(self) -> Services:
        """What the actions work with: the one way in for commands, API and portal."""
        settings, sales = self.settings, self.sales
        limits = Limits(upload_bytes=sales.upload_limit_bytes)
        return Services(
            sales, self.database, self.own, settings.treadle_environment, sales.app_version, limits, self.weekly, self.scenarios
        )

    def worker(self) -> Worker:
        """A worker that drives the runs of all flows."""
        return Worker(self.database, partial(drive_run, self.sales), idle_seconds=min(1.0, self.settings.treadle_poll_seconds))

    def job_worker(self) -> JobWorker:
        """A worker that does background jobs of all kinds, and asks for those that recur."""
        return JobWorker(self.own, by_name(self.job_kinds()), recurrings=self.recurring_jobs(), slots=self.settings.treadle_job_slots)

    def scenario_worker(self) -> JobWorker:
        """A worker for builds and removals of scenarios alone: for who waits for one, and nobody else does it."""
        return JobWorker(self.own, by_name(scenario_kinds(self.scenarios)))

    def job_kinds(self) -> tuple[Kind, ...]:
        """Every kind of background job there is; the one place where a kind becomes known."""
        clean_ups = scenario_clean_ups(self.scenarios) | weekly_clean_ups(self.weekly)
        sales = sales_kinds(self.sales, self.own, self.notifications, clean_ups)
        return (*sales, *weekly_kinds(self.weekly), *scenario_kinds(self.scenarios), item_kind(self.scenarios))

    def recurring_jobs(self) -> tuple[Recurring, ...]:
        """What a standing worker asks for again and again."""
        return sales_recurrings()

    def sweep_notices(self) -> int:
        """Queue what is to be told outside Treadle, and return how many messages are new."""
        return sweep_notices(self.database, self.own, self.notifications)

    @property
    def notifications(self) -> Notifications:
        """The channels that are set up, and what they are told; in a sandbox only those on this machine.

        Raises:
            InvalidInput: an address or a signing secret cannot be used.
        """
        settings = self.settings
        sandbox = settings.treadle_environment == "SANDBOX"
        signing = settings.notify_webhook_secret.get_secret_value() if settings.notify_webhook_secret else ""
        wanted = (
            ("slack", settings.notify_slack_url, ""),
            ("teams", settings.notify_teams_url, ""),
            ("webhook", settings.notify_webhook_url, signing),
        )
        channels = [
            open_channel(name, url.get_secret_value(), secrets=secrets, plain_http=sandbox)
            for name, url, secrets in wanted
            if url and not (sandbox and leads_elsewhere(url.get_secret_value()))
        ]
        return Notifications(tuple(channels), settings.notified_events, settings.treadle_environment, settings.treadle_ca_file)


@contextmanager
def wired(settings: Settings, *, database_wait_seconds: float = 30) -> Generator[Wiring]:
    """Connect to everything that the settings name; nothing is contacted before it is used.

    database_wait_seconds: how long work waits for a database that is away, or whose connections are all in use.
    """
    entra = credential(
        settings.fabric_tenant_id,
        settings.fabric_client_id,
        settings.fabric_client_secret.get_secret_value(),
        authority_url=settings.entra_authority_url,
        ca_file=settings.treadle_ca_file,
    )
    timeout = settings.treadle_request_timeout_seconds
    fabric = FabricClient(settings.fabric_api_url, credential=entra, ca_file=settings.treadle_ca_file, deadline_seconds=timeout)
    lake = OneLakeClient(
        settings.onelake_url,
        settings.fabric_workspace_id,
        settings.fabric_lakehouse_id,
        credential=entra,
        ca_file=settings.treadle_ca_file,
        deadline_seconds=timeout,
    )
    database = Database(settings.conninfo, pool_size=settings.pg_pool_size, wait_seconds=database_wait_seconds)
    own = database
    if settings.own_conninfo != settings.conninfo:
        own = Database(settings.own_conninfo, pool_size=settings.pg_pool_size, wait_seconds=database_wait_seconds)
    sales = SalesServices(
        database=database,
        fabric=fabric,
        lake=lake,
        workspace=WorkspaceId(settings.fabric_workspace_id),
        pipeline=ItemId(settings.fabric_pipeline_id),
        app_version=__version__,
        owner_upn=settings.owner_upn,
        owner_object_id=settings.owner_object_id,
        trigger_grace=timedelta(seconds=settings.treadle_trigger_grace_seconds),
        unknown_status_deadline=settings.unknown_status_deadline,
        upload_limit_bytes=settings.treadle_upload_limit_mb * 1024**2,
        poll_seconds=settings.treadle_poll_seconds,
        poll_seconds_max=settings.treadle_poll_seconds_max,
    )
    weekly = WeeklyOpener(settings, own, lake, entra, __version__)
    scenarios = ScenarioOpener(settings, own, fabric, lake, entra)
    try:
        yield Wiring(settings, database, own, fabric, lake, sales, weekly, scenarios)
    finally:
        for part in (scenarios, weekly, own, database, lake, fabric):
            part.close()
