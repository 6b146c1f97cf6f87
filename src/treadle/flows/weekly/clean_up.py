"""The pages of weeks that are long done: the lake has what became of them, and the events API has them still."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from treadle.errors import Conflict, InvalidInput
from treadle.flows.weekly.extract import MANIFEST
from treadle.flows.weekly.page_files import PAGES, alone_in, clear_pages
from treadle.flows.weekly.services import WeeklyServices
from treadle.flows.weekly.week import Week

KEPT_PAGES: Final = timedelta(weeks=8)  # after they were fetched; who wants to judge them anew until then need not fetch them again


def weekly_clean_ups(services: Callable[[], WeeklyServices]) -> dict[str, Callable[[], int]]:
    """What the hourly clean-up does for the weekly flow, by the name of its step."""
    return {"old weekly pages": lambda: clear_old_pages(services())}


def clear_old_pages(services: WeeklyServices) -> int:
    """Remove the pages of each week on this machine that was fetched long ago and is done; return how many weeks that were. Safe to repeat.

    Events, rejects, metrics and the records of the stages stay.
    """
    before = (services.state.now() - KEPT_PAGES).timestamp()
    cleared = 0
    for week, folder in _weeks_in(services.settings.state_dir / "weeks"):
        newest = next(iter(services.state.runs_of_week(week)), None)
        if newest and newest.complete and any((folder / PAGES).glob("*")) and _fetched_at(folder) < before:
            cleared += _clear(folder)
    return cleared


def _clear(folder: Path) -> bool:
    try:
        with alone_in(folder):
            clear_pages(folder)
    except Conflict:
        return False  # somebody fetches them anew
    return True


def _fetched_at(folder: Path) -> float:
    """When the extract ended, in seconds since 1970; the end of time where it has not."""
    manifest = folder / MANIFEST
    return manifest.stat().st_mtime if manifest.is_file() else float("inf")


def _weeks_in(folder: Path) -> Iterator[tuple[Week, Path]]:
    for path in sorted(folder.glob("week_start=*/week_end=*")):
        try:
            week = Week(*(date.fromisoformat(part.partition("=")[2]) for part in path.parts[-2:]))
        except (ValueError, InvalidInput):
            continue  # not a folder of ours
        yield week, path
