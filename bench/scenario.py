"""A scenario of a million entity rows in 20 CSV files (200 MB), from upload to refreshed graph, against merely writing the same Delta tables.

Both sides run in processes of their own, in turns. Ours uploads, unpacks, checks every cell, every key and every edge, converts, and has the sandbox –
which runs in a process of its own on the same cores – load the tables and refresh the graph. The other side reads the same CSV files with Polars,
with the same types, and writes them with deltalake. `python -m bench.scenario` prints the table.
"""

import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from uuid import uuid4

from bench.table import Row, markdown
from bench.variant import _own_peak_kib, _processor_seconds
from treadle.cli.local import local_environment
from treadle.logs import configure_logs

SECTION = "Scenario: 1,000,000 entity rows in 20 CSV files (200 MB), from upload to refreshed graph"
ROWS, FILES, ROUNDS = 1_000_000, 20, 3
MOST, PEAK_MIB = 3.0, 600
_MIB = 1024
_NOTE_CHARS = 110
_SEED = 20261122
COLUMNS = ("Id", "ParentId", "Name", "City", "Status", "CapacityGbps", "LatencyMs", "InstalledAt", "Note")
TYPES = {"CapacityGbps": "BigInt", "LatencyMs": "Double", "InstalledAt": "DateTime"}
CITIES = ("Sydney", "Melbourne", "Brisbane", "Perth", "Adelaide", "Hobart", "Darwin", "Canberra")
WORDS = [
    "fibre",
    "router",
    "switch",
    "path",
    "link",
    "tower",
    "rack",
    "panel",
    "splice",
    "amplifier",
    "window",
    "corridor",
    "spare",
    "primary",
    "backup",
    "north",
    "south",
]


def run(*, rows: int = ROWS, rounds: int = ROUNDS) -> list[Row]:
    """Measure both sides. The input is kept in TREADLE_BENCH_DIR when that is set."""
    configure_logs("ERROR")
    with tempfile.TemporaryDirectory(prefix="treadle-bench-", ignore_cleanup_errors=True) as scratch:
        folder = Path(os.environ.get("TREADLE_BENCH_DIR", scratch)) / f"scenario_{rows}"
        archive = make_archive(folder, rows)
        with local_environment(Path(scratch) / "state") as environment:
            sides = {"treadle": ("build", archive, environment.state), "deltalake": ("write", folder / "csv", Path(scratch) / "tables")}
            measured: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
            for number in range(rounds):
                for name, side in sides.items():
                    measured[name].append(_measured(*side))
                    print(f"{name} round {number + 1}: {measured[name][-1]}", file=sys.stderr, flush=True)
        size_mb = sum(file.stat().st_size for file in (folder / "csv").iterdir()) / 1e6
    return _rows(measured, rows, size_mb)


def _rows(measured: dict[str, list[dict[str, float]]], rows: int, size_mb: float) -> list[Row]:
    ours, theirs = (median(run["work_seconds"] for run in measured[name]) for name in ("treadle", "deltalake"))
    peak = max(run["peak_mib"] for run in measured["treadle"])
    processor = median(run["processor_seconds"] for run in measured["treadle"])
    parts = {name: median(run[name] for run in measured["treadle"]) for name in measured["treadle"][0] if name.startswith("step ")}
    told = ", ".join(f"{name.removeprefix('step ')} {seconds:.2f}" for name, seconds in parts.items())
    return [
        Row(
            SECTION,
            f"{rows:,} rows in {FILES} files, {size_mb:,.0f} MB",
            f"**{ours / theirs:.2f} ×** the time ({_span(measured['treadle'])} s against {_span(measured['deltalake'])} s)",
            f"≤ {MOST:.0f} ×",
            ours / theirs <= MOST,
            f"median [min–max] of {len(measured['treadle'])} on {os.cpu_count()} cores, which the sandbox shares",
        ),
        Row(
            SECTION,
            "seconds by step",
            told,
            "",
            None,
            "several tables are under way at a time, and the ontology beside them: their seconds overlap",
        ),
        Row(SECTION, "processor time of our process alone", f"{processor:.1f} s"),
        Row(SECTION, "peak memory of our process", f"{peak:,.0f} MiB", f"≤ {PEAK_MIB} MiB", peak <= PEAK_MIB),
    ]


def _span(runs: list[dict[str, float]]) -> str:
    values = [run["work_seconds"] for run in runs]
    return f"{median(values):.2f} [{min(values):.2f}–{max(values):.2f}]"


