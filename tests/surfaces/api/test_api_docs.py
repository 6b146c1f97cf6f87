"""The API's page of the manual: each line of its story is run, in order, by bash and a real curl."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import canaries
from tests.surfaces.api.conftest import working

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "how-to" / "use-the-api.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.needs("curl")
def test_the_story_can_be_told_with_curl_alone(service, environment, tmp_path):
    script = "\n".join(["set -euo pipefail", *BLOCK.findall(PAGE.read_text())])
    assert script.count("curl ") > 30
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "FABRIC_", "PG_", "API"))}
    places = {
        "API": service.url,
        "WORKSPACE": environment.settings.fabric_workspace_id,
        "TREADLE_STATE": str(environment.state),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with working(service.wiring):
        told = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**clean, **places, "no_proxy": "*"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    assert canaries.found_in_text(told.stdout + told.stderr) == []
    for sign in (
        '"role":"operator"',
        "Sales=revenue",
        "SUCCEEDED",
        "2297200.86 5009",
        '"relative_change"',
        '"name":"r.RouterId"',
        "fabric-gql",
        "not_found\npermission_denied\nunauthenticated",
    ):
        assert sign in told.stdout, sign
    assert (told.stdout.count("event: done"), told.stdout.count("event: complete")) == (4, 3)
    assert (tmp_path / "sales_cleaned.csv").stat().st_size > 1_000_000


def test_every_code_that_can_be_answered_is_in_the_table():
    told = set(re.findall(r"`([a-z][a-z0-9_]+)`", PAGE.read_text().partition("| status | codes |")[2].partition("## ")[0]))
    sources = [
        *(ROOT / "src/treadle/api").glob("*.py"),
        ROOT / "src/treadle/flows/sales/resumable.py",
        ROOT / "src/treadle/control/uploads.py",
        ROOT / "src/treadle/flows/scenario/uploads.py",
        ROOT / "src/treadle/control/idempotency.py",
    ]
    text = "\n".join(path.read_text() for path in sources)
    named = set(re.findall(r'(?:code"?[=:] ?|_(?:REUSED|PROGRESS): Final = )"([a-z0-9_]+)"', text))
    assert named - told - {"refused"} == set()
