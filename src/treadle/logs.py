"""Logs with a correlation id per run, in which no secret can appear: JSON for machines, plain lines at the terminal of a person."""

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import IO, Any, cast

import structlog

_HIDDEN = "[hidden]"
_PATTERNS = (
    re.compile(r"(?i)(bearer\s+)[A-Za-z0-9\-_.~+/]{8,}=*"),
    re.compile(r"()eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),  # a JWT, wherever it stands
    re.compile(r"()trdl_[0-9a-f]{12}_[A-Za-z0-9_-]{43}"),  # an API token of ours
    re.compile(r"(?i)((?:client_secret|client_assertion|password|passwd|api[_-]?key|sig)[\"']?\s*[=:]\s*[\"']?)[^\s&\"',;]+"),
    re.compile(r"(?i)(postgres(?:ql)?://[^:/\s]+:)[^@\s]+(?=@)"),
)
_NOT_FOR_PEOPLE = frozenset({"event", "level", "timestamp", "exception", "kind", "details", "in_a_row"})
_secrets: set[str] = set()


def hide_secrets(values: Iterable[str]) -> None:
    """Never again show these values in a log line or a message that passes through `redact`."""
    _secrets.update(value for value in values if len(value) >= 4)  # a shorter value would blot out ordinary text


def redact(text: str) -> str:
    """Return the text with every known secret and everything that looks like a token or password replaced."""
    for secret in _secrets:
        text = text.replace(secret, _HIDDEN)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: match.group(1) + _HIDDEN, text)
    return text


def redact_value(value: Any) -> Any:
    """`redact` for any nesting of mappings and lists."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): redact_value(item) for name, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item) for item in cast("Iterable[Any]", value)]
    return value


def configure_logs(level: str = "INFO", *, stream: IO[str] | None = None, secrets: Iterable[str] = (), for_people: bool = False) -> None:
    """Write one JSON object a line: `timestamp` (UTC), `level`, `event`, the bound context such as `run_id`, and the event's own fields.

    stream: None is standard error; standard output is for data. for_people: plain lines instead of JSON. Safe to repeat.
    """
    hide_secrets(secrets)
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            _as_line if for_people else structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast("Any", stream or sys.stderr)),
        cache_logger_on_first_use=False,
    )
    _route_library_logs()


def _redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {
        name: redact_value(value if isinstance(value, str | int | float | bool | Mapping | list | tuple) or value is None else str(value))
        for name, value in event.items()
    }


def _as_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """`Warning: run look failed: Fabric could not … (run_id=…)`; a traceback follows on lines of its own."""
    facts = {name: value for name, value in event.items() if name not in _NOT_FOR_PEOPLE}
    reason = next((str(facts.pop(name)) for name in ("error", "reason", "message") if facts.get(name)), "")
    what = str(event["event"]).replace(".", " ").replace("_", " ")
    context = ", ".join(f"{name}={value}" for name, value in facts.items())
    line = f"{str(event['level']).capitalize()}: {what}" + (f": {reason}" if reason else "") + (f" ({context})" if context else "")
    return line + (f"\n{event['exception']}" if event.get("exception") else "")


class _ToStructlog(logging.Handler):
    """Bring the warnings of libraries into the same stream and through the same redaction."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("psycopg") and record.getMessage().startswith("error ignored"):
            return  # it comes beside an exception that is on its way to whoever tells it, such as Ctrl-C
        structlog.get_logger().log(record.levelno, "library.log", logger=record.name, message=record.getMessage())


def _route_library_logs() -> None:
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _ToStructlog)]
    root.addHandler(_ToStructlog(level=logging.WARNING))
    root.setLevel(logging.WARNING)  # a library may have raised it, and with it silenced every other one
