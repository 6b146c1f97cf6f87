"""TRANSFORM: the extract's pages become events.parquet and rejects.parquet. Every record ends in exactly one of the two.

Pages are read in order, some at a time; threads judge them, for nearly all of the work is done outside of Python's lock; the tables are written in the order of the pages.
What is written depends on the pages and the extract's own times alone, so that doing it again makes the same bytes.
"""

import errno
import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeVar

from treadle.errors import InvalidInput, Unavailable, UnexpectedAnswer
from treadle.flows.weekly.envelope import read_envelope
from treadle.flows.weekly.extract import Extracted, PageFile, read_page
from treadle.flows.weekly.hashed_parquet import HashedParquet, WrittenFile
from treadle.flows.weekly.page_files import commit_file
from treadle.flows.weekly.quality import LEAST_VALID_PCT, is_acceptable, reject_rate_pct
from treadle.flows.weekly.verdicts import EVENTS, REJECTS, Batch, Chunk, Verdicts, verdicts
from treadle.flows.weekly.week import Week

EVENTS_FILE: Final = "events.parquet"
REJECTS_FILE: Final = "rejects.parquet"
RESULT_FILE: Final = "transform.json"
RULES_VERSION: Final = 2  # raise it when the contract, or what the files hold, changes: earlier results are then done again

CHUNK_ROWS: Final = 32_768
CHUNK_BYTES: Final = 16 * 1024 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MOST_THREADS: Final = 4  # each holds a chunk in several forms at once
_REPEATED: Final = ("event_type", "category_id", "category_code", "brand", "batch_week_start", "batch_week_end", "ingested_at")
_SEARCHED: Final = ("event_time", "event_type", "price", "batch_week_start", "batch_week_end")


T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Transformed:
    """What became of the week's records. rejects_by_rule counts every broken rule of every reject, so it may add up to more than rows_rejected."""

    week: Week
    rows_fetched: int
    rows_valid: int
    rows_rejected: int
    reject_rate_pct: Decimal
    rejects_by_rule: Mapping[str, int]
    events_path: Path
    events_sha256: str
    events_bytes: int
    rejects_path: Path
    rejects_sha256: str
    rejects_bytes: int
    inputs_sha256: str  # of all that the files were made from


