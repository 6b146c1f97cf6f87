"""A worker of the scenario flow in a process of its own, to be killed.

It is forked from a process that has loaded everything and begun nothing: loading costs more than most builds that are killed.
"""

import contextlib
import dataclasses
import multiprocessing
import os
from multiprocessing.process import BaseProcess
from pathlib import Path

# Loaded here, since whoever is forked does not load them again.
import treadle.flows.scenario.build
import treadle.flows.scenario.destroy  # noqa: F401 - see above
from tests.flows.scenario_place import HURRIED, unhurried_fabric
from treadle.cli.stopping import stop_on_signal
from treadle.control.jobs.kinds import by_name
from treadle.control.jobs.worker import JobWorker
from treadle.flows.scenario.jobs import scenario_kinds
from treadle.settings import load_settings
from treadle.wiring import wired

LEASE_SECONDS = 2.0  # short, so that the next worker need not wait long


def start_worker(state: Path, scratch: Path, words: Path) -> BaseProcess:
    """Start one; it works until it is killed. words: the file that gets what it says."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([__name__])
    child = forking.Process(target=_work, args=(state, scratch, words))
    child.start()
    return child


def _work(state: Path, scratch: Path, words: Path) -> None:
    with words.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    settings = load_settings(state)
    with wired(settings) as wiring, contextlib.closing(unhurried_fabric(settings)) as fabric:
        services = dataclasses.replace(wiring.scenarios(), fabric=fabric, scratch=scratch, patience=HURRIED)
        worker = JobWorker(wiring.own, by_name(scenario_kinds(lambda: services)), slots=1, idle_seconds=0.05, lease_seconds=LEASE_SECONDS)
        worker.run(stop_on_signal())
