"""Column names: from what stands in the header to the names that the rest of Treadle uses.

Rules of product.md §1.2: strip, lower case, white space to `_`; collisions are made unique and reported.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from treadle.errors import InvalidInput
from treadle.flows.sales.table import Finding

REQUIRED: Final = ("revenue", "order_id")
_SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "revenue": (
        *(
            "sales",
            "net_sales",
            "gross_sales",
            "sales_amount",
            "total_sales",
            "turnover",
            "net_revenue",
            "total_revenue",
            "revenue_usd",
            "revenue_eur",
        ),
        *(
            "amount",
            "total_amount",
            "order_total",
            "total",
            "value",
            "sum",
            "price",
            "umsatz",
            "nettoumsatz",
            "betrag",
            "erlös",
            "chiffre_d'affaires",
            "montant",
        ),
        *("ventas", "importe", "ricavi", "fatturato", "omzet", "receita"),
    ),
    "order_id": (
        *(
            "order",
            "order_number",
            "order_no",
            "order_nr",
            "order_no.",
            "order_#",
            "orderid",
            "ordernumber",
            "order_key",
            "order_code",
            "sales_order",
        ),
        *(
            "invoice",
            "invoice_id",
            "invoice_no",
            "invoice_number",
            "transaction_id",
            "receipt_id",
            "bestellnummer",
            "auftragsnummer",
            "bestell-nr.",
        ),
        *("auftrag", "commande", "numéro_de_commande", "pedido", "id"),
    ),
}  # in the order of preference
_SHOWN_COLUMNS: Final = 40
_INVISIBLE: Final = re.compile(r"[\u0000-\u0008\u000e-\u001f\u007f\u200b-\u200f\u2060\ufeff]")


@dataclass(frozen=True, slots=True)
class NamePlan:
    """The name of every column, by position, and how it came about.

    `mapping` has the source column as it stands in the header, not as the caller spelled it.
    """

    names: tuple[str, ...]
    mapping: Mapping[str, str]
    findings: tuple[Finding, ...]


def normalise_name(header: str) -> str:
    """Return the header in lower case, without surrounding white space, inner runs of white space as one `_`. Empty: there is no name."""
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFC", header))
    return "_".join(visible.lower().split())


def plan_names(headers: Sequence[str | None], mapping: Mapping[str, str]) -> NamePlan:
    """Decide the names of all columns; they are unique.

    headers: as they stand in the file; None is a blank cell, and the column is called `column_<position from 1>`.
    mapping: source column → wanted name. The source is looked up exactly, then without regard to case and white space.
    A mapped name is kept: a column that already has it is the one that is renamed.

    Raises:
        InvalidInput: the mapping names a column that is not there, or two columns for one name, or one column twice, or an empty name.
    """
    mapped = _resolve(headers, mapping)
    plain = [normalise_name(header or "") or f"column_{position}" for position, header in enumerate(headers, start=1)]
    names = _unique(plain, mapped)
    findings = (*_rename_findings(headers, plain, names, mapped), *_mapping_findings(headers, mapped))
    return NamePlan(tuple(names), {headers[position] or f"column_{position + 1}": name for position, name in mapped.items()}, findings)


def require_columns(plan: NamePlan, headers: Sequence[str | None]) -> None:
    """Check that the required columns are there.

    Raises:
        InvalidInput: names what is missing, what was found, and a mapping that would mend it when a column looks like it.
    """
    missing = [name for name in REQUIRED if name not in plan.names]
    if not missing:
        return
    found = _shown(headers)
    suggestions = suggest_mapping(missing, plan.names, headers)
    raise InvalidInput(
        f"The required column{'s' if len(missing) > 1 else ''} {_quoted(missing)} {'are' if len(missing) > 1 else 'is'} missing. Columns found: {found}.",
        hint=_mapping_hint(missing, suggestions),
        details={"missing": missing, "columns": [header or "" for header in headers], "suggestions": suggestions},
    )


def suggest_mapping(missing: Iterable[str], names: Sequence[str], headers: Sequence[str | None]) -> dict[str, str]:
    """Return source column → required name for every missing name that one of the columns looks like."""
    free = {name: header for name, header in zip(names, headers, strict=True) if header and name not in REQUIRED}
    suggestions: dict[str, str] = {}
    for wanted in missing:
        likely = _most_alike(wanted, [name for name, header in free.items() if header not in suggestions])
        if likely is not None:
            suggestions[str(free[likely]).strip()] = wanted
    return suggestions


def _resolve(headers: Sequence[str | None], mapping: Mapping[str, str]) -> dict[int, str]:
    positions: dict[int, str] = {}
    for source, target in mapping.items():
        position = _position_of(source, headers)
        wanted = normalise_name(target)
        if not wanted:
            raise InvalidInput(
                f"The mapping gives the column {source!r} an empty name.", hint=f'Write for example: --map "{source}=revenue"'
            )
        if positions.get(position, wanted) != wanted:
            raise InvalidInput(
                f"The mapping gives the column {source!r} two names: {_quoted((positions[position], wanted))}.", hint="Keep one of the two."
            )
        taken = next((other for other, name in positions.items() if name == wanted and other != position), None)
        if taken is not None:
            raise InvalidInput(
                f"The mapping gives two columns the name {wanted!r}: {_quoted((str(headers[taken]), source))}.", hint="Keep one of the two."
            )
        positions[position] = wanted
    return positions


def _position_of(source: str, headers: Sequence[str | None]) -> int:
    if source in headers:
        return headers.index(source)
    wanted = normalise_name(source)
    alike = [position for position, header in enumerate(headers) if wanted and normalise_name(header or f"column_{position + 1}") == wanted]
    if alike:
        return alike[0]
    near = difflib.get_close_matches(wanted, [normalise_name(header or "") for header in headers], n=1, cutoff=0.6)
    spelled = next((header for header in headers if near and normalise_name(header or "") == near[0]), None)
    raise InvalidInput(
        f"The mapping names the column {source!r}, which the file does not have. Columns found: {_shown(headers)}.",
        hint=f"Did you mean {spelled!r}?" if spelled else "Name one of the columns found.",
        details={"column": source, "columns": [header or "" for header in headers]},
    )


def _unique(plain: Sequence[str], mapped: Mapping[int, str]) -> list[str]:
    """A column keeps its plain name if it is the first to have it and no mapping claims it; the later ones get `_2`, `_3` and so on."""
    taken = set(mapped.values())
    first = {name: position for position, name in reversed(list(enumerate(plain))) if position not in mapped and name not in taken}
    taken |= set(first)
    names: list[str] = []
    for position, name in enumerate(plain):
        if position in mapped:
            names.append(mapped[position])
        elif first.get(name) == position:
            names.append(name)
        else:
            names.append(_next_free(name, taken))
            taken.add(names[-1])
    return names


def _next_free(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _rename_findings(headers: Sequence[str | None], plain: Sequence[str], names: Sequence[str], mapped: Mapping[int, str]) -> list[Finding]:
    collided = [
        f"{headers[position] or 'column ' + str(position + 1)!r} → {name}"
        for position, name in enumerate(names)
        if position not in mapped and name != plain[position]
    ]
    if not collided:
        return []
    detail = f"{len(collided)} column{'s' if len(collided) > 1 else ''} would have had a name that is taken, and got a new one: {', '.join(collided)}."
    return [Finding("column_names_unique", passed=False, detail=detail, severity="warning")]


def _mapping_findings(headers: Sequence[str | None], mapped: Mapping[int, str]) -> list[Finding]:
    if not mapped:
        return []
    pairs = ", ".join(f"{headers[position] or 'column ' + str(position + 1)} → {name}" for position, name in mapped.items())
    return [Finding("column_mapping", passed=True, detail=f"Applied: {pairs}.")]


def _most_alike(wanted: str, names: Sequence[str]) -> str | None:
    for synonym in _SYNONYMS[wanted]:
        if synonym in names:
            return synonym
    squeezed = {re.sub(r"[\W_]", "", name): name for name in names}
    known = [re.sub(r"[\W_]", "", synonym) for synonym in (wanted, *_SYNONYMS[wanted]) if len(synonym) > 4]  # a short word is like anything
    scored = [(difflib.SequenceMatcher(None, word, name).ratio(), name) for name in squeezed for word in known]
    best = max(scored, default=(0.0, ""))
    return squeezed[best[1]] if best[0] >= 0.75 else None


def _mapping_hint(missing: Sequence[str], suggestions: Mapping[str, str]) -> str:
    if suggestions:
        return "If these columns hold it, say so with: " + " ".join(f'--map "{source}={name}"' for source, name in suggestions.items())
    return "Say which column holds it, for example: " + " ".join(f'--map "<column>={name}"' for name in missing)


def _shown(headers: Sequence[str | None]) -> str:
    listed = ", ".join(header.strip() or "(blank)" if header else "(blank)" for header in headers[:_SHOWN_COLUMNS])
    return listed + (f" and {len(headers) - _SHOWN_COLUMNS} more" if len(headers) > _SHOWN_COLUMNS else "")


def _quoted(values: Iterable[str]) -> str:
    return " and ".join(repr(value) for value in values)
