"""Who was faster: somebody said yes here, and another run had the lock by then."""

from datetime import tzinfo

from treadle.control.lock import LockState
from treadle.portal import components, words


def faster(held: LockState, me: str, input_file: str, zone_: tzinfo) -> str:
    """Who has started a run while somebody here was still being asked, as Markdown. Pure.

    me: who was being asked; input_file: of the run that they were asked about.
    """
    if held.run_id is None:
        return "**Another run was faster**, and has ended since. Nothing was started here: look how things stand now, then decide."
    run, at = held.run, words.clock(held.locked_at, zone_)
    shown = words.plain(components.run_name(run)) if run else ""
    what = "a run" if run is None else f"a {shown}" if run.is_restore else f"a run of {shown}"
    if held.locked_by == me:
        what = "this run" if run and run.input_file == input_file else what
        return f"**You started {what} in another window at {at}.** Nothing was started here."
    return f"**{words.plain(held.locked_by or 'Somebody')} was faster** and started {what} at {at}. Nothing was started here; wait for its end."
