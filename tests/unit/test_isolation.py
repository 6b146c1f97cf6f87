"""Work in a child process: its answer or its error comes back, and no end of it harms the caller."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from treadle.errors import InvalidInput, LockHeld, OperationFailed, Unavailable
from treadle.flows.sales.isolation import Limits, run_isolated

JOBS = """
import errno, os, resource, signal, subprocess, sys, time
from pathlib import Path
from treadle.errors import InvalidInput, LockHeld

def echo(**arguments):
    print("this is no answer")
    return arguments

def refuse():
    raise LockHeld("held", hint="wait", details={"run_id": "r1"})

def break_down():
    raise ZeroDivisionError("defect")

def fill_memory():
    return len(bytearray(4 * 1024**3))

def spin():
    while True:
        pass

def end(number):
    os.kill(os.getpid(), number)

def leave(code):
    os._exit(code)

def wait(pid_file):
    Path(pid_file).write_text(str(os.getpid()))
    signal.pause()

def fail_in_storage(number):
    raise OSError(number, os.strerror(number), "/lakehouse/file")

def blame_the_file(number):
    try:
        raise OSError(number, os.strerror(number))
    except OSError as error:
        raise InvalidInput("orders.csv could not be read", hint="Correct that line.") from error

def say_as_rust_does(text):
    raise RuntimeError(text)

def abort_with(text):
    print(text, file=sys.stderr, flush=True)
    os.abort()

def write_much(path):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    import polars
    table = polars.LazyFrame({"n": range(200_000)}).select(polars.col("n").hash())
    if path.endswith(".csv"):
        with open(path, "wb") as file:
            table.sink_csv(file)
    else:
        table.sink_parquet(path)

def leave_a_child(pid_file):
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    Path(pid_file).write_text(str(child.pid))
    return "done"
"""


@pytest.fixture(autouse=True)
def jobs(tmp_path, monkeypatch) -> None:
    (tmp_path / "isolated_jobs.py").write_text(JOBS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        os.sched_yield()
    return condition()


def test_arguments_and_result_travel_unchanged_whatever_is_printed():
    given = {"text": "Ä\n\0", "numbers": [1, 2.5, None], "large": "x" * 2_000_000}
    assert run_isolated("isolated_jobs:echo", given) == given


def test_an_error_of_ours_is_made_again_with_all_it_says():
    with pytest.raises(LockHeld, match="held") as caught:
        run_isolated("isolated_jobs:refuse", {})
    assert (caught.value.hint, caught.value.details) == ("wait", {"run_id": "r1"})


def test_any_other_error_is_reported_as_a_defect_of_ours():
    with pytest.raises(OperationFailed, match="ZeroDivisionError: defect"):
        run_isolated("isolated_jobs:break_down", {})


def test_a_child_that_fills_its_memory_is_stopped_by_its_limit():
    with pytest.raises(InvalidInput, match="1,024 MB") as caught:
        run_isolated("isolated_jobs:fill_memory", {}, limits=Limits(address_space_mb=1024))
    assert caught.value.hint


@pytest.mark.parametrize("job", ["spin", "wait"])
def test_a_child_that_never_answers_is_stopped_by_the_clock(tmp_path, job):
    arguments = {"pid_file": str(tmp_path / "pid")} if job == "wait" else {}
    with pytest.raises(InvalidInput, match="longer than 1 seconds"):
        run_isolated(f"isolated_jobs:{job}", arguments, limits=Limits(seconds=1))
    if job == "wait":
        assert not is_alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("job", "arguments", "told"),
    [
        ("end", {"number": signal.SIGABRT}, "SIGABRT"),
        ("end", {"number": signal.SIGSEGV}, "SIGSEGV"),
        ("end", {"number": signal.SIGKILL}, "more memory"),
        ("end", {"number": signal.SIGXCPU}, "took longer"),
        ("leave", {"code": 3}, "exit code 3"),
        ("leave", {"code": 0}, "exit code 0"),
    ],
)
def test_a_child_that_dies_without_an_answer_is_described_by_its_end(job, arguments, told):
    with pytest.raises(InvalidInput, match=told) as caught:
        run_isolated(f"isolated_jobs:{job}", {name: int(value) for name, value in arguments.items()})
    assert caught.value.hint


@pytest.mark.parametrize("job", ["fail_in_storage", "blame_the_file"])
@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "Free space"), (errno.EDQUOT, "Free space"), (errno.EFBIG, "Free space"), (errno.EIO, "mounted")]
)
def test_storage_that_is_full_or_fails_is_not_the_files_fault(job, number, hint):
    with pytest.raises(Unavailable, match="storage") as caught:
        run_isolated(f"isolated_jobs:{job}", {"number": int(number)})
    assert hint in str(caught.value.hint)
    assert caught.value.details["errno"] == number


@pytest.mark.parametrize(
    "text", ["No space left on device (os error 28)", "called `unwrap()` on an `Err` value: Os { code: 28, kind: StorageFull }"]
)
@pytest.mark.parametrize("job", ["say_as_rust_does", "abort_with"])
def test_a_full_disk_that_only_a_text_tells_of_is_recognised(job, text):
    with pytest.raises(Unavailable, match="is full"):
        run_isolated(f"isolated_jobs:{job}", {"text": text})


@pytest.mark.parametrize("name", ["large.parquet", "large.csv"])
def test_a_table_that_does_not_fit_on_the_disk_is_told_so(tmp_path, name):
    with pytest.raises(Unavailable, match="is full") as caught:
        run_isolated("isolated_jobs:write_much", {"path": str(tmp_path / name)})
    assert caught.value.details["errno"] == errno.EFBIG


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ("abort_with", "<jemalloc>: arena 0 background thread creation failed (11)"),
        ("abort_with", "memory allocation of 2108032 bytes failed"),
        ("abort_with", "panicked: Os { code: 11, kind: WouldBlock }"),
        ("say_as_rust_does", "can't start new thread"),
        ("say_as_rust_does", "could not spawn threads: ThreadPoolBuildError"),
    ],
)
def test_every_way_of_getting_no_memory_is_told_as_the_limit(job, text):
    with pytest.raises(InvalidInput, match="more memory") as caught:
        run_isolated(f"isolated_jobs:{job}", {"text": text})
    assert "TREADLE_READ_MEMORY_MB" in str(caught.value.hint)


def test_nothing_that_the_child_started_outlives_the_call(tmp_path):
    assert run_isolated("isolated_jobs:leave_a_child", {"pid_file": str(tmp_path / "pid")}) == "done"
    assert wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def test_the_child_ends_when_its_caller_is_killed(tmp_path):
    pid_file = tmp_path / "pid"
    script = (
        f"from treadle.flows.sales.isolation import run_isolated; run_isolated('isolated_jobs:wait', {{'pid_file': {str(pid_file)!r}}})"
    )
    caller = subprocess.Popen([sys.executable, "-c", script])
    assert wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
    caller.kill()
    caller.wait(10)
    assert wait_until(lambda: not is_alive(int(pid_file.read_text())))


def test_no_pipe_is_left_open_in_the_caller():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        run_isolated("isolated_jobs:echo", {})
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_caller_needs_no_polars():
    script = (
        "import sys, treadle.flows.sales.isolation; print([name for name in ('polars', 'pyarrow', 'fastexcel') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
