"""A data pipeline's definition: its parameters, its activities in order, and how their ends decide the pipeline's. Pure.

Source: "Pipelines and activities" and "Activity dependencies … pipeline outcomes" of the Data Factory documentation.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

_TIMEOUT: Final = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})")
LEFT_OUT: Final = "Skipped"
"""The end of an activity whose conditions were not met."""
_DEFAULT_TIMEOUT: Final = timedelta(hours=12)
_LONGEST_SHOWN: Final = 200
_Kind = TypeVar("_Kind")
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,), "securestring": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "array": (list,), "object": (dict,),
}  # fmt: skip


class BadPipeline(Exception):
    """A pipeline that cannot run as it is defined or called; `code` is what the job reports."""

    def __init__(self, message: str, code: str = "BadRequest") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Activity:
    """One activity; `conditions` says in which states each earlier activity must have ended."""

    name: str
    type: str
    settings: Mapping[str, Any]
    conditions: Mapping[str, tuple[str, ...]]
    timeout: timedelta
    retries: int
    retry_seconds: int
    inactive_as: str | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Activities in an order in which they can run one after another, and the declared parameters."""

    activities: tuple[Activity, ...]
    parameters: Mapping[str, Mapping[str, Any]]


def read_pipeline(text: str) -> Pipeline:
    """Read pipeline-content.json; raises BadPipeline."""
    try:
        properties = _get(json.loads(text), "properties", dict, {})
        activities = [_read_activity(activity) for activity in _get(properties, "activities", list, [])]
        declared = _get(properties, "parameters", dict, {})
        parameters = {name: _get(declared, name, dict, {}) for name in declared}
    except ValueError as error:
        raise BadPipeline(f"The pipeline definition cannot be read: {error}") from error
    names = [activity.name for activity in activities]
    if len(set(names)) != len(names):
        raise BadPipeline("Two activities of the pipeline have the same name.")
    return Pipeline(tuple(_in_order(activities)), parameters)


def _get(fields: Any, name: str, kind: type[_Kind], default: _Kind | None = None) -> _Kind:
    """A field of this type, or its default where it is absent or null; raises ValueError, also for an absent one without a default."""
    value = cast("dict[str, Any]", fields).get(name) if isinstance(fields, dict) else None
    value = default if value is None else value
    if not isinstance(value, kind):
        raise ValueError(f"'{name}' is not of type {kind.__name__} in {json.dumps(fields)[:_LONGEST_SHOWN]}")  # noqa: TRY004 - the reader of the JSON catches one kind
    return value


def bind_parameters(declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each declared parameter: given, or its default, or null when it has neither, as recorded traffic shows.

    A value for a parameter that is not declared is dropped, as Data Factory does. Raises BadPipeline for a value of another type.
    """
    bound: dict[str, Any] = {}
    for name, declaration in declared.items():
        value = given.get(name, declaration.get("defaultValue"))
        bound[name] = None if value is None else _convert(name, str(declaration.get("type", "string")), value)
    return bound


def is_due(activity: Activity, ends: Mapping[str, str]) -> bool:
    """Whether the activities that it waits for ended as it wants; otherwise it is skipped."""
    return all(_meets(ends[name], wanted) for name, wanted in activity.conditions.items())


def succeeded(activities: Sequence[Activity], ends: Mapping[str, str]) -> bool:
    """Whether the pipeline succeeded: every last activity did, and for one that was skipped every activity it waited for."""
    waited_for = {name for activity in activities for name in activity.conditions}
    by_name = {activity.name: activity for activity in activities}

    def went_well(name: str) -> bool:
        if ends[name] == LEFT_OUT:
            return all(went_well(earlier) for earlier in by_name[name].conditions)
        return ends[name] == "Succeeded"

    return all(went_well(activity.name) for activity in activities if activity.name not in waited_for)


def _read_activity(activity: object) -> Activity:
    policy = _get(activity, "policy", dict, {})
    inactive = _get(activity, "state", str, "Active") == "Inactive"
    waits = _get(activity, "dependsOn", list, [])
    return Activity(
        name=_get(activity, "name", str),
        type=_get(activity, "type", str),
        settings=_get(activity, "typeProperties", dict, {}),
        conditions={_get(wait, "activity", str): tuple(_get(wait, "dependencyConditions", list, ["Succeeded"])) for wait in waits},
        timeout=_read_timeout(_get(policy, "timeout", str, "")),
        retries=_get(policy, "retry", int, 0),
        retry_seconds=_get(policy, "retryIntervalInSeconds", int, 30),
        inactive_as=_get(activity, "onInactiveMarkAs", str, "Succeeded") if inactive else None,
    )


def _read_timeout(text: str) -> timedelta:
    if not text:
        return _DEFAULT_TIMEOUT
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise BadPipeline(f"The timeout '{text}' is not of the form days.hours:minutes:seconds.")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _in_order(activities: Sequence[Activity]) -> list[Activity]:
    ordered: list[Activity] = []
    waiting = list(activities)
    while waiting:
        done = {activity.name for activity in ordered}
        ready = [activity for activity in waiting if set(activity.conditions) <= done]
        if not ready:
            raise BadPipeline(
                f"The activities {_quoted([activity.name for activity in waiting])} wait for each other or for one that is not there."
            )
        ordered += ready
        waiting = [activity for activity in waiting if activity not in ready]
    return ordered


def _meets(end: str, wanted: Sequence[str]) -> bool:
    return end in wanted or ("Completed" in wanted and end in ("Succeeded", "Failed"))


def _convert(name: str, declared_type: str, value: Any) -> Any:
    kind = declared_type.lower()
    if isinstance(value, str) and kind in ("int", "float", "bool"):
        value = _from_text(kind, value)
    accepted = _TYPES.get(kind)
    if accepted is None:
        raise BadPipeline(f"The parameter '{name}' has the unknown type '{declared_type}'.")
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind != "bool"):
        raise BadPipeline(f"The value of the pipeline parameter '{name}' is not of type {declared_type}.")
    return cast("Any", value)


def _from_text(kind: str, text: str) -> Any:
    if kind == "bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:  # stays text, and is refused by the caller with the parameter's name
        return text


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
