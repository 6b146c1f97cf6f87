"""Post a message to a channel's webhook: https alone, no redirects, one deadline, and of the answer nothing but its status is believed.

The URL of a channel is a secret, since whoever knows it can post. It stands in no log line, error, event or table: a channel is spoken of by name.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2
import structlog

from treadle import __version__
from treadle.clients.deadline import within
from treadle.clients.retry import retry_after_of
from treadle.clients.sockets import certificate_untrusted, trusting
from treadle.errors import (
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    TreadleError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)

DEADLINE_SECONDS: Final = 10.0
LONGEST_RETRY_AFTER_SECONDS: Final = 3600.0
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how a secret begins, not one
_LEAST_SECRET_BYTES: Final = 24

_REFUSALS: Final[dict[int, type[TreadleError]]] = {401: Unauthenticated, 403: PermissionDenied, 404: NotFound, 410: NotFound}

_log = structlog.get_logger()

for _library in ("httpx2", "httpcore2"):  # below WARNING they write the address of each request, whoever configures logging
    logging.getLogger(_library).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Channel:
    """Where messages go. Neither address nor secrets show in its `repr`."""

    name: str  # slack, teams or webhook; what logs and errors say
    url: str = field(repr=False)
    signing_secrets: tuple[bytes, ...] = field(repr=False, default=())  # more than one while a receiver changes over to a new one
    plain_http: bool = False  # for the sandbox alone


def open_channel(name: str, url: str, *, secrets: str = "", plain_http: bool = False) -> Channel:
    """Check address and secrets of a channel. secrets: `whsec_` and base64, several separated by blanks.

    Raises:
        InvalidInput: one of them cannot be used; the message names the channel and repeats neither.
    """
    hint = f"Correct NOTIFY_{name.upper()}_URL."
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0 and parts.username is None and not parts.fragment and url.isascii()
    except ValueError:
        raise InvalidInput(f"The address of the channel {name} cannot be used.", hint=hint) from None  # the cause quotes the address
    if not usable or parts.scheme not in ("http", "https"):
        raise InvalidInput(f"The address of the channel {name} cannot be used.", hint=hint)
    if parts.scheme == "http" and not plain_http:
        raise InvalidInput(f"The address of the channel {name} is not https.", hint=hint)
    return Channel(name, url, tuple(_secret_bytes(name, secret) for secret in secrets.split()), plain_http)


def post(  # noqa: PLR0913 - where to, what, when and how patiently: each named
    channel: Channel,
    message_id: str,
    body: bytes,
    *,
    at: datetime,
    ca_file: Path | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> int:
    """Send one message, once, and return the status with which it was accepted. A repetition must bear the same `message_id`.

    at: now, aware; a receiver refuses a signature that is minutes old. ca_file: trusted besides the certificates of the system.

    Raises:
        Throttled: the receiver asked to wait, for `retry_after_seconds`.
        Unavailable: it was not reached or failed; the message was not accepted.
        OutcomeUnknown: the message may have been accepted; sending it again is right, since the receiver knows it by its id.
        InvalidInput, NotFound, PermissionDenied, Unauthenticated: refused for good; sending it again cannot help.
    """
    open_channel(channel.name, channel.url, plain_http=channel.plain_http)
    headers = {"Content-Type": "application/json", "User-Agent": f"treadle/{__version__}", **signed_headers(channel, message_id, body, at)}
    with within(deadline_seconds):
        status, retry_after_seconds = _exchange(channel, body, headers, ca_file, deadline_seconds)
    _log.info("webhook.answered", channel=channel.name, message_id=message_id, status=status)
    if 200 <= status < 300:
        return status
    raise _refused(channel.name, status, retry_after_seconds)


def signed_headers(channel: Channel, message_id: str, body: bytes, at: datetime) -> dict[str, str]:
    """The headers by which a receiver knows a repetition and proves the sender; for a channel without a secret, none.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    if not channel.signing_secrets:
        return {}
    seconds = str(int(at.timestamp()))
    content = f"{message_id}.{seconds}.".encode() + body
    signatures = [f"v1,{_base64(hmac.new(secret, content, hashlib.sha256).digest())}" for secret in channel.signing_secrets]
    return {"webhook-id": message_id, "webhook-timestamp": seconds, "webhook-signature": " ".join(signatures)}


def _secret_bytes(name: str, secret: str) -> bytes:
    try:
        decoded = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True) if secret.startswith(SECRET_PREFIX) else b""
    except binascii.Error:
        decoded = b""
    if len(decoded) < _LEAST_SECRET_BYTES:
        raise InvalidInput(
            f"The signing secret of the channel {name} cannot be used.",
            hint=f"Give {SECRET_PREFIX} and the base64 of {_LEAST_SECRET_BYTES} or more random bytes.",
        )
    return decoded


def _exchange(channel: Channel, body: bytes, headers: dict[str, str], ca_file: Path | None, seconds: float) -> tuple[int, float | None]:
    """Status and Retry-After. What went wrong is said in words of our own: those of the libraries may name the address."""
    try:
        with (
            httpx2.Client(verify=_trusting_also(ca_file), follow_redirects=False, timeout=seconds) as client,
            contextlib.closing(
                client.send(client.build_request("POST", channel.url, content=body, headers=headers), stream=True)
            ) as answer,
        ):
            told = {name.lower(): value for name, value in answer.headers.items() if name.lower() in {"retry-after", "date"}}
            return answer.status_code, retry_after_of(told, datetime.now(UTC))
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
        reason = "its certificate is not trusted" if certificate_untrusted(error) else "there is no connection to it"
        raise Unavailable(f"The channel {channel.name} was not reached: {reason}.", hint=_hint(channel.name)) from None
    except httpx2.RequestError as error:
        reason = "no answer came in time" if isinstance(error, httpx2.TimeoutException) else "the connection broke"
        raise OutcomeUnknown(
            f"The channel {channel.name} may or may not have the message: {reason}.", hint="It is sent again under the same id."
        ) from None


def _refused(name: str, status: int, retry_after_seconds: float | None) -> TreadleError:
    """What a status means that is not of success. 408, 425 and the failures of a server pass; a redirect is never followed."""
    details = {"channel": name, "status": status}
    if status == 429 or (status == 503 and retry_after_seconds is not None):
        wait = None if retry_after_seconds is None else min(retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS)
        return Throttled(f"The channel {name} asks to wait.", retry_after_seconds=wait, hint="It is sent again later.", details=details)
    if status in (408, 425) or (500 <= status < 600 and status != 501):
        return Unavailable(f"The channel {name} failed: {status}.", hint="It is sent again later.", details=details)
    if 300 <= status < 400:
        message = f"The channel {name} answered with a redirect ({status}), which is not followed."
        return InvalidInput(message, hint=_hint(name), details=details)
    if 400 <= status < 600:
        kind = _REFUSALS.get(status, InvalidInput)
        return kind(f"The channel {name} refused the message: {status}.", hint=_hint(name), details=details)
    return UnexpectedAnswer(f"The channel {name} answered with the status {status}.", hint=_hint(name), details=details)


def _hint(name: str) -> str:
    return f"Check NOTIFY_{name.upper()}_URL, and whether the webhook is still there."


def _trusting_also(ca_file: Path | None) -> ssl.SSLContext:
    """The system's certificates and this file's: a company's proxy or the sandbox, beside Slack and Teams on the internet."""
    context = trusting(None)
    if ca_file:
        context.load_verify_locations(str(ca_file))
    return context


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
