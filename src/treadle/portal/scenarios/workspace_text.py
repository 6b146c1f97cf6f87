"""The id of a workspace in what somebody has typed or copied. Pure."""

import re
from typing import Final

from treadle.errors import InvalidInput

_GUID: Final = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"


def workspace_id_of(text: str) -> str:
    """The id alone, or that in an address of Fabric's pages (`…/groups/<id>/…`, `…/workspaces/<id>/…`).

    Raises:
        InvalidInput: there is none.
    """
    typed = text.strip()
    found = re.fullmatch(_GUID, typed) or re.search(rf"/(?:groups|workspaces)/({_GUID})(?![0-9a-fA-F-])", typed)
    if not found:
        raise InvalidInput(
            "That is neither the id of a workspace nor its address.",
            hint="Open the workspace in Fabric, and copy the address of the page: the id stands in it, behind /groups/.",
        )
    return (found.group(1) if found.groups() else found.group(0)).lower()
