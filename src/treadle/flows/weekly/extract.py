"""Stage EXTRACT: the events of one week, page after page, from the API to files.

A page is on the disk for good before the next is asked for; whoever is killed goes on behind the last one. What is finished is what the
manifest `extract.json` says. While the pages are read the list may change; what would then be lost or read twice is noticed, and the extract
starts anew, once.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, cast

import structlog

from treadle.clients.events_api import MAX_PAGE_SIZE, EventsApi
from treadle.errors import InvalidInput, NotFound, UnexpectedAnswer
from treadle.flows.weekly.envelope import Envelope, read_envelope
from treadle.flows.weekly.page_files import (
    MAX_PAGES,
    PageFile,
    alone_in,
    clear_pages,
    commit_file,
    kept_bodies,
    path_of,
    read_page,
    write_page,
)
from treadle.flows.weekly.week import Week, require_begun

__all__ = ["Extracted", "PageFile", "extract_week", "read_extract", "read_page"]

MANIFEST: Final = "extract.json"
_VERSION: Final = 1

OnPage = Callable[[PageFile, int | None], None]
"""Told of each page once it is kept, with the number of events that the API says there are in all, if it says so."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Extracted:
    """A finished extract. The window is half-open, in UTC; it ends before the week does when the week was not over.

    total_reported: what the API said; None: nothing. ingested_at: when the extract began; whoever resumes it keeps that time.
    """

    week: Week
    pages: tuple[PageFile, ...]
    rows_fetched: int
    total_reported: int | None
    window_opens: datetime
    window_closes: datetime
    ingested_at: datetime

    @property
    def sha256(self) -> str:
        """A mark of all that later stages read: two extracts that share it are the same."""
        parts = [str(self.week), self.window_opens.isoformat(), self.window_closes.isoformat(), self.ingested_at.isoformat()]
        return hashlib.sha256("\n".join([*parts, *(page.sha256 for page in self.pages)]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Opening:
    """What an extract is bound to from its beginning, however often it is resumed."""

    week: Week
    window_closes: datetime
    page_size: int
    ingested_at: datetime


class _Drifted(Exception):
    """The list changed while it was read."""


def extract_week(  # noqa: PLR0913 - what to fetch, where to, how gently, and who listens: each named
    api: EventsApi,
    week: Week,
    folder: Path,
    *,
    now: datetime,
    page_size: int = MAX_PAGE_SIZE,
    delay_seconds: float = 2.0,
    on_page: OnPage = lambda _page, _total: None,
    check: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
    anew: bool = False,
) -> Extracted:
    """Fetch all events of a week into `folder`, and return what is there. Safe to repeat: a finished extract is returned as it is.

    now: aware. Of a week that is not over, the events before `now` are fetched; that bound stays when the extract is resumed before the end
    of the week, and a later extract of the week starts anew. delay_seconds: between two calls.
    on_page: told of resumed pages, too, and of all from the first on when the extract starts anew.
    check: called before each call; what it raises ends the extract, which can be resumed. anew: fetch all again, whatever is there.

    Raises:
        InvalidInput: the week has not begun, or the folder cannot be written.
        Unavailable: the disk is full, or the API cannot be reached after all retries. What is kept stays; the same call resumes.
        UnexpectedAnswer: the API's pages cannot be read, contradict its own count, or changed twice while they were read.
        Conflict: another process extracts into this folder.
        Throttled, Unauthenticated, PermissionDenied: as the API says.
    """
    require_begun(week, now)
    wanted = _Opening(week, min(week.closes_at, now), page_size, now)
    run = _Extraction(api, folder, delay_seconds=delay_seconds, on_page=on_page, check=check, sleep=sleep)
    with alone_in(folder):
        if not anew and (done := read_extract(folder)) and _answers(done, wanted):
            return done
        return _extract(run, wanted, begun=None if anew else _resumable(folder, wanted))


def read_extract(folder: Path) -> Extracted | None:
    """The finished extract in this folder. None: there is none, or not all of its pages are there.

    Raises InvalidInput when the manifest cannot be read.
    """
    manifest = _read_manifest(folder)
    if manifest is None or "pages" not in manifest:
        return None
    opening = _opening_of(folder, manifest)
    try:
        pages, total = tuple(_page_of(folder, page) for page in manifest["pages"]), manifest["total_reported"]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / MANIFEST) from error
    if not all(page.path.exists() for page in pages):
        return None
    rows = sum(page.rows for page in pages)
    return Extracted(opening.week, pages, rows, total, opening.week.opens_at, opening.window_closes, opening.ingested_at)


def _page_of(folder: Path, page: Mapping[str, Any]) -> PageFile:
    number = int(page["number"])
    return PageFile(number, path_of(folder, number), page["rows"], page["size_bytes"], page["sha256"], page["records_sha256"])


def _extract(run: "_Extraction", wanted: _Opening, begun: _Opening | None) -> Extracted:
    """Go on with what was begun, or start; and once more from the beginning when the list changes in the meantime."""
    try:
        return run.resume(begun) if begun else run.start(wanted)
    except _Drifted as change:
        _log.warning("weekly.extract.drifted", week=str(wanted.week), reason=str(change))
    try:
        return run.start(wanted)
    except _Drifted as change:
        run.discard()
        raise _changing(wanted.week, str(change)) from change


def _answers(done: Extracted, wanted: _Opening) -> bool:
    """Whether a finished extract is what is asked for: of the same week, up to the same moment."""
    return done.week == wanted.week and done.window_closes == wanted.window_closes


def _resumable(folder: Path, wanted: _Opening) -> _Opening | None:
    """The extract that was begun here, if going on with it gives what is wanted."""
    manifest = _read_manifest(folder)
    if manifest is None:
        return None
    begun = _opening_of(folder, manifest)
    same = begun.week == wanted.week and begun.page_size == wanted.page_size
    finished_early = "pages" in manifest and begun.window_closes < wanted.window_closes
    over_since = wanted.window_closes == wanted.week.closes_at and begun.window_closes < wanted.week.closes_at
    return begun if same and not finished_early and not over_since else None


class _Extraction:
    """One try to fetch a week: the pages that are kept, and what the next one is held against."""

    def __init__(  # noqa: PLR0913 - as extract_week
        self,
        api: EventsApi,
        folder: Path,
        *,
        delay_seconds: float,
        on_page: OnPage,
        check: Callable[[], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._api, self._folder, self._delay_seconds = api, folder, delay_seconds
        self._on_page, self._check, self._sleep = on_page, check, sleep
        self._asked = False
        self._forget()

    def start(self, opening: _Opening) -> Extracted:
        """Fetch everything, and forget what is there."""
        self._forget()
        self.discard()
        commit_file(self._folder / MANIFEST, _as_json(_manifest_of(opening)))
        return self._fetch(opening)

    def resume(self, opening: _Opening) -> Extracted:
        """Fetch what is missing."""
        for path, body in kept_bodies(self._folder):
            self._keep(_described(path, len(self._pages) + 1, body, envelope := read_envelope(body)), envelope)
        _log.info("weekly.extract.resumed", week=str(opening.week), pages=len(self._pages), rows=self._rows)
        return self._fetch(opening)

    def discard(self) -> None:
        """Remove all that is kept. The manifest goes first: pages without one are nobody's."""
        (self._folder / MANIFEST).unlink(missing_ok=True)
        clear_pages(self._folder)

    def _forget(self) -> None:
        self._pages: list[PageFile] = []
        self._numbers: dict[str, int] = {}  # by what is in the page
        self._total: int | None = None
        self._last_records: list[bytes] = []

    @property
    def _rows(self) -> int:
        return sum(page.rows for page in self._pages)

    def _fetch(self, opening: _Opening) -> Extracted:
        rows = self._rows
        while not self._at_end(opening, rows):
            number = len(self._pages) + 1
            body = self._ask(opening, number)
            envelope = read_envelope(body)
            if not envelope.records:
                self._total = envelope.total if number == 1 else self._total
                break
            self._hold_against(opening, envelope, number)
            path = path_of(self._folder, number)
            page = _described(path, number, body, envelope)
            write_page(path, body)
            self._keep(page, envelope)
            rows += page.rows
        self._reconcile(opening, rows)
        return self._finish(opening, rows)

    def _at_end(self, opening: _Opening, rows: int) -> bool:
        """Whether the API has no more: by its own count, or without one, behind a page that is not full, by asking for the next."""
        if self._total is not None:
            return rows >= self._total
        return self._last_is_short(opening) and not self._beyond(opening)

    def _last_is_short(self, opening: _Opening) -> bool:
        """Whether the last page had room for more. What is room is learnt from the first: some APIs give less than they are asked for."""
        sizes = [page.rows for page in (*self._pages[:1], *self._pages[1:][-1:])]
        return bool(sizes) and sizes[-1] < (sizes[0] if len(sizes) > 1 else opening.page_size)

    def _ask(self, opening: _Opening, number: int) -> bytes:
        if number > MAX_PAGES:
            raise UnexpectedAnswer(f"The week {opening.week} has more than {MAX_PAGES} pages.", hint="Raise API_PAGE_SIZE.")
        self._check()
        if self._asked:
            self._sleep(self._delay_seconds)
        self._asked = True
        return self._api.page(opening.week.opens_at, opening.window_closes, number, opening.page_size)

    def _keep(self, page: PageFile, envelope: Envelope) -> None:
        self._pages.append(page)
        self._numbers.setdefault(page.records_sha256, page.number)
        self._total = envelope.total if self._total is None else self._total
        self._last_records = envelope.records
        self._on_page(page, self._total)

    def _hold_against(self, opening: _Opening, envelope: Envelope, number: int) -> None:
        """Compare a page with those before it. Raises _Drifted when it does not continue them."""
        if None not in (self._total, envelope.total) and envelope.total != self._total:
            raise _Drifted(f"the API counted {self._total} events, and {envelope.total} at page {number}")
        before = self._numbers.get(_records_sha256(envelope))
        if before is not None and not self._repeats(opening, envelope, number):
            raise _Drifted(f"page {number} has the events of page {before}")
        # An event with which a page begins, and which the page before has too, may be there twice; or the list has shifted in between.
        if self._pages and envelope.records[0] in self._last_records:
            self._look_again(opening, self._pages[-1])

    def _repeats(self, opening: _Opening, envelope: Envelope, number: int) -> bool:
        """Whether a page has the events of one before because there are so many alike, which have no ids to be told apart by.

        They must be several and all that it has, the API must count them, and give the page a second time as it is. `_reconcile` notices an API without
        an end.
        """
        alike = len(set(envelope.records)) == 1 < len(envelope.records)
        if not alike or self._total is None or envelope.total != self._total:
            return False
        again = read_envelope(self._ask(opening, number))
        return again.total == self._total and again.records == envelope.records

    def _look_again(self, opening: _Opening, page: PageFile) -> None:
        envelope = read_envelope(self._ask(opening, page.number))
        if _records_sha256(envelope) != page.records_sha256 or (self._total is not None and envelope.total not in (None, self._total)):
            raise _Drifted(f"page {page.number} has changed since it was read")

    def _reconcile(self, opening: _Opening, rows: int) -> None:
        """Hold the whole against what the API said. Raises _Drifted, and UnexpectedAnswer when its count is wrong."""
        surely_last = len(self._pages) > 1 and self._last_is_short(opening)  # a single page may be all, or all that the API gives at once
        if self._pages and self._total == rows and not surely_last:
            rows += self._beyond(opening)
        miscounted = self._total is not None and rows != self._total
        one_answer = len(self._pages) == 1 and self._total is not None  # else it took several, between which the list may have changed
        if self._pages and (miscounted or not one_answer):
            self._look_again(opening, self._pages[0])
        if miscounted:
            self.discard()  # going on with these pages would end the same
            raise _miscounted(opening.week, rows, self._total)

    def _beyond(self, opening: _Opening) -> int:
        """How many events there are on the page behind the last one, where there should be none."""
        try:
            return len(read_envelope(self._ask(opening, len(self._pages) + 1)).records)
        except (InvalidInput, NotFound):  # some APIs refuse a page that they do not have
            return 0

    def _finish(self, opening: _Opening, rows: int) -> Extracted:
        week = opening.week
        done = Extracted(week, tuple(self._pages), rows, self._total, week.opens_at, opening.window_closes, opening.ingested_at)
        pages = [{name: value for name, value in asdict(page).items() if name != "path"} for page in done.pages]
        whole = _manifest_of(opening) | {"rows_fetched": rows, "total_reported": self._total, "pages": pages}
        commit_file(self._folder / MANIFEST, _as_json(whole))
        _log.info("weekly.extract.finished", week=str(week), pages=len(pages), rows=rows)
        return done


def _described(path: Path, number: int, body: bytes, envelope: Envelope) -> PageFile:
    return PageFile(number, path, len(envelope.records), len(body), hashlib.sha256(body).hexdigest(), _records_sha256(envelope))


def _records_sha256(envelope: Envelope) -> str:
    return hashlib.sha256(b",".join(envelope.records)).hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(manifest, dict) or cast("dict[str, Any]", manifest).get("version") != _VERSION:
        raise _damaged(path)
    return cast("dict[str, Any]", manifest)


def _opening_of(folder: Path, manifest: dict[str, Any]) -> _Opening:
    try:
        week = Week(date.fromisoformat(manifest["week_start"]), date.fromisoformat(manifest["week_end"]))
        closes, ingested_at = (datetime.fromisoformat(manifest[name]) for name in ("window_closes", "ingested_at"))
        return _Opening(week, closes, manifest["page_size"], ingested_at)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / MANIFEST) from error


def _manifest_of(opening: _Opening) -> dict[str, Any]:
    """What is known when an extract begins; the pages are added when it is finished."""
    return {
        "version": _VERSION,
        "week_start": opening.week.start.isoformat(),
        "week_end": opening.week.end.isoformat(),
        "window_opens": opening.week.opens_at.isoformat(),
        "window_closes": opening.window_closes.isoformat(),
        "ingested_at": opening.ingested_at.isoformat(),
        "page_size": opening.page_size,
    }


def _as_json(manifest: dict[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1).encode() + b"\n"


def _damaged(path: Path) -> InvalidInput:
    return InvalidInput(f"{path} is no manifest of an extract.", hint="Remove it and run the extract again.", details={"path": str(path)})


def _miscounted(week: Week, rows: int, total: int | None) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"The events API says that the week {week} has {total} events, and gave {rows} or more.",
        hint="Nothing was kept. Run the extract again; if it stays so, tell the owner of the events API.",
        details={"week": str(week), "rows_fetched": rows, "total_reported": total},
    )


def _changing(week: Week, change: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"The events of the week {week} changed twice while they were read: {change}.",
        hint="Nothing was kept. Run the extract again when nobody changes them; if it stays so, tell the owner of the events API.",
        details={"week": str(week), "change": change},
    )
