"""What the profile of a workbook has to say, in the form in which the page Import shows it: rows, cards, chart specifications, alerts. Pure."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal, cast

from treadle.control.jobs.job import Job, JobEvent
from treadle.control.jobs.states import JobState
from treadle.flows.sales import drift
from treadle.flows.sales.verdict import Verdict
from treadle.portal.words import DASH, number

Colour = Literal["red", "orange", "blue", "green", "gray"]

MANY_NULLS_PCT: Final = 20.0
DOMINANT_SHARE: Final = 0.9  # of the values that are there
CHART_HEIGHT: Final = 96  # the same for every column, so that cards in a row line up
BARS: Final = 5
NO_WORKER_SECONDS: Final = 15  # a job that waits longer than this waits for a worker, not for its turn
_SHOWN_LENGTH: Final = 48
_SHOWN_VALUES: Final = 6
_NUMBERS: Final = frozenset({"integer", "float", "money"})

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "text": (":material/abc:", "text"),
    "integer": (":material/tag:", "whole number"),
    "float": (":material/numbers:", "number"),
    "money": (":material/payments:", "amount"),
    "date": (":material/calendar_month:", "date"),
    "timestamp": (":material/schedule:", "date and time"),
    "boolean": (":material/toggle_on:", "yes or no"),
}
"""Each kind of column: its icon and its word."""

ROLES: Final[Mapping[str, tuple[str, str]]] = {
    "revenue": ("Revenue", "The amount of each row. Needed: all figures are sums of it."),
    "order_id": ("Order id", "Which order a row belongs to. Needed: orders are counted by it."),
    "order_date": ("Order date", "Dates the orders; without it there is no series over time."),
    "channel": ("Channel", "Splits the revenue by channel."),
    "region": ("Region", "Splits the revenue by region."),
    "product_category": ("Product category", "Splits the revenue by product category."),
}
"""The names that a run looks for: what people call them, and what each is for."""

REQUIRED: Final = ("revenue", "order_id")


@dataclass(frozen=True, slots=True)
class Told:
    """Something that is said with an icon, a word and a colour, never with the colour alone."""

    icon: str
    word: str
    colour: Colour
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the profile."""

    name: str
    look: Told
    detail: str
    passed: bool


@dataclass(frozen=True, slots=True)
class ColumnCard:
    """One column. source is None where it is the same as the name; chart None where there is nothing to draw, and `instead` then says why."""

    position: int
    name: str
    source: str | None
    icon: str
    kind: str
    null_pct: float
    distinct: int
    missing_told: str
    distinct_told: str
    span: str
    chart: Mapping[str, Any] | None
    instead: str
    alerts: tuple[Told, ...]


class Order(StrEnum):
    """In which order columns are shown."""

    FILE = "As in the file"
    ALERTS = "Alerts first"
    MISSING = "Most missing"
    DISTINCT = "Most distinct"
    NAME = "Name"


@dataclass(frozen=True, slots=True)
class Source:
    """A column as the file has it, and the name by which it is read at present."""

    name: str
    kind: str
    read_as: str


# --- The verdict and the checks ---


def verdict_told(found: Verdict, validations: Iterable[Mapping[str, Any]]) -> Told:
    """The verdict with a sentence that says what it means for a run."""
    if found is Verdict.READY:
        return Told(":material/check_circle:", str(found), "green", "Every check passed: a run of this file should succeed.")
    if found is Verdict.BLOCKED:
        return Told(":material/block:", str(found), "red", "A run of this file would fail. Mend what is marked as an error below.")
    count = sum(not check["passed"] for check in validations)
    look = "1 check deserves" if count == 1 else f"{count} checks deserve"
    return Told(":material/warning:", str(found), "orange", f"A run should succeed; {look} a look before you trust the figures.")


def checks(validations: Iterable[Mapping[str, Any]]) -> list[Check]:
    """The checks, those that failed first and of them the gravest."""
    shown = [Check(spelled(str(check["check"])), _check_look(check), _detail(check), bool(check["passed"])) for check in validations]
    return sorted(shown, key=lambda check: (check.passed, _LOOKS.index(check.look)))  # sorting is stable


