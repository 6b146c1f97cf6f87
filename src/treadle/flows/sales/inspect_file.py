"""Look into a workbook as a run would, without a run: what `treadle files profile` shows."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from treadle.flows.sales.failing_rows import FailedCheck, from_members, to_members
from treadle.flows.sales.isolation import run_isolated
from treadle.flows.sales.json_text import to_json

_JOB: Final = "treadle.flows.sales.inspect_file:profile_of"  # named, so that the child alone loads Polars


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a workbook was found to hold. `profile` has the form of `import_profile.json`; `failed`: the rows of the checks that have such."""

    profile: dict[str, Any]
    failed: list[FailedCheck]


def inspect_file(path: Path, *, mapping: Mapping[str, str], sheet: str | None, scratch: Path | None = None) -> Inspection:
    """Look into a workbook on this machine.

    A missing required column is a failed check in it, with the mapping that would mend it: seeing the columns is how one finds out.

    scratch: where intermediate files may be made; None is the system's folder for temporary ones.

    Raises:
        InvalidInput: it cannot be read; nothing the file contains can harm this process.
    """
    arguments = {"path": str(path), "mapping": dict(mapping), "sheet": sheet, "scratch": scratch and str(scratch)}
    told = run_isolated(_JOB, {**arguments, "today": datetime.now(UTC).date().isoformat()})
    return Inspection(told["profile"], from_members(told["failed"]))


def profile_of(*, path: str, mapping: dict[str, str], sheet: str | None, scratch: str | None, today: str) -> dict[str, Any]:
    """The child's part of `inspect_file`, as JSON has it: values as the file `import_profile.json` has them."""
    from treadle.flows.sales.profile import FileFacts, compute_inspection  # noqa: PLC0415 - brings Polars, for the child alone
    from treadle.flows.sales.reading.read import read_clean_table  # noqa: PLC0415

    file = Path(path)
    facts = FileFacts(file.name, file.stat().st_size, datetime.fromtimestamp(file.stat().st_mtime, UTC))
    with tempfile.TemporaryDirectory(prefix="treadle-", dir=scratch) as folder:
        table = read_clean_table(file, sheet=sheet, mapping=mapping, scratch=Path(folder), inspecting=True)
        profile, failed = compute_inspection(table, facts, date.fromisoformat(today))
        return {"profile": json.loads(to_json(profile)), "failed": to_members(failed)}
