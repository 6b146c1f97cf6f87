"""Fixtures of the weekly flow: its services on the running environment, with a folder, tables, a lake and a Salesforce of this test's own."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.flows.conftest import lake_folder
from treadle.cli.local import LocalEnvironment
from treadle.flows.weekly.services import WeeklyServices
from treadle.wiring import wired

OWN_TABLES = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'treadle' AND (tablename LIKE 'weekly%' OR tablename LIKE 'pipeline%')"


def begin_empty(environment: LocalEnvironment) -> None:
    """Forget all earlier weeks, here, in the lake and in Salesforce; the events API has its usual ones."""
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        tables = [name for (name,) in connection.execute(OWN_TABLES).fetchall()]
        connection.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
    for folder in ("reverse_etl", "raw_events"):
        shutil.rmtree(lake_folder(environment) / "Files" / folder, ignore_errors=True)
    environment.cloud.events.reset()
    environment.cloud.salesforce.forget_everything()


@pytest.fixture
def open_weekly(environment: LocalEnvironment, tmp_path: Path) -> Iterator[Callable[..., WeeklyServices]]:
    """Open the services with other settings; all share the test's folders."""
    begin_empty(environment)
    folders = {
        "state_dir": tmp_path / "state",
        "local_data_dir": tmp_path / "data" / "raw_events",
        "local_rejects_dir": tmp_path / "data" / "raw_events_rejects",
    }
    with contextlib.ExitStack() as opened:

        def open_services(**changes: object) -> WeeklyServices:
            wait = float(changes.pop("wait_seconds", 30))  # type: ignore[arg-type]
            settings = environment.settings.model_copy(update={**folders, "api_rate_limit_delay": 0.0, **changes})
            return opened.enter_context(wired(settings, database_wait_seconds=wait)).weekly()

        yield open_services


@pytest.fixture
def weekly(open_weekly: Callable[..., WeeklyServices]) -> WeeklyServices:
    return open_weekly()