_ERROR: Final = Told(":material/error:", "Error", "red")
_WARNING: Final = Told(":material/warning:", "Warning", "orange")
_NOTE: Final = Told(":material/info:", "Note", "blue")
_PASSED: Final = Told(":material/check_circle:", "Passed", "green")
_LOOKS: Final = (_ERROR, _WARNING, _NOTE, _PASSED)


def _detail(check: Mapping[str, Any]) -> str:
    """What was found. The way to mend a missing column is told to the command line in its own words; here it is under Mapping."""
    detail = str(check["detail"])
    if check["check"] != "required_columns" or check["passed"]:
        return detail
    return f"{_COMMAND_LINE.split(detail)[0]} Say under Mapping which column is which."


def without_commands(hint: str) -> str:
    """A hint that tells the command line what to type, for people who see the fields below it."""
    return _OPTION.sub(" below.", hint)


_OPTION: Final = re.compile(r"(?:,? for example)?:? --map .*$", re.DOTALL)
_COMMAND_LINE: Final = re.compile(r" (?:If these columns hold it|Say which column holds it)")


def _check_look(check: Mapping[str, Any]) -> Told:
    if check["passed"]:
        return _NOTE if check["severity"] != "info" else _PASSED
    return {"error": _ERROR, "warning": _WARNING}.get(str(check["severity"]), _NOTE)


def spelled(name: str) -> str:
    """A technical name as words."""
    return name.replace("_", " ").strip().capitalize()


def findings_csv(profile: Mapping[str, Any], found: Verdict) -> bytes:
    """The checks as a CSV that Excel opens in UTF-8, and in which no text can be taken for a formula."""
    from treadle.portal.safe_csv import safe_text  # noqa: PLC0415 - brings Polars, which is only needed once somebody clicks

    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(("file", "verdict", "check", "outcome", "severity", "detail"))
    for check in sorted(profile["validations"], key=lambda check: bool(check["passed"])):
        outcome = "passed" if check["passed"] else "failed"
        row = (profile["file_name"], str(found), check["check"], outcome, check["severity"], check["detail"])
        writer.writerow([safe_text(str(cell)) for cell in row])
    return text.getvalue().encode("utf-8-sig")


# --- The columns ---


def column_cards(profile: Mapping[str, Any]) -> list[ColumnCard]:
    """Every column of the profile, in the order of the file."""
    rows = int(profile["row_count"])
    return [_card(position, entry, rows) for position, entry in enumerate(profile["schema"])]


def chosen_cards(cards: Sequence[ColumnCard], query: str, order: Order, *, only_alerts: bool) -> list[ColumnCard]:
    """The cards whose name, here or in the file, holds the query; those with alerts alone if wanted; in the order wanted."""
    sought = query.strip().casefold()
    found = [card for card in cards if sought in card.name.casefold() or sought in (card.source or "").casefold()]
    found = [card for card in found if card.alerts] if only_alerts else found
    return sorted(found, key=_ORDERS[order])


def _by_alerts(card: ColumnCard) -> tuple[int, int]:
    return min((_LOOKS.index(_level(alert)) for alert in card.alerts), default=len(_LOOKS)), -len(card.alerts)


_ORDERS: Final[Mapping[Order, Callable[[ColumnCard], Any]]] = {
    Order.FILE: lambda card: card.position,
    Order.ALERTS: _by_alerts,
    Order.MISSING: lambda card: -card.null_pct,
    Order.DISTINCT: lambda card: -card.distinct,
    Order.NAME: lambda card: card.name.casefold(),
}


def _level(alert: Told) -> Told:
    return {"red": _ERROR, "orange": _WARNING}.get(alert.colour, _NOTE)


