"""The sign of life: it must end with its process, its session, its silence – and with nothing else."""

import signal
import subprocess
import sys
import threading

import psycopg
import pytest
from control_trials import wait_until

from treadle.control.advisory import lock_number

HOLDER = """
import sys, threading
from treadle.control.database import Database
conninfo, key, idle = sys.argv[1:]
lock = Database(conninfo).try_advisory_lock(key, idle_timeout_seconds=float(idle) or None)
print("held" if lock else "refused", flush=True)
while lock and lock.alive():
    threading.Event().wait(0.05)
print("lost", flush=True)
"""


@pytest.fixture
def holder(conninfo):
    """Start processes that take a lock and say `held`, then look after it until it is gone."""
    running: list[subprocess.Popen[str]] = []

    def begin(key: str, idle_seconds: float = 0) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", HOLDER, conninfo, key, str(idle_seconds)], stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout.readline().strip() == "held"
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def can_take(database, key: str) -> bool:
    taken = database.try_advisory_lock(key)
    if taken:
        taken.release()
    return taken is not None


def test_one_holder_at_a_time_and_the_next_one_at_once_after_the_release(database):
    first = database.try_advisory_lock("trigger:1")
    assert first.alive()
    assert database.try_advisory_lock("trigger:1") is None
    assert can_take(database, "poll:1")
    first.release()
    first.release()
    assert not first.alive()
    assert can_take(database, "trigger:1")


def test_as_a_context_it_says_whether_it_was_obtained_and_gives_it_back(database):
    with database.hold_advisory_lock("trigger:1") as first, database.hold_advisory_lock("trigger:1") as second:
        assert (first.held, second.held) == (True, False)
        assert not second.alive()
    assert can_take(database, "trigger:1")


def test_a_lock_outlives_the_pool_but_not_its_own_session(database, as_owner):
    held = database.try_advisory_lock("trigger:1")
    [(pid,)] = as_owner("SELECT pid FROM pg_stat_activity WHERE application_name = 'treadle trigger:1'")
    as_owner("SELECT pg_terminate_backend(%s)", pid)
    wait_until(lambda: not held.alive())
    assert can_take(database, "trigger:1")


def test_a_session_that_still_lives_without_the_lock_is_not_alive(database):
    held = database.try_advisory_lock("trigger:1")
    held._connection.execute("SELECT pg_advisory_unlock_all()")
    assert not held.alive()
    held.release()


@pytest.mark.kills
def test_a_killed_process_loses_its_lock(database, holder):
    process = holder("trigger:1")
    assert not can_take(database, "trigger:1")
    process.kill()
    wait_until(lambda: can_take(database, "trigger:1"))


@pytest.mark.kills
def test_a_worker_that_hangs_loses_its_lease_and_notices_when_it_wakes(database, holder):
    process = holder("poll:1", idle_seconds=1)
    assert not can_take(database, "poll:1")
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: can_take(database, "poll:1"))
    process.send_signal(signal.SIGCONT)
    assert process.stdout.readline().strip() == "lost"


@pytest.mark.kills
def test_a_trigger_that_is_slow_keeps_its_lock_in_silence(database, conninfo):
    """Without the idle timeout only the end of the session ends the lock, also where the server has such a timeout for all."""
    with psycopg.connect(conninfo, autocommit=True) as other:
        other.execute("ALTER ROLE CURRENT_USER SET idle_session_timeout = '300ms'")
        try:
            held = database.try_advisory_lock("trigger:1")
            victim = psycopg.connect(conninfo, autocommit=True)
            wait_until(lambda: not _answers(victim, after=0.5))
            assert held.alive()
            held.release()
        finally:
            with psycopg.connect(conninfo, autocommit=True) as again:
                again.execute("ALTER ROLE CURRENT_USER RESET idle_session_timeout")


def _answers(connection, *, after: float) -> bool:
    threading.Event().wait(after)
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def test_lock_numbers_are_64_bit_signed_and_stay_what_they_are():
    """Two versions of Treadle that run side by side must mean the same lock."""
    assert lock_number("trigger:00000000-0000-0000-0000-000000000000") == -5505302633329727634
    assert all(-(2**63) <= lock_number(f"poll:{number}") < 2**63 for number in range(1000))
    assert len({lock_number(f"{kind}:{number}") for kind in ("poll", "trigger") for number in range(1000)}) == 2000
