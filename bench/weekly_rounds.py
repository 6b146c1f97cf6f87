"""Variants of the weekly benchmarks, each run in a process of its own, in turns: `python -m bench.weekly_rounds NAME INPUT OUTPUT` is one run."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from bench.variant import _own_peak_kib, _processor_seconds

KIB_IN_MIB = 1024
Measured = dict[str, list[dict[str, float]]]


def measured_in_turns(variants: Mapping[str, tuple[str, Path, Path]], rounds: int) -> Measured:
    """What each variant (work, input, output) measured, round by round."""
    measured: Measured = {name: [] for name in variants}
    for number in range(rounds):
        for name, (work, source, target) in variants.items():
            load = os.getloadavg()[0]
            done = subprocess.run(
                [sys.executable, "-m", "bench.weekly_rounds", work, str(source), str(target)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
            measured[name].append(json.loads(done.stdout.splitlines()[-1]) | {"load": load})
            print(f"{work} round {number + 1}: {measured[name][-1]}", file=sys.stderr, flush=True)
    return measured


def medians(measured: Measured, name: str) -> dict[str, float]:
    return {variant: median(run[name] for run in runs) for variant, runs in measured.items()}


def span(runs: list[dict[str, float]], name: str) -> str:
    values = [run[name] for run in runs]
    return f"{median(values):.2f} [{min(values):.2f}–{max(values):.2f}]"


def main() -> None:
    from bench import weekly_variants  # noqa: PLC0415 - each variant imports what it needs before the clock starts

    work = getattr(weekly_variants, sys.argv[1])()
    began, used = time.perf_counter(), _processor_seconds()
    work(Path(sys.argv[2]), Path(sys.argv[3]))
    seconds, processor = time.perf_counter() - began, _processor_seconds() - used
    print(json.dumps({"work_seconds": seconds, "processor_seconds": processor, "peak_mib": _own_peak_kib() / KIB_IN_MIB}))


if __name__ == "__main__":
    main()
