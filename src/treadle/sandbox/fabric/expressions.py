"""The part of the pipeline expression language that Treadle's pipelines use. Pure.

Source: "Expressions and functions" of the Data Factory documentation. Modelled: `@pipeline().parameters.x` and the run's own facts,
`@activity('name').output.…`, text with `@{…}` in it, and `@@` for a literal at sign. Functions such as concat are not.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

_PARAMETER: Final = re.compile(r"pipeline\(\)\.parameters\.(\w+)")
_FACT: Final = re.compile(r"pipeline\(\)\.(\w+)")
_ACTIVITY: Final = re.compile(r"activity\('((?:[^']|'')+)'\)\.output((?:\.\w+|\[\d+\]|\['[^']+'\])*)")
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]|\['([^']+)'\]")
_INTERPOLATION: Final = re.compile(r"@\{([^{}]*)\}")


class NotEvaluated(Exception):
    """An expression that is wrong, or that the sandbox does not model; the message names it."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression can see: the call's parameters, the run's facts by name (such as RunId), and the output of each ended activity."""

    parameters: Mapping[str, Any]
    facts: Mapping[str, Any]
    outputs: Mapping[str, Any]


def evaluate(value: Any, scope: Scope) -> Any:
    """A value of a definition with its expressions replaced: `{"value": …, "type": "Expression"}`, or text that starts with or holds `@`."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if fields.get("type") == "Expression":
            return evaluate(fields.get("value"), scope)
        return {name: evaluate(inner, scope) for name, inner in fields.items()}
    if isinstance(value, list):
        return [evaluate(inner, scope) for inner in cast("list[Any]", value)]
    return _evaluate_text(value, scope) if isinstance(value, str) else value


def _evaluate_text(text: str, scope: Scope) -> Any:
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@") and not text.startswith("@{"):
        return _evaluate_expression(text[1:].strip(), scope)
    return _INTERPOLATION.sub(lambda found: _as_text(_evaluate_expression(found[1].strip(), scope)), text)


def _evaluate_expression(expression: str, scope: Scope) -> Any:
    if found := _PARAMETER.fullmatch(expression):
        return _look_up(scope.parameters, found[1], f"the pipeline has no parameter '{found[1]}'")
    if found := _FACT.fullmatch(expression):
        return _look_up(scope.facts, found[1], f"the property '{found[1]}' of pipeline() is not modelled by the Treadle sandbox")
    if found := _ACTIVITY.fullmatch(expression):
        name = found[1].replace("''", "'")
        return _follow(_look_up(scope.outputs, name, f"the activity '{name}' has not run before"), found[2])
    raise NotEvaluated(f"The expression '@{expression}' is not modelled by the Treadle sandbox.")


def _follow(value: Any, steps: str) -> Any:
    for step in _STEP.finditer(steps):
        key: str | int = int(step[2]) if step[2] else step[1] or step[3]
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise NotEvaluated(f"The expression cannot be evaluated: property '{key}' cannot be selected.") from error
    return value


def _look_up(values: Mapping[str, Any], name: str, otherwise: str) -> Any:
    if name not in values:
        raise NotEvaluated(f"The expression cannot be evaluated: {otherwise}.")
    return values[name]


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)
