"""A notebook's source – Fabric's git format or ipynb – as the cells to run, with the parameters of a call put in. Pure.

Source: the notebook item definition of the Fabric documentation, and notebooks exported from Fabric: cells stand between the marker lines
`# CELL`, `# PARAMETERS CELL`, `# MARKDOWN` and `# METADATA`, each followed by a blank and twenty asterisks; metadata is JSON behind `# META`.
"""

import json
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_MARKER: Final = re.compile(r"# (METADATA|MARKDOWN|CELL|PARAMETERS CELL) \*{20}")
_LONGEST_SHOWN: Final = 60


class NotRunnable(Exception):
    """The notebook has something that the sandbox cannot run; the message says what."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One code cell; `parameters` marks the one after which a call's parameters are put."""

    source: str
    language: str = "python"
    parameters: bool = False


@dataclass(frozen=True, slots=True)
class Notebook:
    """The cells in their order, and the lakehouse that the notebook itself names, if any."""

    cells: tuple[Cell, ...]
    default_lakehouse: str | None


def read_notebook(text: str, *, ipynb: bool) -> Notebook:
    """Read either format; raises NotRunnable when it cannot be read."""
    try:
        return _read_ipynb(json.loads(text)) if ipynb else _read_git_source(text)
    except (ValueError, TypeError, AttributeError) as error:
        raise NotRunnable(f"The notebook's source cannot be read: {error}") from error


def cells_to_run(notebook: Notebook, parameters: Mapping[str, Any]) -> list[str]:
    """The Python of each cell, the parameters assigned after the parameters cell, or before everything when there is none, as Fabric does.

    Raises NotRunnable for a cell in another language, a magic command, or a parameter that cannot be a variable.
    """
    sources = [_runnable(cell) for cell in notebook.cells]
    if parameters:
        place = next((index + 1 for index, cell in enumerate(notebook.cells) if cell.parameters), 0)
        sources.insert(place, _assignments(parameters))
    return sources


def _assignments(parameters: Mapping[str, Any]) -> str:
    for name in parameters:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise NotRunnable(f"The parameter name {name!r} cannot be a variable of the notebook.")
    return "# This cell holds the parameters of the call.\n" + "\n".join(f"{name} = {value!r}" for name, value in parameters.items())


def _runnable(cell: Cell) -> str:
    if cell.language not in ("python", ""):
        raise NotRunnable(f"A cell is written in {cell.language}; only Python cells are modelled by the Treadle sandbox.")
    magic = next((line for line in cell.source.splitlines() if line.startswith(("%", "!", "# MAGIC"))), None)
    if magic is not None and (magic.startswith("#") or not _is_python(cell.source)):
        raise NotRunnable(f"The command {magic[:_LONGEST_SHOWN]!r} is not modelled by the Treadle sandbox: it runs plain Python.")
    return cell.source


def _is_python(source: str) -> bool:
    try:
        compile(source, "cell", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def _read_git_source(text: str) -> Notebook:
    blocks = _blocks(text.replace("\r\n", "\n"))
    notebook_metadata: Mapping[str, Any] = {}
    cells: list[Cell] = []
    cell_is_last = False
    for kind, content in blocks:
        if kind in ("CELL", "PARAMETERS CELL"):
            cells.append(Cell(content, parameters=kind == "PARAMETERS CELL"))
        elif kind == "METADATA" and not cells and not cell_is_last:
            notebook_metadata = _metadata(content)
        elif kind == "METADATA" and cell_is_last:
            cells[-1] = Cell(cells[-1].source, str(_metadata(content).get("language", "python")), parameters=cells[-1].parameters)
        cell_is_last = kind in ("CELL", "PARAMETERS CELL")
    return Notebook(tuple(cells), _default_lakehouse(notebook_metadata))


def _blocks(text: str) -> list[tuple[str, str]]:
    blocks: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        marker = _MARKER.fullmatch(line.rstrip())
        if marker:
            blocks.append((marker[1], []))
        elif blocks:
            blocks[-1][1].append(line)
    return [(kind, "\n".join(lines).strip("\n")) for kind, lines in blocks]


def _metadata(content: str) -> Mapping[str, Any]:
    lines = [line.removeprefix("# META").strip() for line in content.split("\n") if line.startswith("# META")]
    return json.loads("\n".join(lines) or "{}")


def _read_ipynb(document: Mapping[str, Any]) -> Notebook:
    metadata = document.get("metadata", {})
    cells = [_ipynb_cell(cell) for cell in document.get("cells", []) if cell.get("cell_type") == "code"]
    return Notebook(tuple(cells), _default_lakehouse(metadata))


def _ipynb_cell(cell: Mapping[str, Any]) -> Cell:
    source: str | Sequence[str] = cell.get("source", "")
    metadata = cell.get("metadata", {})
    language = str(metadata.get("microsoft", {}).get("language", "python"))
    return Cell(source if isinstance(source, str) else "".join(source), language, parameters="parameters" in metadata.get("tags", []))


def _default_lakehouse(metadata: Mapping[str, Any]) -> str | None:
    dependencies: dict[str, Any] = metadata.get("dependencies") or {}
    lakehouse: dict[str, Any] = dependencies.get("lakehouse") or {}
    return lakehouse.get("default_lakehouse")
