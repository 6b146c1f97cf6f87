"""What a weekly run works with: state, lake, files, the events API, and how strict to be. Built once, by wiring."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from treadle.clients.events_api import EventsApi
from treadle.clients.onelake import LakeClient
from treadle.control.database import Database
from treadle.flows.weekly.checkpoint_mirror import CheckpointMirror
from treadle.flows.weekly.lineage import Lineage
from treadle.flows.weekly.record import Stage
from treadle.flows.weekly.state import WeeklyState
from treadle.flows.weekly.week import Week
from treadle.settings_weekly import WeeklySettings


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is. total: None as long as nobody knows."""

    stage: Stage
    done: int
    total: int | None
    unit: str  # rows, bytes, pages
    note: str | None = None  # why it stands still for a while


Report = Callable[[Progress], None]
Check = Callable[[], None]


def nobody_listens(_progress: Progress) -> None:
    """For those who need no progress."""


def nobody_objects() -> None:
    """For those whom nobody cancels."""


@dataclass(frozen=True, slots=True)
class LakePlaces:
    """Where in the lake a week's files go."""

    lake: LakeClient
    events_base: str  # Files/reverse_etl/raw_events in a lakehouse
    rejects_base: str

    def events_path(self, week: Week) -> str:
        """The valid events of a week."""
        return f"{self.events_base}/{week.folder}/{EVENTS_NAME}"

    def rejects_path(self, week: Week) -> str:
        """And its rejects."""
        return f"{self.rejects_base}/{week.folder}/{REJECTS_NAME}"


EVENTS_NAME: Final = "events.parquet"
REJECTS_NAME: Final = "rejects.parquet"


@dataclass(frozen=True, slots=True)
class WeeklyServices:
    """The other systems, and the settings that decide how a week is processed. Nothing is contacted before it is used."""

    settings: WeeklySettings
    own: Database  # with the schema treadle: timeline, sync ledger, background jobs
    state: WeeklyState
    mirror: CheckpointMirror
    places: LakePlaces
    events_api: Callable[[], EventsApi]  # opened at the first use, by those commands that need it
    salesforce: Callable[[], Any]  # so too; what it gives is for flows/weekly/deliver.py
    lineage: Lineage
    version: str

    def work_folder(self, week: Week) -> Path:
        """Where the files of a week's work are, from pages to metrics."""
        return self.settings.state_dir / "weeks" / week.folder

    def local_events(self, week: Week) -> Path:
        """Where its valid events are published on this machine."""
        return self.settings.local_data_dir / week.folder / EVENTS_NAME

    def local_rejects(self, week: Week) -> Path:
        """And its rejects."""
        return self.settings.local_rejects_dir / week.folder / REJECTS_NAME
