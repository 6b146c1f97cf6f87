"""The properties behind `with (…)` of a command."""

from collections.abc import Mapping

from treadle.sandbox.kusto.refusals import bad_command
from treadle.sandbox.kusto.tokens import Reader

Properties = Mapping[str, str]


def read_properties(reader: Reader) -> dict[str, str]:
    """The names in lower case with their values as text; empty where there are none."""
    found: dict[str, str] = {}
    if not reader.accept("with"):
        return found
    reader.expect("(")
    while not reader.accept(")"):
        if found:
            reader.expect(",")
        name = (reader.text() if reader.here.kind == "string" else reader.name()).lower()
        reader.expect("=")
        if name in found:
            raise bad_command(f"The property '{name}' is given twice.", "BadRequest_MalformedIngestionProperty")
        found[name] = reader.text() if reader.here.kind == "string" else str(reader.next().text)
    return found


def text_property(properties: Properties, name: str) -> str | None:
    """A property's text, or None."""
    return properties.get(name)


def flag_property(properties: Properties, name: str) -> bool:
    """Whether a property is true; absent, it is not."""
    text = properties.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise bad_command(f"The property '{name}' is true or false, not '{text}'.", "BadRequest_MalformedIngestionProperty")
    return text == "true"
