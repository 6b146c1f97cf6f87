"""A request to run an item, read and checked. Pure.

Source: RunOnDemandItemJobRequest and ItemJobParameter in fabric-rest-api-specs, common/job_scheduling.json; recorded traffic for the older
forms, where the parameters stand inside executionData.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from treadle.sandbox.fabric.refusals import invalid, not_modelled

_JOB_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "DataPipeline": ("Pipeline", "Execute", "DefaultJob"),
    "Notebook": ("RunNotebook", "Execute", "DefaultJob"),
    "GraphModel": ("RefreshGraph",),
}
_REAL_JOB_TYPES: Final = frozenset({"tablemaintenance", "refreshmaterializedlakeviews", "refresh", "sparkjob", "refreshgraph"})
_LONGEST_NAME: Final = 256
_NOTEBOOK_TYPES: Final[Mapping[str, tuple[type, ...]]] = {"string": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


@dataclass(frozen=True, slots=True)
class JobRequest:
    """The values of the call's parameters by name, and the lakehouse that a notebook is to have (None: its own)."""

    parameters: Mapping[str, Any]
    lakehouse_id: str | None


def read_job_type(item_type: str, job_type: str | None) -> str:
    """The job type as Fabric spells it; raises InvalidJobType, or a 501 for a real one that the sandbox does not run."""
    asked = (job_type or "").lower()
    known = next((name for name in _JOB_TYPES.get(item_type, ()) if name.lower() == asked), None)
    if known is not None:
        return known
    if asked in _REAL_JOB_TYPES:
        raise not_modelled(f"jobs of type {job_type}")
    raise invalid(f"The job type '{job_type}' is not valid for an item of type {item_type}.", "InvalidJobType")


def read_job_request(item_type: str, body: Mapping[str, Any]) -> JobRequest:
    """Read both forms of parameters; raises InvalidParameter for what the specification forbids. Unknown fields are left alone."""
    execution = _object(body.get("executionData"), "executionData")
    parameters = _execution_parameters(item_type, execution) + _listed_parameters(body.get("parameters"))
    names = [name.lower() for name, _ in parameters]
    if len(set(names)) != len(names):
        raise invalid("Two parameters have the same name, whatever their case.")
    if any(not name or len(name) > _LONGEST_NAME for name in names):
        raise invalid(f"A parameter name has 1 to {_LONGEST_NAME} characters.")
    if execution.get("compute") not in (None, "Spark", "Jupyter"):
        raise invalid(f"The compute '{execution.get('compute')}' does not fit this item.", "ComputeTypeMismatch")
    return JobRequest(dict(parameters), _lakehouse_of(execution))


def _execution_parameters(item_type: str, execution: Mapping[str, Any]) -> list[tuple[str, Any]]:
    parameters = _object(execution.get("parameters"), "executionData.parameters")
    if item_type == "DataPipeline":
        return list(parameters.items())
    return [(name, _notebook_value(name, parameter)) for name, parameter in parameters.items()]


def _notebook_value(name: str, parameter: object) -> Any:
    if not isinstance(parameter, dict) or "value" not in parameter:
        raise invalid(f'The notebook parameter \'{name}\' is not of the form {{"value": …, "type": …}}.')
    fields = cast("dict[str, Any]", parameter)
    accepted = _NOTEBOOK_TYPES.get(str(fields.get("type", "string")).lower())
    value = fields["value"]
    if accepted is None or not isinstance(value, accepted) or (isinstance(value, bool) and accepted != (bool,)):
        raise invalid(f"The value of the notebook parameter '{name}' is not of type '{fields.get('type', 'string')}'.")
    return value


def _listed_parameters(parameters: object) -> list[tuple[str, Any]]:
    if parameters is None:
        return []
    if not isinstance(parameters, list):
        raise invalid("The parameters are not a list.")
    return [_listed_parameter(parameter) for parameter in cast("list[object]", parameters)]


def _listed_parameter(parameter: object) -> tuple[str, Any]:
    fields = _object(parameter, "parameters[]")
    name, kind, value = fields.get("name"), fields.get("type"), fields.get("value")
    if kind == "VariableReference":
        raise not_modelled("parameters of type VariableReference")
    accepts = _LISTED_TYPES.get(str(kind))
    if not isinstance(name, str) or accepts is None or not accepts(value):
        raise invalid(f"The parameter '{name}' has no value of type '{kind}'.")
    return name, value


def _lakehouse_of(execution: Mapping[str, Any]) -> str | None:
    old = _object(_object(execution.get("configuration"), "configuration").get("defaultLakehouse"), "defaultLakehouse")
    new = _object(_object(execution.get("computeConfiguration"), "computeConfiguration").get("defaultLakehouse"), "defaultLakehouse")
    return old.get("id") or new.get("itemId")


def _object(value: object, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"{name} is not an object.")
    return cast("dict[str, Any]", value)


def _is_guid(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False


_LISTED_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "Text": lambda value: isinstance(value, str),
    "DateTime": lambda value: isinstance(value, str),
    "Guid": _is_guid,
    "Integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "Number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "Boolean": lambda value: isinstance(value, bool),
    "Automatic": lambda _: True,
}
