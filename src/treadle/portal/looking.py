"""How long a page waits when it only looks at what another system has. Who has asked for a change waits as long as that takes."""

from contextlib import AbstractContextManager
from typing import Final

from treadle.clients.deadline import Deadline, within

LOOK_SECONDS: Final = 5.0  # a page that says after so long what is away is of more use than one that waits


def a_look() -> AbstractContextManager[Deadline]:
    """Bound everything in the block together; what does not answer in time is Unavailable, as always."""
    return within(LOOK_SECONDS)
