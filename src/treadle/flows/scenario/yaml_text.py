"""Reads YAML of strangers: no tags, no merging, bounded aliases and depth, no key twice; every scalar stays text, so that `NO` is no boolean.

What type a value has is decided where it is used. The tree is built from the parser's events, so no constructor of the library ever runs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

import yaml

from treadle.flows.scenario.faults import Fault

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"
Path: TypeAlias = tuple[str | int, ...]

_MOST_VALUES: Final = 50_000  # with what aliases stand for
_DEEPEST: Final = 50
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_LOADER: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """One document. lines: for each value by its path, the line on which it begins, counted from 1."""

    value: Value
    lines: Mapping[Path, int]


class _Refused(Exception):
    def __init__(self, line: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.line, self.message, self.hint = line, message, hint


@dataclass(slots=True)
class _Reading:
    events: Iterator[Any]
    lines: dict[Path, int] = field(default_factory=dict[Path, int])
    anchors: dict[str, tuple[Value, int]] = field(default_factory=dict[str, tuple["Value", int]])  # value, and how many values it is
    values: int = 0


def read_yaml(content: bytes, name: str) -> Document | Fault:
    """Read a file with one document, or tell what is wrong with it and on which line."""
    try:
        text = content.decode("utf-8-sig")
        reading = _Reading(iter(cast("Any", yaml.parse(text, Loader=_LOADER))))
        return _document(reading)
    except UnicodeDecodeError as error:
        return Fault("yaml_unreadable", name, f"It is not UTF-8 (byte {error.start:,}).", "Save it as UTF-8.")
    except _Refused as refused:
        return Fault("yaml_refused", f"{name} line {refused.line}", refused.message, refused.hint)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name} line {mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or " ".join(str(error).split())  # in one line
        return Fault(
            "yaml_unreadable", where, f"This is no YAML: {problem}.", "Mend the line; indentation and quotes are the usual causes."
        )


def _document(reading: _Reading) -> Document:
    value: Value = None
    documents = 0
    for event in reading.events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Refused(_line(event), "The file has a second document.", "Keep one document in the file: remove the line ---.")
            value = _value(next(reading.events), (), reading)
    return Document(value, reading.lines)


def _value(event: Any, path: Path, reading: _Reading) -> Value:
    reading.lines[path] = _line(event)
    if isinstance(event, yaml.AliasEvent):
        return _alias(event, reading)
    _check(event, path)
    before = reading.values
    _count(1, event, reading)
    if isinstance(event, yaml.SequenceStartEvent):
        value: Value = _sequence(path, reading)
    elif isinstance(event, yaml.MappingStartEvent):
        value = _mapping(path, reading)
    else:
        value = _scalar(event)
    if event.anchor:
        reading.anchors[str(event.anchor)] = (value, reading.values - before)
    return value


def _sequence(path: Path, reading: _Reading) -> list[Value]:
    items: list[Value] = []
    while not isinstance(event := next(reading.events), yaml.SequenceEndEvent):
        items.append(_value(event, (*path, len(items)), reading))
    return items


def _mapping(path: Path, reading: _Reading) -> dict[str, Value]:
    found: dict[str, Value] = {}
    while not isinstance(event := next(reading.events), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent):
            raise _Refused(_line(event), "A key is not plain text.", "Write keys as plain words.")
        _check(event, path)
        key = str(event.value)
        if not key.isprintable():
            raise _Refused(_line(event), f"The key {key[:60]!r} has control characters.", "Write keys as plain words.")
        if key == "<<":
            raise _Refused(_line(event), "Merging with << is not read.", "Write the keys out.")
        if key in found:
            raise _Refused(_line(event), f"The key {key[:60]!r} is there twice.", "Keep one of them.")
        found[key] = _value(next(reading.events), (*path, key), reading)
    return found


def _alias(event: Any, reading: _Reading) -> Value:
    if event.anchor not in reading.anchors:
        raise _Refused(_line(event), f"*{event.anchor} is used inside itself or before it is defined.", "Write the value out.")
    value, size = reading.anchors[event.anchor]
    _count(size, event, reading)
    return value


def _scalar(event: Any) -> str | None:
    text = str(event.value)
    return None if event.implicit[0] and text in _NULLS else text  # implicit[0]: written without quotes


def _check(event: Any, path: Path) -> None:
    if getattr(event, "tag", None) is not None:
        raise _Refused(_line(event), f"The tag {str(event.tag)[:60]!r} is not allowed.", "Remove it; plain values are enough.")
    if len(path) > _DEEPEST:
        raise _Refused(_line(event), f"It is nested deeper than {_DEEPEST} levels.", "Make it flatter.")


def _count(values: int, event: Any, reading: _Reading) -> None:
    reading.values += values
    if reading.values > _MOST_VALUES:
        raise _Refused(_line(event), f"It stands for more than {_MOST_VALUES:,} values.", "Use fewer aliases, or a shorter file.")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
