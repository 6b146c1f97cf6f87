"""treadle audit …: who changed what, and whether anybody tampered with the record of it."""

import re
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from treadle.actions import audit
from treadle.cli.exit_codes import DEFECT
from treadle.cli.options import Json, State, User, acting, session
from treadle.cli.output import local_time, reported, say, show_json, stdout
from treadle.cli.tables import show_list
from treadle.control.audit import AuditEntry

app = typer.Typer(no_args_is_help=True, help="The audit: every change, who asked for it, and what came of it.")

_ID: Final = re.compile(r"(?<=:)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@app.command("ls")
@reported
def ls(
    by: Annotated[str | None, typer.Option("--by", help="Only changes by this person or token.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this action, for example run.start.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only targets that begin so, for example run:3f2a.")] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="Only asked, done, failed or refused.")] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Only what was asked and has no outcome: under way, or crashed.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="So many at most.")] = 30,
    before: Annotated[int | None, typer.Option("--before", min=1, help="Continue before this number.")] = None,
    long: Annotated[bool, typer.Option("--long", help="With details, and with ids in full.")] = False,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """List entries, newest first."""
    with session(state) as wiring:
        page = audit.list_audit(
            wiring.services, acting(wiring, user), limit=limit, before=before, name=by, action=action, target=target, outcome=outcome,
            unfinished=unfinished,
        )  # fmt: skip
        if json_output:
            show_json({"entries": page.entries, "next": page.next})
            return
        if long:
            _print_long(page.entries)
        else:
            heads = ("number", "time", "who", "via", "action", "target", "outcome")
            show_list(
                heads, [_row(entry) for entry in page.entries], spare=("via",), cut={"target": 12, "who": 8}, empty="There are no entries."
            )
        if page.next:
            say(f"There are more: treadle audit ls --before {page.next}")


@app.command("verify")
@reported
def verify(
    expect: Annotated[
        str | None,
        typer.Option("--expect", metavar="NUMBER:HASH", help="A head that was printed earlier: the chain must still contain it."),
    ] = None,
    user: User = None,
    state: State = None,
    json_output: Json = False,
) -> None:
    """Recompute the chain of hashes. Exit code 1 when an entry was changed, removed, moved or cut off; its number is printed."""
    with session(state) as wiring:
        report = audit.verify(wiring.services, acting(wiring, user), expect)
        if json_output:
            show_json(report)
        else:
            stdout().print(report.head, markup=False, soft_wrap=True)
        if report.first_bad:
            say(f"The audit is damaged at entry {report.first_bad.number}: {report.first_bad.reason}.")
            raise typer.Exit(DEFECT)
        say(f"{report.entries:,} entries hold together. Keep the head elsewhere, and give it to --expect next time.")


def _row(entry: AuditEntry) -> tuple[object, ...]:
    target = _ID.sub(lambda found: found[0][:8], entry.target)  # as `--target` takes it
    return entry.number, entry.at, entry.name, entry.via, entry.action, target, entry.outcome


def _print_long(entries: Sequence[AuditEntry]) -> None:
    for entry in entries:
        facts = (entry.number, local_time(entry.at), entry.name, entry.via, entry.action, entry.target, entry.outcome)
        stdout().print("  ".join(map(str, facts)), markup=False, soft_wrap=True)
        for name, value in entry.details.items():
            if value is not None:
                stdout().print(f"    {name}: {value}", markup=False, soft_wrap=True)
    if not entries:
        say("There are no entries.")
