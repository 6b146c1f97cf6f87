"""What `make demo` runs, as a stranger would: one command, exit 0, and figures that are known."""

import json
import subprocess
import sys


def test_the_demo_tells_both_stories_and_stops_everything(tmp_path):
    made = subprocess.run(
        [sys.executable, "-m", "treadle", "demo", "--state", str(tmp_path / "state"), "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-2_000:]
    told = json.loads(made.stdout)
    first, second = told["runs"]
    assert (first["kpis"]["total_revenue"], first["kpis"]["orders"]) == (2297200.86, 5009)
    assert told["current"]["run_id"] == first["run_id"] != second["run_id"]
    assert told["lock"]["run_id"] is None
    weekly = told["weekly"]
    weeks = weekly["weeks"]
    assert [week["status"] for week in weeks] == ["SUCCESS", "SUCCESS_WITH_REJECTS", "SUCCESS"]
    assert weeks[1]["rows_rejected"] == weeks[1]["rows_fetched"] - weeks[1]["rows_valid"] > 0
    assert weeks[2]["refused"] == weekly["retried"]["created"] > 0
    assert weekly["plan"]["updated"] == weekly["synced"]["updated"] > 0
    assert weekly["synced"]["created"] == 0
    assert not (tmp_path / "state" / "treadle.env").exists()
    assert "Done. Everything was stopped." in made.stderr
