"""Tokens from Microsoft Entra ID for a service principal, by azure-identity. Its failures are put in words that help.

Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow and …/reference-error-codes.
"""

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken
from azure.identity import ClientSecretCredential

from treadle.clients.answers import RawAnswer, read_json, readable
from treadle.clients.deadline import within
from treadle.clients.retry import Answered, Attempt, Ending, Garbled, Lost, NotSent, Pace, attempt_until_settled
from treadle.clients.transport import https_origin
from treadle.clients.vendor import Brought, ConfinedTransport, attempt_call
from treadle.errors import InvalidInput, Throttled, TreadleError, Unauthenticated, Unavailable, UnexpectedAnswer
from treadle.logs import hide_secrets

FABRIC_SCOPE: Final = "https://api.fabric.microsoft.com/.default"
STORAGE_SCOPE: Final = "https://storage.azure.com/.default"

TOKEN_SECONDS: Final = 30.0
_ATTEMPT_SECONDS: Final = 10.0
_MICROSOFT_AUTHORITIES: Final = frozenset(
    {
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
        "login.chinacloudapi.cn",
        "login.microsoft.com",
    }
)
_CODE: Final = re.compile(r"AADSTS([0-9]{3,9})")
_TRACE: Final = re.compile(r"\s*Trace ID:.*", re.DOTALL)

EXPLANATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "7000215": ("the client secret is wrong", "Copy the secret's value, not its id, into FABRIC_CLIENT_SECRET."),
    "7000222": ("the client secret has expired", "Create a new secret for the app registration and set FABRIC_CLIENT_SECRET."),
    "700016": (
        "the tenant has no application with this client id",
        "Check FABRIC_CLIENT_ID, and that the app is registered in this tenant.",
    ),
    "90002": ("there is no such tenant", "Check FABRIC_TENANT_ID."),
    "900023": ("the tenant id is neither an id nor a domain name", "Check FABRIC_TENANT_ID."),
    "70011": ("the requested scope is not valid", "This is a defect of Treadle or of the configured address; report it."),
    "1002012": ("the requested scope is not valid", "This is a defect of Treadle or of the configured address; report it."),
    "700025": ("the application is registered as a public client and may not use a secret", "Register it as a confidential client."),
    "53003": (
        "a conditional access rule of the tenant blocks the sign-in",
        "Ask the tenant's administrator to allow this service principal.",
    ),
}


class _Credential(Protocol):
    def get_token(self, *scopes: str) -> AccessToken: ...


class EntraCredential:
    """An azure TokenCredential whose tokens can be renewed before they expire, and whose failures are members of `treadle.errors`.

    azure-identity keeps a token until shortly before its announced end and offers no way to drop it (msal refuses force_refresh for client
    credentials), so a refused token is dropped with the whole credential that holds it. The same goes for a failed request, which msal
    would go on answering from memory. Safe to share between threads.
    """

    def __init__(
        self, open_credential: Callable[[], _Credential], *, identity: str, authority: str, token_seconds: float = TOKEN_SECONDS
    ) -> None:
        """open_credential: makes the azure-identity credential, again for each renewal."""
        self._open = open_credential
        self._credential = open_credential()
        self._identity, self._authority = identity, authority
        self._token_seconds = token_seconds
        self._latest: dict[str, str] = {}  # scope → the token given out last
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"EntraCredential({self._identity})"

    @property
    def identity(self) -> str:
        """Tenant and client id."""
        return self._identity

    def get_token(self, *scopes: str, **_asked: Any) -> AccessToken:
        """Return a token for one scope, from memory while it lasts.

        What else a caller asks for – other tenants, claims – comes from servers' challenges, and is not followed.
        Raises Unauthenticated (with the AADSTS code), Throttled, Unavailable, UnexpectedAnswer.
        """
        with within(self._token_seconds) as deadline:
            settled = attempt_until_settled(lambda number: self._attempt(scopes, number), Pace(deadline))
        brought = settled.last.brought
        if brought.value is None:
            raise explain(settled.last.ending, brought.answer, identity=self._identity, authority=self._authority) from brought.error
        self._latest[scopes[0]] = brought.value.token
        return brought.value

    def renew(self, scope: str, refused: str) -> None:
        """Forget `refused`, so that the next `get_token` asks Entra. Does nothing if another thread has renewed it already."""
        with self._lock:
            if self._latest.get(scope) == refused:
                self._credential = self._open()
                self._latest.clear()

    def _attempt(self, scopes: tuple[str, ...], number: int) -> Attempt[Brought[AccessToken]]:
        attempt = attempt_call(lambda: self._credential.get_token(*scopes), _ATTEMPT_SECONDS, number)
        if attempt.brought.error is not None:
            self._credential = self._open()
        return attempt


