"""What every session of the portal works with: put here once by the process, taken from here by the pages."""

from dataclasses import dataclass, field
from typing import Final

from treadle.actions.services import Services
from treadle.control.access import Principal
from treadle.portal.watch import Watch


@dataclass(frozen=True, slots=True)
class Portal:
    """The services, and how people are known.

    local: who acts when nobody signs in, which only a portal on this machine may do; None: everybody signs in.
    upload_bytes: the largest file that a page takes, which is in this process's memory while it is sent on.
    role_claim, role_map: where a role stands in what the sign-in service says of somebody.
    fabric_portal_url: where Fabric's own pages are; None: this environment has none, as the sandbox.
    watch: what goes on, looked at once for all sessions.
    """

    services: Services
    local: Principal | None = None
    upload_bytes: int = 200 * 1024**2
    role_claim: str = "roles"
    role_map: tuple[tuple[str, str], ...] = ()
    fabric_portal_url: str | None = None
    watch: Watch = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Begin to watch; nothing is asked before a page asks."""
        object.__setattr__(self, "watch", Watch(self.services.database))


_open: Final[list[Portal]] = []  # at most one; Streamlit gives a script no other way to what its process has


def open_portal(portal: Portal) -> None:
    """Give the pages what they work with, in place of what they had."""
    _open[:] = [portal]


def portal() -> Portal:
    """What the pages work with. Raises LookupError when the process has given nothing."""
    if not _open:
        raise LookupError("the portal was not opened")
    return _open[0]


def services() -> Services:
    """What the actions work with."""
    return portal().services
