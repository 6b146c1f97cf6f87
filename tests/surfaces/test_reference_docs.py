"""The reference cannot drift from the code: it is generated from it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from treadle.cli.commands import COMMANDS, app

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["settings", "commands"])
def test_the_page_is_what_the_code_says_now(page: str, generate):
    assert (DOCS / "reference" / f"{page}.md").read_text() == getattr(generate, f"{page}_page")(), "run: make docs"


def test_every_setting_is_explained(generate):
    rows = [line for line in generate.settings_page().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows if row.endswith("|  |")] == []


def test_the_list_of_commands_says_of_each_what_it_says_of_itself():
    group = get_command(app)
    group.load_all()
    own = {name: " ".join((group.commands[name].help or "").strip().split("\n\n")[0].split()) for name in COMMANDS}
    assert own == {name: summary for name, (_, summary) in COMMANDS.items()}


def test_help_loads_no_client_no_tables_and_no_pages():
    code = "import sys, treadle.cli.commands; print([name for name in ('azure', 'polars', 'fastapi', 'streamlit', 'psycopg') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
