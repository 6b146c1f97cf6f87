"""What a command's exit code says."""

from collections.abc import Mapping
from typing import Final

from treadle import errors
from treadle.cli import INTERRUPTED

# docs/reference/commands.md is generated from this.
EXIT_CODES: Final[Mapping[type[BaseException], int]] = {
    errors.InvalidInput: 2,
    errors.NotFound: 3,
    errors.Conflict: 4,
    errors.Unauthenticated: 5,
    errors.PermissionDenied: 5,
    errors.Throttled: 6,
    errors.Unavailable: 6,
    errors.OutcomeUnknown: 6,
    errors.OperationFailed: 7,
    errors.ChecksumMismatch: 7,
    errors.UnexpectedAnswer: 7,
    KeyboardInterrupt: INTERRUPTED,
}
DEFECT: Final = 1
WEEKLY_FAILED: Final = 1  # `treadle weekly` knows 0, 1 and 130 alone, which is what its schedulers were told
INVALID: Final = EXIT_CODES[errors.InvalidInput]

# The help and docs/reference/commands.md are generated from this, too.
EXIT_MEANINGS: Final[Mapping[int, str]] = {
    0: "done",
    1: "a defect of Treadle, a failed check of doctor, or any error of `treadle weekly`",
    2: "unusable input, also a file that a run or a build would refuse (files profile, scenario check, plan and apply)",
    3: "not found",
    4: "conflict, such as a held lock or a thing in the way of a scenario",
    5: "not signed in or not permitted",
    6: "not reachable or no answer: try again, or look first",
    7: "the run, job or operation failed",
    INTERRUPTED: "interrupted",
}
