"""The reference cannot drift from the code: it is generated from it."""

import importlib.util
from pathlib import Path

import pytest

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
