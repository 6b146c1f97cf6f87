"""Fabric's long-running operations as values: started, polled and waited for by three functions.

Source: https://learn.microsoft.com/rest/api/fabric/articles/long-running-operation
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.clients.answers import Answer, outcome_unknown
from treadle.clients.deadline import within
from treadle.clients.fabric_records import Reader
from treadle.clients.locations import is_id, operation_named_by
from treadle.clients.transport import Transport
from treadle.errors import InvalidInput, OperationFailed, Unavailable

POLL_SECONDS_MIN: Final = 0.25
POLL_SECONDS_MAX: Final = 30.0
WAIT_SECONDS: Final = 300.0
_ENDED_BADLY: Final = frozenset({"Failed", "Cancelled"})


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that Fabric has accepted and is carrying out."""

    operation_id: str
    what: str  # in words, to follow "could not"
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class OperationState:
    """What Fabric says of an operation. `status` is its own word; those that are not known count as still running."""

    status: str
    percent_complete: float | None = None
    error_code: str | None = None
    error_message: str | None = None
    retry_after_seconds: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return self.status == "Succeeded"

    @property
    def failed(self) -> bool:
        """Whether it has ended badly."""
        return self.status in _ENDED_BADLY


def operation_started_by(answer: Answer) -> Operation:
    """The operation behind a 202; raises OutcomeUnknown if the answer does not say which it is."""
    named = answer.headers.get("x-ms-operation-id", "")
    operation_id = named.lower() if is_id(named) else operation_named_by(answer.headers.get("location"))
    if operation_id is None:
        raise outcome_unknown(answer.exchange, "it was accepted, but the answer names no operation", status=answer.status)
    return Operation(operation_id, answer.exchange.what, answer.retry_after_seconds)


def poll_operation(transport: Transport, operation: Operation) -> OperationState:
    """Look once (Long Running Operations, Get Operation State)."""
    answer = transport.request("GET", f"/v1/operations/{operation.operation_id}", what=f"{operation.what} (operation state)")
    reader = Reader(answer.exchange, answer.json_object(), "operation")
    failure = Reader(answer.exchange, reader.object("error"), "error of the operation")
    return OperationState(
        status=reader.text("status"),
        percent_complete=reader.number("percentComplete"),
        error_code=failure.text_or("errorCode") or None,
        error_message=failure.text_or("message") or None,
        retry_after_seconds=answer.retry_after_seconds,
    )


def result_of_operation(transport: Transport, operation: Operation) -> Mapping[str, Any] | None:
    """The result of a succeeded operation (Get Operation Result). None: it has none.

    Asked for even where the last state named no Location for it: a Location can get lost, and asking in vain costs one call.
    """
    try:
        answer = transport.request("GET", f"/v1/operations/{operation.operation_id}/result", what=f"{operation.what} (operation result)")
    except InvalidInput as error:
        if error.details.get("error_code") == "OperationHasNoResult":
            return None
        raise
    return answer.json_object()


def wait_for_operation(
    transport: Transport, operation: Operation, *, deadline_seconds: float = WAIT_SECONDS, sleep: Callable[[float], None] = time.sleep
) -> OperationState:
    """Poll until the operation has succeeded.

    Raises:
        OperationFailed: Fabric did the work and it failed, or somebody cancelled it; `details` has error_code and error_message.
        Unavailable: it still runs at the deadline.
    """
    polls, retry_after = 0, operation.retry_after_seconds
    with within(deadline_seconds) as deadline:
        while True:
            pause = poll_pause_seconds(polls, retry_after)
            if pause >= deadline.remaining_seconds:
                raise _still_running(transport, operation, deadline_seconds)
            sleep(pause)
            state = poll_operation(transport, operation)
            if state.failed:
                raise _failed(transport, operation, state)
            if state.succeeded:
                return state
            polls, retry_after = polls + 1, state.retry_after_seconds


def poll_pause_seconds(polls: int, retry_after_seconds: float | None) -> float:
    """Seconds before the next look: quick at first, doubling up to what Fabric asks for.

    Fabric asks for 20 s before it knows how long the work will take, and most of it takes two; obeying that literally is a well-known
    complaint (https://github.com/microsoft/fabric-cli/issues/140). The quota of 200 calls a minute is kept in any case.
    """
    ceiling = POLL_SECONDS_MAX if retry_after_seconds is None else min(retry_after_seconds, POLL_SECONDS_MAX)
    return min(POLL_SECONDS_MIN * 2 ** min(polls, 16), max(ceiling, POLL_SECONDS_MIN))


def _failed(transport: Transport, operation: Operation, state: OperationState) -> OperationFailed:
    said = f": {state.error_message}" if state.error_message else ""
    return OperationFailed(
        f"{transport.service} could not {operation.what}; the operation ended as {state.status}{said}",
        hint="Correct what the message names and try again.",
        details=_facts(transport, operation)
        | {"status": state.status, "error_code": state.error_code, "error_message": state.error_message},
    )


def _still_running(transport: Transport, operation: Operation, seconds: float) -> Unavailable:
    return Unavailable(
        f"{transport.service} has not finished to {operation.what} within {seconds:.0f} s; it may still do so.",
        hint="Look at the workspace before you try again.",
        details=_facts(transport, operation),
    )


def _facts(transport: Transport, operation: Operation) -> dict[str, Any]:
    return {"service": transport.service, "operation": operation.what, "operation_id": operation.operation_id}
