"""What may be taken from a `Location`: ids, and nothing else.

A server can name any host there, and real Fabric does answer with hosts other than the one that was asked. A bearer token must only ever
travel to the configured host, so a Location is never requested: its ids are checked and put into a path of our own.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from treadle.errors import InvalidInput

_UUID: Final = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_WHOLE_UUID: Final = re.compile(_UUID)
_JOB_PATH: Final = re.compile(
    # Generic and typed forms: Job Scheduler, Run On Demand Item Job; Data Pipeline, Run On Demand Execute.
    rf"/v1/workspaces/(?P<workspace>{_UUID})/[A-Za-z]+/(?P<item>{_UUID})/jobs/(?:[A-Za-z]+/)?instances/(?P<job>{_UUID})/?"
)
_OPERATION_PATH: Final = re.compile(rf"/v1/operations/(?P<operation>{_UUID})(?:/result)?/?")


class NamedJob(NamedTuple):
    """The ids that a job's Location names, in lower case."""

    workspace: str
    item: str
    job: str


def checked_id(value: str, what: str) -> str:
    """Return `value` in lower case if it is a UUID; raises InvalidInput that says what it was meant to be.

    Ids become segments of a path, so nothing else may pass.
    """
    if not _WHOLE_UUID.fullmatch(value):
        raise InvalidInput(
            f"{value[:80]!r} is not the id of a {what}.", hint="Ids look like 0f8fad5b-d9cb-469f-a165-70867728950e.", details={"what": what}
        )
    return value.lower()


def is_id(value: object) -> bool:
    """Whether this is a UUID in its usual spelling."""
    return isinstance(value, str) and _WHOLE_UUID.fullmatch(value) is not None


def job_named_by(location: str | None) -> NamedJob | None:
    """The ids in the Location of a started job. None: it names no job, so the answer is as good as lost."""
    match = _JOB_PATH.fullmatch(_path_of(location))
    return NamedJob(match["workspace"].lower(), match["item"].lower(), match["job"].lower()) if match else None


def operation_named_by(location: str | None) -> str | None:
    """The id in the Location of a long-running operation, or None."""
    match = _OPERATION_PATH.fullmatch(_path_of(location))
    return match["operation"].lower() if match else None


def query_of(uri: str) -> dict[str, str]:
    """The query parameters of a continuation URI; host and path are ours to choose."""
    try:
        return dict(parse_qsl(urlsplit(uri).query, keep_blank_values=True))
    except ValueError:
        return {}


def _path_of(location: str | None) -> str:
    """The path of an absolute web address or of a bare path; empty for everything else. Percent signs stay, and match no id."""
    if not location or not location.isascii() or not location.isprintable():
        return ""
    try:
        parts = urlsplit(location)
    except ValueError:
        return ""
    web = parts.scheme in ("http", "https") and parts.netloc
    bare = not parts.scheme and not parts.netloc
    return parts.path if web or bare else ""
