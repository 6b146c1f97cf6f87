"""A worker of the scenario flow in a process of its own, to be killed: `python -m tests.flows.scenario_worker STATE SCRATCH`."""

import contextlib
import dataclasses
import sys
from pathlib import Path

from tests.flows.scenario_place import HURRIED, unhurried_fabric
from treadle.cli.stopping import stop_on_signal
from treadle.control.jobs.kinds import by_name
from treadle.control.jobs.worker import JobWorker
from treadle.flows.scenario.jobs import scenario_kinds
from treadle.settings import load_settings
from treadle.wiring import wired

LEASE_SECONDS = 2.0  # short, so that the next worker need not wait long


def main(state: Path, scratch: Path) -> None:
    settings = load_settings(state)
    with wired(settings) as wiring, contextlib.closing(unhurried_fabric(settings)) as fabric:
        services = dataclasses.replace(wiring.scenarios(), fabric=fabric, scratch=scratch, patience=HURRIED)
        worker = JobWorker(wiring.own, by_name(scenario_kinds(lambda: services)), slots=1, idle_seconds=0.05, lease_seconds=LEASE_SECONDS)
        worker.run(stop_on_signal())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
