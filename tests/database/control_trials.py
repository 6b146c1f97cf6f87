"""What the tests of the control plane do again and again."""

import threading
import time
from collections.abc import Callable
from uuid import UUID, uuid4

from treadle.control import runs
from treadle.control.database import Database
from treadle.control.runs import NewRun, Run
from treadle.control.states import RunStatus


def new_run(input_file: str = "orders.xlsx", who: str = "ana@example.com", run_id: UUID | None = None) -> NewRun:
    return NewRun(run_id or uuid4(), who, input_file, "workspace", "pipeline", "1", "0.1.0")


def start(database: Database, **of_run: object) -> Run:
    return runs.start_run(database, new_run(**of_run), "started")  # type: ignore[arg-type]


def succeed(database: Database, run: Run, kpis: dict | None = None) -> Run:
    assert runs.finish_run(database, run.run_id, RunStatus.SUCCEEDED, kpis=kpis)
    return runs.get_run(database, run.run_id)


def wait_until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    """Look again and again until it holds; fail when the time is over."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"did not come true within {seconds} s"
        pause.wait(0.02)


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """Let `count` threads begin the same work together; return what each returned or raised, in order."""
    gate, results = threading.Barrier(count), [None] * count

    def one(number: int) -> None:
        gate.wait()
        try:
            results[number] = work(number)
        except Exception as error:  # noqa: BLE001 - the test looks at what was raised
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a thread hangs"
    return results
