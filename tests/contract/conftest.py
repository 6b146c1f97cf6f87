"""What the contract suites share."""

from collections.abc import Iterator
from dataclasses import replace

import httpx2
import pytest
from tests.contract.fabric_trials import FabricCaller
from tests.contract.salesforce_trials import SalesforceCaller

from treadle.sandbox.server import Sandbox


@pytest.fixture
def fabric(sandbox: Sandbox, https: httpx2.Client) -> Iterator[FabricCaller]:
    """A caller of the sandbox's Fabric API; the options that a test sets are put back after it."""
    options = sandbox.fabric.options
    before = replace(options, asynchronous_types=set(options.asynchronous_types))
    yield FabricCaller(sandbox, https)
    for name in before.__dataclass_fields__:
        setattr(options, name, getattr(before, name))


@pytest.fixture
def salesforce(sandbox: Sandbox, https: httpx2.Client) -> SalesforceCaller:
    """A caller of an empty Salesforce org with the usual options."""
    sandbox.salesforce.forget_everything()
    return SalesforceCaller(sandbox, https)