def _card(position: int, entry: Mapping[str, Any], rows: int) -> ColumnCard:
    icon, kind = KINDS.get(str(entry["dtype"]), (":material/help:", str(entry["dtype"])))
    source, name = str(entry.get("source_column") or ""), str(entry["column"])
    known = entry.get("distinct_count")
    chart = column_chart(entry)
    return ColumnCard(
        position=position,
        name=name,
        source=source if source.strip() and source != name else None,
        icon=icon,
        kind=kind,
        null_pct=float(entry.get("null_pct") or 0),
        distinct=int(known or 0),
        missing_told=DASH if entry.get("null_pct") is None else percent(float(entry["null_pct"])),
        distinct_told=DASH if known is None else f"{'' if entry.get('distinct_exact') else 'about '}{int(known):,}",
        span=_span(entry),
        chart=chart,
        instead="" if chart else _instead_of_chart(entry, rows),
        alerts=alerts(entry, rows),
    )


def _span(entry: Mapping[str, Any]) -> str:
    if entry.get("min") is None:
        return "No values"
    low, high = (shown(entry[bound], str(entry["dtype"])) for bound in ("min", "max"))
    return f"Always {low}" if low == high else f"From {low} to {high}"


def alerts(entry: Mapping[str, Any], rows: int) -> tuple[Told, ...]:
    """What somebody should know about a column before its figures are used, the gravest first."""
    if entry.get("null_count") is None or not rows:
        return ()
    missing, distinct, unread = int(entry["null_count"]), int(entry["distinct_count"]), int(entry.get("unparseable_count") or 0)
    filled, required = rows - missing, entry["column"] in REQUIRED
    top = max((int(item["count"]) for item in entry.get("top_values") or ()), default=0)
    found: list[Told] = []
    if unread:
        told = f"{unread:,} values are in the file but could not be read as {KINDS.get(str(entry['dtype']), ('', 'this type'))[1]}; they count as missing."
        found.append(Told(":material/broken_image:", f"{unread:,} unreadable", "red", told))
    if not filled:
        found.append(Told(":material/do_not_disturb_on:", "Empty", "orange", "No row has a value."))
    elif entry["null_pct"] >= MANY_NULLS_PCT or (required and missing):
        found.append(
            Told(":material/warning:", f"{percent(entry['null_pct'])} missing", "orange", f"{missing:,} of {rows:,} rows have no value.")
        )
    if distinct == 1 and filled > 1:
        found.append(Told(":material/horizontal_rule:", "Constant", "orange", "Every row that has a value has the same one."))
    elif top >= DOMINANT_SHARE * filled > 1 and distinct > 1:
        found.append(
            Told(
                ":material/vertical_align_top:", f"{percent(100 * top / filled)} one value", "blue", "Nearly all rows have the same value."
            )
        )
    if filled == rows > 1 and distinct == rows and entry.get("distinct_exact") and entry["dtype"] in {"text", "integer"}:
        found.append(Told(":material/key:", "Probable key", "blue", "Every row has a value of its own."))
    return tuple(found)


