"""The sandbox that all tests of one worker share, and the rule that every scripted fault must be used up."""

import dataclasses
import os
import shutil
import ssl
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx2
import pytest
import structlog
from hypothesis import settings

from tests import canaries
from tests.nursery import WIDE, Nursery
from treadle.clients import quotas
from treadle.sandbox.entra.store import TOKEN_LIFETIME_SECONDS
from treadle.sandbox.fabric.workshop import Options
from treadle.sandbox.server import Sandbox

TESTS = Path(__file__).parent

# Machines are shared, so no example has a deadline. CI tries the same examples each time: new ones are found at a developer's, not on a landing.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")


LONGEST_FIRST = ("flows", "surfaces", "contract", "database", "unit")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the folders with the long tests first: at the end no worker is left alone with some of those, while the others have nothing to do.

    And leave out what a bare machine has not the tool for – said in the count as deselected. CI has every tool, and leaves nothing out.
    """
    place = {folder: number for number, folder in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.relative_to(TESTS).parts[0], 0))
    if os.environ.get("CI"):
        return
    without_tool = [item for item in items if any(not shutil.which(mark.args[0]) for mark in item.iter_markers("needs"))]
    items[:] = [item for item in items if item not in without_tool]
    config.hook.pytest_deselected(items=without_tool)


@pytest.fixture(autouse=True)
def _a_quota_for_each_test() -> None:
    """Fabric's quotas are counted for the process, which a person's process uses up seldom and hundreds of tests in a minute do."""
    for shared in quotas._shared.values():
        for quota in shared._by_name.values():
            quota._slots.clear()


@pytest.fixture(autouse=True)
def _the_log_as_it_was() -> Iterator[None]:
    """A command that runs within a test writes its warnings alone; the test behind it may look for any line."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """One per worker process: where `treadle …` is forked, with none of the product's settings in its environment."""
    foreign = ("TREADLE_", "FABRIC_", "PG_", "API_")
    running = Nursery({name: value for name, value in os.environ.items() if not name.startswith(foreign)} | WIDE)
    yield running
    running.close()


@pytest.fixture(scope="session")
def running_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox per worker process; ask for `sandbox` instead, which comes with no faults and the real time."""
    state = tmp_path_factory.mktemp("sandbox-state")
    with Sandbox(state) as sandbox:
        for secret in (sandbox.credentials.client_secret, sandbox.events.api_key, sandbox.salesforce.credentials.client_secret):
            canaries.plant(secret)
        yield sandbox
    assert canaries.found_in_folder(state) == []


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The worker's sandbox with an empty fault script, a clock on real time, no recorded requests and the usual options."""
    _reset(running_sandbox)
    yield running_sandbox
    _reset(running_sandbox)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail a test that scripted a fault which never happened: it has not tested what it says."""
    outcome = yield
    sandbox = pyfuncitem.funcargs.get("sandbox")
    if isinstance(sandbox, Sandbox) and (unused := sandbox.faults.unused()):
        pytest.fail(f"scripted faults were never used: {unused}", pytrace=False)
    return outcome


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose captured output shows a planted secret or a token, whatever else it checked."""
    report = yield
    shown = "\n".join(content for _, content in report.sections)
    if call.when == "call" and (seen := canaries.found_in_text(shown)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} let a secret be seen in its output: {seen}"
    return report


@pytest.fixture
def https(sandbox: Sandbox) -> Iterator[httpx2.Client]:
    """A plain HTTP client that trusts the sandbox's CA and follows no redirect."""
    trusted = ssl.create_default_context(cafile=str(sandbox.endpoints.ca_file))
    with httpx2.Client(verify=trusted, timeout=10, trust_env=False) as client:
        yield client


def _reset(sandbox: Sandbox) -> None:
    sandbox.faults.clear()
    sandbox.clock.reset()
    sandbox.requests.clear()
    sandbox.events.reset()
    sandbox.entra.token_lifetime_seconds = TOKEN_LIFETIME_SECONDS
    for field in dataclasses.fields(Options):
        setattr(sandbox.fabric.options, field.name, getattr(Options(), field.name))
    sandbox.fabric.options.page_size = 10_000  # the items of all earlier tests are there too; a test of paging sets its own