def _measured(side: str, source: Path, place: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.scenario", side, str(source), str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{side} failed: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def make_archive(folder: Path, rows: int) -> Path:
    """The CSV files in folder/csv, and folder/scenario.tar.gz with them. Each file is one type of node, whose rows name one of the type before."""
    archive = folder / "scenario.tar.gz"
    if archive.exists():
        return archive
    (folder / "csv").mkdir(parents=True, exist_ok=True)
    draw = random.Random(_SEED)
    for number in range(FILES):
        with (folder / "csv" / f"Dim{number:02}.csv").open("w", encoding="utf-8") as file:
            file.write(",".join(COLUMNS) + "\n")
            file.writelines(_csv_rows(draw, number, rows // FILES))
    partial = archive.with_suffix(".part")
    with gzip.open(partial, "wb", compresslevel=1) as zipped, tarfile.open(fileobj=zipped, mode="w|") as packed:
        for name, text in (("scenario.yaml", _manifest()), ("graph_schema.yaml", _schema())):
            info = tarfile.TarInfo(f"bench/{name}")
            info.size = len(text.encode())
            packed.addfile(info, io.BytesIO(text.encode()))
        for file in sorted((folder / "csv").iterdir()):
            packed.add(file, f"bench/data/entities/{file.name}")
    partial.rename(archive)
    return archive


def _csv_rows(draw: random.Random, number: int, rows: int) -> Iterator[str]:
    for row in range(rows):
        note = " ".join(draw.choices(WORDS, k=20))[:_NOTE_CHARS]
        parent = f"N{max(number - 1, 0):02}-{draw.randrange(rows):07}"
        moment = f"20{draw.randrange(10, 26)}-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}T{draw.randrange(24):02}:30:00Z"
        yield (
            f"N{number:02}-{row:07},{parent},Node {number} {row},{draw.choice(CITIES)},ACTIVE,{draw.choice((10, 40, 100, 400))},"
            f"{draw.randrange(10_000) / 100},{moment},{note}\n"
        )


def _manifest() -> str:
    return "name: bench\ndisplay_name: Bench\ndata_sources:\n  graph:\n    connector: fabric-gql\n    schema_file: graph_schema.yaml\n"


def _schema() -> str:
    lines = ["data_dir: data/entities", "vertices:"]
    for number in range(FILES):
        lines += [
            f"  - label: Node{number:02}",
            f"    csv_file: Dim{number:02}.csv",
            "    id_column: Id",
            f"    properties: [{', '.join(COLUMNS)}]",
            f"    property_types: {json.dumps(TYPES)}",
        ]
    lines.append("edges:")
    for number in range(1, FILES):
        lines += [
            f"  - label: hangs_on_{number:02}",
            f"    csv_file: Dim{number:02}.csv",
            f"    source: {{label: Node{number:02}, property: Id, column: Id}}",
            f"    target: {{label: Node{number - 1:02}, property: Id, column: ParentId}}",
        ]
    return "\n".join(lines) + "\n"


def _build(archive: Path, state: Path) -> dict[str, float]:
    """Upload an archive, and do the job that it becomes, in a new workspace."""
    from treadle.control.jobs.kinds import by_name  # noqa: PLC0415 - its import is not measured
    from treadle.control.jobs.queue import get_job, list_steps  # noqa: PLC0415 - the same
    from treadle.control.jobs.worker import JobWorker  # noqa: PLC0415 - the same
    from treadle.flows.scenario import build as _loaded  # noqa: PLC0415 - the same
    from treadle.flows.scenario.flow import Asked, request_build  # noqa: PLC0415 - the same
    from treadle.flows.scenario.slots import Slot  # noqa: PLC0415 - the same
    from treadle.settings import load_settings  # noqa: PLC0415 - the same
    from treadle.wiring import wired  # noqa: PLC0415 - the same

    configure_logs("ERROR")
    _ = _loaded
    with wired(load_settings(state)) as wiring:
        services = wiring.scenarios()
        workspace = services.fabric.create_workspace(f"bench {uuid4()}")
        asked = Asked(f"bench-{uuid4()}", None, workspace.workspace_id, workspace.name)
        worker = JobWorker(wiring.own, by_name(wiring.job_kinds()), slots=1, idle_seconds=0.05)
        stop = threading.Event()
        working = threading.Thread(target=worker.run, args=(stop,))
        working.start()
        began = time.perf_counter()
        with archive.open("rb") as source:
            job = request_build(services, asked, {Slot.GRAPH: source}, "bench")
        asked_seconds = time.perf_counter() - began
        while not (found := get_job(wiring.own, job.job_id)).state.ended:
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        stop.set()
        working.join()
        if found.error_message:
            raise RuntimeError(f"{found.error_message} {found.error_details}")
        steps = list_steps(wiring.own, job.job_id)
    parts = {"step send": asked_seconds}
    for step in steps:
        if step.finished_at:
            name = f"step {step.name.partition(':')[0].removeprefix('graph.')}"
            parts[name] = parts.get(name, 0.0) + (step.finished_at - step.started_at).total_seconds()
    return {"work_seconds": seconds, **parts}


def _write(source: Path, target: Path) -> dict[str, float]:
    """Write each CSV file as a Delta table, with the types of the ontology, and no more."""
    import polars as pl  # noqa: PLC0415 - its import is not measured
    from deltalake import write_deltalake  # noqa: PLC0415 - the same

    types = dict.fromkeys(COLUMNS, pl.String) | {"CapacityGbps": pl.Int64, "LatencyMs": pl.Float64}
    began = time.perf_counter()
    for file in sorted(source.iterdir()):
        frame = pl.read_csv(file, schema=types).with_columns(pl.col("InstalledAt").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC"))
        write_deltalake(target / file.stem, frame, mode="overwrite")
    return {"work_seconds": time.perf_counter() - began}


def main() -> None:
    """One side in this process, or all of it."""
    if sys.argv[1:2] in (["build"], ["write"]):
        used = _processor_seconds()
        told = {"build": _build, "write": _write}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
        print(json.dumps({**told, "processor_seconds": _processor_seconds() - used, "peak_mib": _own_peak_kib() / _MIB}))
    else:
        rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
        print(markdown(run(rows=rows)))


if __name__ == "__main__":
    main()
