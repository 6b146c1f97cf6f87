"""One run of one variant in a process of its own: `python -m bench.variant NAME INPUT LAKEHOUSE` prints its measurements as JSON."""

import json
import logging
import resource
import sys
import time
from pathlib import Path
from uuid import uuid4

KIB_IN_MIB = 1024


def main() -> None:
    name, source, lakehouse = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    began = time.perf_counter()
    start_up, run = {"treadle": _treadle, "pandas": _pandas}[name]()
    ready = time.perf_counter()
    run(source, lakehouse, str(uuid4()))
    done = time.perf_counter()
    peak = (_own_peak_kib() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / KIB_IN_MIB
    own_start_up = ready - began
    work = done - ready - start_up
    print(json.dumps({"start_up_seconds": own_start_up, "work_seconds": work, "processor_seconds": _processor_seconds(), "peak_mib": peak}))


def _processor_seconds() -> float:
    """Of this process and its child, start-up with it: what the work takes, whoever else the processors serve meanwhile."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _own_peak_kib() -> int:
    """Not from getrusage: its figure begins with that of the process that started this one."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _pandas():
    import openpyxl  # noqa: F401, PLC0415 - its import is part of the start-up that is measured
    import pyarrow.parquet  # noqa: F401, PLC0415 - the same

    from bench import baseline_sales  # noqa: PLC0415 - the same

    return 0.0, baseline_sales.run


def _treadle():
    """The flow reads in a child process; what the child needs to start is measured by a child that has nothing to do."""
    import structlog  # noqa: PLC0415 - its import is part of the start-up that is measured

    from treadle.flows.sales.ingest import ingest  # noqa: PLC0415 - the same
    from treadle.flows.sales.isolation import run_isolated  # noqa: PLC0415 - the same

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    began = time.perf_counter()
    run_isolated("treadle.flows.sales.artifacts:list_warnings", {"findings": [], "validations": []})
    child_start_up = time.perf_counter() - began

    def run(source: Path, lakehouse: Path, run_id: str) -> None:
        ingest(source.name, run_id, "bench", lakehouse=lakehouse)

    return child_start_up, run


if __name__ == "__main__":
    main()
