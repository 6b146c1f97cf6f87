"""What a page tells a person to do when something went wrong."""

import pytest

from treadle.errors import Conflict, InvalidInput, LockHeld, NotFound, PermissionDenied, TreadleError, Unavailable
from treadle.portal.next_steps import next_step


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unavailable("The database is away.", hint="Check that it runs, and the settings PG_HOST to PG_SSLMODE."), "tell an admin"),
        (Unavailable("OneLake is away.", hint="Try again."), "A run that goes on is not affected"),
        (NotFound("no.csv is not in Files/import/.", hint="See what is there with: treadle files ls"), "deleted or renamed"),
        (LockHeld("Ada runs.", hint="An operator can release it with: treadle lock release --reason …"), "page Monitor"),
        (Conflict("The lock is free.", hint="See it with: treadle lock show"), "Look how it stands now"),
        (PermissionDenied("Fabric refused.", hint="Give the identity a role in the workspace."), "Tell an admin"),
        (InvalidInput("The file is too large.", hint="Raise TREADLE_UPLOAD_LIMIT_MB, or split the file."), "Tell an admin"),
    ],
)
def test_a_hint_for_those_who_run_treadle_is_put_in_a_readers_words(error, said):
    step = next_step(error)
    assert said in step
    assert "treadle " not in step
    assert "_" not in step


@pytest.mark.parametrize(
    "hint",
    [
        "Ask an admin for the role operator.",
        "Choose another name, or allow it to be replaced.",
        "Wait for its end, or use another name.",
        None,
    ],
)
def test_a_hint_that_anybody_can_follow_stays_as_it_is(hint):
    assert next_step(TreadleError("It did not work.", hint=hint)) == (hint or "")