def column_chart(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the values of a column spread, as a Vega-Lite specification: a histogram, or the most frequent values. None: there is nothing to draw.

    The bins of a profile are of equal width, so they can stand side by side without an axis of their own.
    """
    histogram: Sequence[Mapping[str, Any]] | None = entry.get("histogram")
    kind = str(entry["dtype"])
    if histogram and len(histogram) > 1:
        bins = [
            {"at": at, "values": f"{shown(item['from'], kind)} to {shown(item['to'], kind)}", "rows": item["count"]}
            for at, item in enumerate(histogram)
        ]
        return _spec(bins, x=_hidden("at", "ordinal", scale={"paddingInner": 0.06, "paddingOuter": 0}), y=_hidden("rows", "quantitative"))
    top: Sequence[Mapping[str, Any]] = entry.get("top_values") or ()
    if not top or (len(top) > 1 and int(top[0]["count"]) == 1):
        return None  # every value is there once: bars of equal length say nothing
    bars = [{"values": shown(item["value"], kind), "rows": item["count"], "at": at} for at, item in enumerate(top[:BARS])]
    axis = {"title": None, "labelLimit": 120, "ticks": False, "domain": False}
    labels = {"field": "values", "type": "nominal", "sort": {"field": "at"}, "axis": axis, "scale": {"paddingInner": 0.25}}
    return _spec(_told_apart(bars), x=_hidden("rows", "quantitative"), y=labels, thickness=13)


def _told_apart(bars: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Values that are cut to the same text get their number, or they would be one bar."""
    seen: dict[str, int] = {}
    for bar in bars:
        seen[bar["values"]] = seen.get(bar["values"], 0) + 1
        if seen[bar["values"]] > 1:
            bar["values"] = f"{bar['values']} ({seen[bar['values']]})"
    return bars


def _hidden(field: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": kind, "axis": None, **more}


def _spec(values: list[dict[str, Any]], *, x: Mapping[str, Any], y: Mapping[str, Any], thickness: int | None = None) -> dict[str, Any]:
    tooltip = [
        {"field": "values", "type": "nominal", "title": "Values"},
        {"field": "rows", "type": "quantitative", "title": "Rows", "format": ",d"},
    ]
    return {
        "data": {"values": values},
        "mark": {"type": "bar", "cornerRadiusEnd": 1, **({"size": thickness} if thickness else {})},
        "encoding": {"x": x, "y": y, "tooltip": tooltip},
        "height": CHART_HEIGHT,
        "padding": 0,
        "config": {"view": {"stroke": None}},
    }


def _instead_of_chart(entry: Mapping[str, Any], rows: int) -> str:
    top: Sequence[Mapping[str, Any]] = entry.get("top_values") or ()
    if top:
        listed = ", ".join(shown(item["value"], str(entry["dtype"])) for item in top[:3])
        return f"{'All are different, for example' if len(top) > 1 else 'Always'}: {listed}"
    if entry.get("null_count") == rows:
        return "No row has a value."
    return "Too many different values to count." if entry.get("distinct_exact") is False else "Not computed."


def shown(value: Any, kind: str = "text") -> str:
    """A value of the profile as people read it."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if kind == "money":
            return number(value, 2)
        return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if abs(value) < 1e15 else f"{value:.3g}"
    text = str(value).replace("T", " ") if kind == "timestamp" else str(value)
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"


def percent(value: float) -> str:
    """A share in percent: exact where it is small, never 0 for something and never 100 for not all."""
    if value <= 0 or value >= 100:
        return f"{value:.0f} %"
    return "< 0.1 %" if value < 0.1 else f"{min(value, 99.9):.1f} %"


# --- The file as a whole ---


def headline(profile: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few figures that say what kind of file this is."""
    rows, columns = int(profile["row_count"]), int(profile["column_count"])
    missing = sum(int(entry.get("null_count") or 0) for entry in profile["schema"])
    dates: Mapping[str, Any] = profile.get("date_range") or {}
    return [
        ("Rows", number(rows)),
        ("Columns", number(columns)),
        ("Missing values", percent(100 * missing / (rows * columns)) if rows and columns else DASH),
        ("Days covered", number(_days(dates.get("min"), dates.get("max")))),
    ]


def period(profile: Mapping[str, Any]) -> str:
    """From which day to which the file reaches, in words; empty when no column dates its rows."""
    dates: Mapping[str, Any] = profile.get("date_range") or {}
    first, last = _moment(dates.get("min")), _moment(dates.get("max"))
    if first is None or last is None:
        return ""
    return f"{first:%d %b %Y}" if first.date() == last.date() else f"{first:%d %b %Y} to {last:%d %b %Y}"


def _days(first: Any, last: Any) -> int | None:
    low, high = _moment(first), _moment(last)
    return None if low is None or high is None else (high.date() - low.date()).days + 1


def _moment(value: Any) -> datetime | None:
    """An ISO date, with or without a time."""
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None


# --- Changes against what is published ---


def change_rows(changes: Iterable[drift.Change]) -> list[dict[str, str]]:
    """The differences as rows of a table."""
    words = {"error": "Error", "warning": "Warning", "info": "Note"}
    names = ("Column", "What is different", "Published", "This file")
    return [{"Weight": words[change.severity], **dict(zip(names, _change_cells(change), strict=True))} for change in changes]


def change_sentence(changes: Sequence[drift.Change]) -> Told:
    """The differences in one sentence."""
    if not changes:
        return Told(":material/check_circle:", "No difference", "green", "Columns, sizes and values are those of the published file.")
    notable = sum(change.severity != "info" for change in changes)
    ordinary = len(changes) - notable
    if not notable:
        return Told(":material/info:", "Ordinary", "blue", f"{_differences(ordinary)}, all of the kind that a newer file brings.")
    rest = f"; {ordinary} more {'is' if ordinary == 1 else 'are'} ordinary" if ordinary else ""
    told = f"{_differences(notable)} {'deserves' if notable == 1 else 'deserve'} a look before this file replaces what is published{rest}."
    return Told(":material/warning:", "Look first", "orange", told)


def _differences(count: int) -> str:
    return "1 difference" if count == 1 else f"{count} differences"


def _change_cells(change: drift.Change) -> tuple[str, str, str, str]:  # noqa: PLR0911 - one line for each kind of change
    match change:
        case drift.RowCountChanged(was=was, now=now):
            grown = f" ({(now - was) / was * 100:+,.1f} %)" if was else ""
            return ("", "Number of rows", number(was), f"{number(now)}{grown}")
        case drift.ColumnAdded(column=column, kind=kind):
            return (column, "New column", DASH, _kind_word(kind))
        case drift.ColumnRemoved(column=column, kind=kind):
            return (column, "The column is gone", _kind_word(kind), DASH)
        case drift.ColumnRetyped(column=column, was=was, now=now):
            return (column, "Another type", _kind_word(was), _kind_word(now))
        case drift.NullsChanged(column=column, was=was, now=now):
            return (column, "More missing values" if now > was else "Fewer missing values", percent(was), percent(now))
        case drift.RangeShifted(column=column, was=was, now=now, shift=shift):
            return (column, f"The range {shift}", _range(was), _range(now))
        case drift.ValuesChanged(column=column):
            return (column, _values_word(change), _listed(change.vanished), _listed((*change.appeared, *change.risen)))


def _values_word(change: drift.ValuesChanged) -> str:
    said = [
        text
        for text, values in (
            ("new values", change.appeared),
            ("values gone", change.vanished),
            ("values frequent for the first time", change.risen),
        )
        if values
    ]
    return ", ".join(said).capitalize()


def _listed(values: Sequence[str]) -> str:
    rest = len(values) - _SHOWN_VALUES
    return (", ".join(shown(value) for value in values[:_SHOWN_VALUES]) + (f" and {rest} more" if rest > 0 else "")) or DASH


def _range(bounds: tuple[Any, Any]) -> str:
    return f"{shown(bounds[0])} to {shown(bounds[1])}"


def _kind_word(kind: str) -> str:
    return KINDS.get(kind, ("", kind))[1]


# --- How the columns are read ---


def sources(profile: Mapping[str, Any]) -> list[Source]:
    """The columns of the file. One without a header has the name that it is read by, which a mapping may use too."""
    return [
        Source(str(entry.get("source_column") or "").strip() or str(entry["column"]), str(entry["dtype"]), str(entry["column"]))
        for entry in profile["schema"]
    ]


def sources_of_failure(details: Mapping[str, Any] | None) -> list[Source]:
    """The columns that an inspection saw before it gave up, as far as it says them."""
    headers = [header.strip() for header in _texts((details or {}).get("columns"))]
    return [Source(header, "text", _read_name(header)) for header in headers if header]


def _texts(value: object) -> list[str]:
    """A list of the details of a failure, which is whatever was written there."""
    return [str(item) for item in cast("list[Any]", value)] if isinstance(value, list) else []


def _read_name(header: str) -> str:
    return "_".join(header.lower().split())


def missing_roles(found: Sequence[Source]) -> list[str]:
    """The required names that no column is read by."""
    return [name for name in REQUIRED if name not in {source.read_as for source in found}]


def suggested(found: Sequence[Source]) -> dict[str, str]:
    """Required name → the column of the file that looks most like it, for each that is missing."""
    missing = missing_roles(found)
    if not missing:
        return {}
    from treadle.flows.sales.reading.names import suggest_mapping  # noqa: PLC0415 - brings Polars, which a page with all columns does not need

    likely = suggest_mapping(missing, [source.read_as for source in found], [source.name for source in found])
    return {name: column for column, name in likely.items()}


def picked(found: Sequence[Source]) -> dict[str, str]:
    """Name that a run looks for → the column that is read by it now."""
    return {source.read_as: source.name for source in found if source.read_as in ROLES}


def other_names(mapping: Mapping[str, str]) -> list[tuple[str, str]]:
    """What a mapping renames to names of people's own."""
    return [(source, name) for source, name in mapping.items() if _read_name(name) not in ROLES]


def new_mapping(
    found: Sequence[Source], mapping: Mapping[str, str], picks: Mapping[str, str | None], others: Iterable[tuple[str, str]]
) -> tuple[dict[str, str], list[str]]:
    """The mapping that these choices make, and what is wrong with them; nothing is, when the list is empty.

    A column that already has its name by itself is left out, so that the mapping says only what differs from the file.
    """
    by_itself = {(source.read_as, source.name) for source in found if source.name not in mapping}
    wanted = [(source, role) for role, source in picks.items() if source and (role, source) not in by_itself]
    wanted += [(source.strip(), name.strip()) for source, name in others if source.strip() and name.strip()]
    problems = [
        *(f"{source} can only have one name." for source in _repeated([source for source, _ in wanted])),
        *(f"Only one column can be read as {name}." for name in _repeated([_read_name(name) for _, name in wanted])),
        *(f"{role} and another name cannot both come from {source}." for role, source in _clashes(by_itself, picks, wanted)),
    ]
    return dict(wanted), problems


def _clashes(by_itself: set[tuple[str, str]], picks: Mapping[str, str | None], wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    kept = [(role, source) for role, source in picks.items() if source and (role, source) in by_itself]
    renamed = {source for source, _ in wanted}
    return [(ROLES[role][0], source) for role, source in kept if source in renamed]


def _repeated(values: Sequence[str]) -> list[str]:
    return [value for value in dict.fromkeys(values) if values.count(value) > 1]


_OTHER_SHEETS: Final = re.compile(r"Not read: (?P<names>.*)\.$", re.DOTALL)
_HIDDEN_SHEETS: Final = re.compile(r"hidden sheets?: (?P<names>.*); (it was read by name|not read)\.$", re.DOTALL)


def sheets(profile: Mapping[str, Any] | None, details: Mapping[str, Any] | None = None) -> list[str]:
    """The sheets of the workbook, the one that was read first, as far as the inspection tells of them. Empty: the format has none, or there is one."""
    if profile is None:
        return _texts((details or {}).get("sheets"))
    read = profile.get("sheet")
    if not read:
        return []
    told = {str(check["check"]): str(check["detail"]) for check in profile["validations"]}
    matches = (_OTHER_SHEETS.search(told.get("other_sheets", "")), _HIDDEN_SHEETS.search(told.get("hidden_sheets", "")))
    others = [name for match in matches if match for name in match["names"].split(", ")]
    found = list(dict.fromkeys([str(read), *others]))
    return found if len(found) > 1 else []


# --- An inspection under way ---


def inspection_told(job: Job, events: Sequence[JobEvent], now: datetime) -> tuple[float, str, str]:
    """How far an inspection is: its part from 0 to 1, what is being done, and a word of advice, empty when there is none."""
    part = max((event.pct for event in events if event.pct is not None), default=0.0) / 100
    if job.state is JobState.QUEUED and job.attempt == 0:
        waits = now - job.due_at
        advice = (
            "No worker has taken it yet. Is one running? Start it with: treadle worker"
            if waits > timedelta(seconds=NO_WORKER_SECONDS)
            else ""
        )
        return 0.0, "Waiting for its turn", advice
    told = next((event.message for event in reversed(events)), "Being read")
    advice = f"Attempt {job.attempt} did not come to its end; it is tried again by itself." if job.state is JobState.QUEUED else ""
    return min(part, 0.99), told, advice
