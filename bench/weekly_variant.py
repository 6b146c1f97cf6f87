"""One run of one variant of the weekly transform in a process of its own: `python -m bench.weekly_variant NAME INPUTS OUT` prints its measurements as JSON.

treadle, pydantic: the whole way from page files to both Parquet files. parse: read, decompress and parse the same pages into Python objects, and no more.
write: write the Parquet files of `treadle`, which must lie in OUT, from memory, and no more.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.variant import _own_peak_kib
from bench.weekly_events import INGESTED_AT, WEEK, read_made_extract

KIB_IN_MIB = 1024


def main() -> None:
    name, inputs, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    run = {"treadle": _treadle, "pydantic": _pydantic, "parse": _parse, "write": _write}[name](inputs, out)
    before = _processor_seconds()
    began = time.perf_counter()
    run()
    print(
        json.dumps(
            {
                "work_seconds": time.perf_counter() - began,
                "processor_seconds": _processor_seconds() - before,
                "peak_mib": _own_peak_kib() / KIB_IN_MIB,
            }
        )
    )


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _treadle(inputs: Path, out: Path) -> Callable[[], object]:
    from treadle.flows.weekly.transform import transform_week  # noqa: PLC0415 - its import is not measured

    extracted = read_made_extract(inputs)
    return lambda: transform_week(extracted, out, force=True)


def _pydantic(inputs: Path, out: Path) -> Callable[[], object]:
    import pyarrow.parquet  # noqa: F401, PLC0415 - its import is not measured

    from bench import baseline_weekly  # noqa: PLC0415 - the same

    pages = [page.path for page in read_made_extract(inputs).pages]
    return lambda: baseline_weekly.run(pages, WEEK, INGESTED_AT, out)


def _parse(inputs: Path, _out: Path) -> Callable[[], object]:
    import msgspec  # noqa: PLC0415 - its import is not measured
    import zstandard  # noqa: PLC0415 - the same

    pages = [page.path for page in read_made_extract(inputs).pages]

    def parse() -> None:
        for path in pages:
            msgspec.json.decode(zstandard.ZstdDecompressor().decompress(path.read_bytes()).replace(b"\\ud800", b"\\ud7ff"))

    return parse


def _write(_inputs: Path, out: Path) -> Callable[[], object]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - its import is not measured

    from treadle.flows.weekly.transform import EVENTS_FILE, REJECTS_FILE, parquet_files  # noqa: PLC0415 - the same
    from treadle.flows.weekly.verdicts import EVENTS, REJECTS  # noqa: PLC0415 - the same

    tables = pq.read_table(out / EVENTS_FILE).cast(EVENTS), pq.read_table(out / REJECTS_FILE).cast(REJECTS)

    def write() -> None:
        with parquet_files(out) as files:
            for file, table in zip(files, tables, strict=True):
                for batch in table.to_batches(131_072):
                    file.write(table.from_batches([batch]))
                file.finish()

    return write


if __name__ == "__main__":
    main()