def credential(  # noqa: PLR0913 - these are the parts of a service principal's sign-in, each named
    tenant_id: str,
    client_id: str,
    client_secret: str,
    *,
    authority_url: str,
    ca_file: Path | None = None,
    token_seconds: float = TOKEN_SECONDS,
) -> EntraCredential:
    """A credential for a service principal with a secret. Nothing is contacted yet.

    authority_url: https://login.microsoftonline.com in production. Instance discovery, which asks Microsoft whether an authority is one of
    theirs, is only left out for hosts that are not. token_seconds: how long one token request may take, retries included.
    """
    origin = https_origin(authority_url)
    hide_secrets([client_secret])

    def open_credential() -> _Credential:
        return ClientSecretCredential(
            tenant_id,
            client_id,
            client_secret,
            authority=origin,
            disable_instance_discovery=urlsplit(origin).hostname not in _MICROSOFT_AUTHORITIES,
            transport=ConfinedTransport("Entra ID", [origin], ca_file=ca_file),
            retry_total=0,
        )

    try:
        return EntraCredential(open_credential, identity=f"{tenant_id}/{client_id}", authority=origin, token_seconds=token_seconds)
    except ValueError as error:
        raise InvalidInput(
            f"These credentials cannot be used: {error}", hint="Check FABRIC_TENANT_ID, FABRIC_CLIENT_ID and FABRIC_CLIENT_SECRET."
        ) from error


def explain(ending: Ending, answer: RawAnswer | None, *, identity: str, authority: str) -> TreadleError:
    """Put a failed token request in plain words. Pure."""
    said = _description_in(answer)
    code = match[1] if said and (match := _CODE.search(said)) else None
    details = {"identity": identity, "authority": authority} | ({"error_code": f"AADSTS{code}"} if code else {})
    if isinstance(ending, Answered) and ending.throttled:
        return Throttled(
            "Entra ID refuses more token requests for now.",
            retry_after_seconds=ending.retry_after_seconds,
            hint="Wait and try again.",
            details=details,
        )
    if isinstance(ending, NotSent | Lost) or (isinstance(ending, Answered) and ending.status >= 500):
        return _unreached(ending, authority, details)
    if said is None:
        reason = ending.reason if isinstance(ending, Garbled) else f"it answered {ending.status} without an OAuth error"
        return UnexpectedAnswer(
            f"{authority} does not answer as Entra ID does: {reason}.", hint="Check ENTRA_AUTHORITY_URL.", details=details
        )
    meaning, hint = EXPLANATIONS.get(code or "", (_TRACE.sub("", said), "Check tenant, client id and client secret."))
    return Unauthenticated(
        f"Entra ID refused the sign-in{f' (AADSTS{code})' if code else ''}: {readable(meaning)}.", hint=hint, details=details
    )


def _unreached(ending: NotSent | Lost | Answered, authority: str, details: Mapping[str, Any]) -> Unavailable:
    reason = f"it answered {ending.status}" if isinstance(ending, Answered) else ending.reason
    lasting = isinstance(ending, NotSent) and ending.lasting
    hint = "Set TREADLE_CA_FILE to the certificate authority of this server." if lasting else "Check the network and ENTRA_AUTHORITY_URL."
    return Unavailable(f"Entra ID at {authority} could not be reached: {reason}.", hint=hint, details=dict(details) | {"reason": reason})


def _description_in(answer: RawAnswer | None) -> str | None:
    """The error_description (else the error) of an OAuth error body (RFC 6749 §5.2). None: the body is none."""
    problem, body = read_json(answer.content) if answer else ("absent", None)
    if problem or not isinstance(body, dict):
        return None
    told = cast("dict[str, Any]", body)
    said = told.get("error_description") or told.get("error")
    return said if isinstance(said, str) else None