def transform_week(
    extracted: Extracted,
    folder: Path,
    *,
    force: bool = False,
    check: Callable[[], None] = lambda: None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Transformed:
    """Judge every record of the extract and write both files and transform.json to the folder. Safe to repeat: the same extract makes the same files.

    A result that is there, of the same extract and with the bytes that it tells of, is not made again unless forced.
    check: called between chunks; what it raises ends the work, and nothing is left of it. on_progress: records done, records in all.

    Raises:
        InvalidInput: under 95 % of the records are valid. rejects.parquet then tells why; events.parquet is not there.
        UnexpectedAnswer: the page files are not what the extract counted.
        ChecksumMismatch: a page file is damaged or gone.
        Unavailable: the disk is full; earlier files are as they were. InvalidInput: nothing may be written there.
    """
    inputs = _inputs_sha256(extracted)
    earlier = None if force else read_transformed(folder)
    if earlier is not None and earlier.inputs_sha256 == inputs and _is_whole(earlier):
        return earlier
    with _disk_told(folder), parquet_files(folder) as (events, rejects):
        by_rule = _write_all(extracted, events, rejects, check, on_progress)
        result = _result(extracted, inputs, events.finish(), rejects.finish(), by_rule)
        _publish(result, events, rejects, folder)
    _require_acceptable(result)
    return result


def read_transformed(folder: Path) -> Transformed | None:
    """The result that stands in the folder; None: there is none, or none that this version can read. Says nothing of the files."""
    try:
        found = json.loads((folder / RESULT_FILE).read_bytes())
        return Transformed(
            **{name: value for name, value in found.items() if not name.endswith("_path") and name not in {"week", "reject_rate_pct"}},
            week=Week(date.fromisoformat(found["week"]["start"]), date.fromisoformat(found["week"]["end"])),
            reject_rate_pct=Decimal(found["reject_rate_pct"]),
            events_path=folder / EVENTS_FILE,
            rejects_path=folder / REJECTS_FILE,
        )
    except (OSError, ValueError, TypeError, KeyError, ArithmeticError):
        return None


@contextmanager
def parquet_files(folder: Path) -> Generator[tuple[HashedParquet, HashedParquet]]:
    """Both files in the making: events and rejects."""
    with (
        HashedParquet(folder / EVENTS_FILE, EVENTS, dictionary=_REPEATED, statistics=_SEARCHED) as events,
        HashedParquet(folder / REJECTS_FILE, REJECTS, dictionary=("rule", "field", "reason"), statistics=("row_index",)) as rejects,
    ):
        yield events, rejects


def _write_all(
    extracted: Extracted, events: HashedParquet, rejects: HashedParquet, check: Callable[[], None], on_progress: Callable[[int, int], None]
) -> Counter[str]:
    by_rule: Counter[str] = Counter()
    done = 0
    with closing(_in_order(lambda pages: _verdicts(extracted, *pages), _chunks(extracted.pages))) as chunks:
        for chunk in chunks:
            check()
            events.write(chunk.events)
            rejects.write(chunk.rejects)
            by_rule += chunk.by_rule
            done += chunk.rows
            on_progress(done, extracted.rows_fetched)
    return by_rule


def _chunks(pages: Iterable[PageFile]) -> Iterator[tuple[int, list[PageFile]]]:
    """Consecutive pages of about a chunk's size, and the index of the first record among all; a page is never cut."""
    first_row, held = 0, list[PageFile]()
    for page in pages:
        rows, size_bytes = sum(one.rows for one in held), sum(one.size_bytes for one in held)
        if held and (rows + page.rows > CHUNK_ROWS or size_bytes + page.size_bytes > CHUNK_BYTES):
            yield first_row, held
            first_row, held = first_row + rows, []
        held.append(page)
    if held:
        yield first_row, held


def _verdicts(extracted: Extracted, first_row: int, pages: list[PageFile]) -> Verdicts:
    chunk = Chunk([page.number for page in pages], [read_page(page) for page in pages], [page.rows for page in pages], first_row)
    found = verdicts(chunk, Batch(extracted.week, extracted.ingested_at), lambda body: read_envelope(body).records)
    if found.rows != sum(chunk.rows):
        raise UnexpectedAnswer(
            f"Pages {pages[0].number}–{pages[-1].number} of {extracted.week} hold {found.rows} records, but {sum(chunk.rows)} were counted.",
            hint=f"Fetch the week anew with: treadle weekly run {extracted.week.options}",
            details={"pages": [page.number for page in pages], "rows": found.rows, "counted": sum(chunk.rows)},
        )
    return found


def _in_order(work: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
    """Each item's result in the order of the items, some worked on at once and not many ahead of the one that is taken."""
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    with ThreadPoolExecutor(threads, "judge") as pool:
        ahead: deque[Future[R]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _result(extracted: Extracted, inputs: str, events: WrittenFile, rejects: WrittenFile, by_rule: Counter[str]) -> Transformed:
    fetched = events.rows + rejects.rows
    return Transformed(
        week=extracted.week,
        rows_fetched=fetched,
        rows_valid=events.rows,
        rows_rejected=rejects.rows,
        reject_rate_pct=reject_rate_pct(fetched, rejects.rows),
        rejects_by_rule=dict(sorted(by_rule.items())),
        events_path=events.path,
        events_sha256=events.sha256,
        events_bytes=events.size_bytes,
        rejects_path=rejects.path,
        rejects_sha256=rejects.sha256,
        rejects_bytes=rejects.size_bytes,
        inputs_sha256=inputs,
    )


def _publish(result: Transformed, events: HashedParquet, rejects: HashedParquet, folder: Path) -> None:
    """transform.json goes first and comes last: a crash in between leaves files without it, and they are made again."""
    (folder / RESULT_FILE).unlink(missing_ok=True)
    rejects.publish()
    if not is_acceptable(result.rows_fetched, result.rows_rejected):
        (folder / EVENTS_FILE).unlink(missing_ok=True)
        return
    events.publish()
    told = asdict(result) | {"week": {"start": str(result.week.start), "end": str(result.week.end)}}
    told |= {"reject_rate_pct": str(result.reject_rate_pct), "events_path": EVENTS_FILE, "rejects_path": REJECTS_FILE}
    commit_file(folder / RESULT_FILE, json.dumps(told, indent=1).encode() + b"\n")


def _require_acceptable(result: Transformed) -> None:
    if is_acceptable(result.rows_fetched, result.rows_rejected):
        return
    most = max(result.rejects_by_rule, key=lambda rule: result.rejects_by_rule[rule])
    raise InvalidInput(
        f"{result.rows_rejected:,} of the {result.rows_fetched:,} records of {result.week} break the contract ({most} most often); "
        f"under {LEAST_VALID_PCT} % valid, the batch is refused.",
        hint=f"See why with: treadle weekly rejects ls {result.week.options} – and once the source is mended, fetch the week anew with: "
        f"treadle weekly run {result.week.options}",
        details={
            "rows_fetched": result.rows_fetched,
            "rows_rejected": result.rows_rejected,
            "reject_rate_pct": str(result.reject_rate_pct),
            "rejects_by_rule": dict(result.rejects_by_rule),
            "rejects_path": str(result.rejects_path),
            "rejects_sha256": result.rejects_sha256,
            "rejects_bytes": result.rejects_bytes,
        },
    )


def is_of(made: Transformed, extracted: Extracted) -> bool:
    """Whether a result was made from these pages, by the rules of this version."""
    return made.inputs_sha256 == _inputs_sha256(extracted)


def _inputs_sha256(extracted: Extracted) -> str:
    return hashlib.sha256(f"{RULES_VERSION} {extracted.sha256}".encode()).hexdigest()


def _is_whole(result: Transformed) -> bool:
    files = ((result.events_path, result.events_sha256), (result.rejects_path, result.rejects_sha256))
    return all(path.is_file() and _sha256(path) == sha256 for path, sha256 in files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _disk_told(folder: Path) -> Generator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        message = f"The week's files cannot be written in {folder}: {error.strerror or error}."
        details = {"errno": error.errno, "folder": str(folder)}
        if error.errno in _FULL:
            raise Unavailable(
                message, hint="Make room on the disk and run the stage again; nothing was replaced.", details=details
            ) from error
        raise InvalidInput(message, hint="Check STATE_DIR and who may write there.", details=details) from error
