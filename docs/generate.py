"""Writes docs/reference/settings.md and commands.md from the code. `make docs` runs it; a test compares.

The descriptions of settings are their comments in settings.py: one place, read by people in both.
"""

import ast
import inspect
import io
import tokenize
from pathlib import Path
from types import ModuleType

import typer
from pydantic_core import PydanticUndefined
from typer.main import get_command

from treadle import settings, settings_scenario, settings_weekly
from treadle.cli.commands import app
from treadle.cli.exit_codes import EXIT_CODES, EXIT_MEANINGS

REFERENCE = Path(__file__).parent / "reference"


def settings_page() -> str:
    """Every setting with its default and meaning."""
    weekly = settings_weekly.WeeklySettings.model_fields
    scenario = settings_scenario.ScenarioSettings.model_fields
    own = [name for name in settings.Settings.model_fields if name not in {*weekly, *scenario}]
    lines = ["# Settings", "", (settings.__doc__ or "").strip(), "", *_settings_table(own, _remarks(settings, "Settings"))]
    lines += ["", "## The weekly flow", "", (settings_weekly.__doc__ or "").strip(), ""]
    lines += _settings_table(list(weekly), _remarks(settings_weekly, "WeeklySettings"))
    lines += ["", "## The scenario flow", "", (settings_scenario.__doc__ or "").strip(), ""]
    lines += _settings_table(list(scenario), _remarks(settings_scenario, "ScenarioSettings"))
    return "\n".join(lines) + "\n"


def _settings_table(names: list[str], remarks: dict[str, str]) -> list[str]:
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name in names:
        field = settings.Settings.model_fields[name]
        default = "**required**" if field.default is PydanticUndefined else "–" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{name.upper()}` | {default} | {remarks.get(name, '')} |")
    return lines


def commands_page() -> str:
    """Every command with its help, as the terminal shows it, and the exit codes."""
    lines = [
        "# Commands",
        "",
        "Every command takes `--json` where it has data to give; data go to standard output, messages to standard error.",
        "",
    ]
    group = get_command(app)
    group.load_all()  # type: ignore[attr-defined]
    for path, command in _commands(group, "treadle"):
        context = typer.Context(command, info_name=path)
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [f"## `{path}`", "", f"`{path} {usage}`", "", (command.help or "").strip(), ""]
        lines += [
            f"- {_option(parameter)}"
            for parameter in command.params
            if parameter.name != "help" and not getattr(parameter, "hidden", False)
        ]
        lines += [""]
    lines += [
        "## Exit codes",
        "",
        "| code | meaning | errors |",
        "| --- | --- | --- |",
    ]
    by_code: dict[int, list[str]] = {}
    for kind, code in EXIT_CODES.items():
        by_code.setdefault(code, []).append(f"`{kind.__name__}`")
    lines += [f"| {code} | {meaning} | {', '.join(by_code.get(code, ())) or '–'} |" for code, meaning in EXIT_MEANINGS.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both pages."""
    REFERENCE.mkdir(exist_ok=True)
    (REFERENCE / "settings.md").write_text(settings_page())
    (REFERENCE / "commands.md").write_text(commands_page())


def _commands(command: object, path: str) -> list[tuple[str, typer.core.TyperCommand]]:
    children = getattr(command, "commands", None)
    if children is None:
        return [(path, command)]  # type: ignore[list-item]
    return [found for name, child in children.items() for found in _commands(child, f"{path} {name}")]


def _option(parameter: object) -> str:
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])  # type: ignore[attr-defined]
    return f"{names}: {getattr(parameter, 'help', None) or ''}".rstrip(": ")


def _remarks(module: ModuleType, of: str) -> dict[str, str]:
    """Setting → the comment at the end of its line."""
    source = inspect.getsource(module)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (klass,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == of)
    fields = [node for node in klass.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {node.target.id: comments.get(node.end_lineno or 0, "") for node in fields}


if __name__ == "__main__":
    main()
