"""firebase-admin's messaging client, fitted to our endpoint, trust and credentials.

Imported late, because it loads the SDK; only `firebase_internals` knows its internals.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
import weakref
from collections.abc import MutableMapping
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

import firebase_admin
import httpx
from firebase_admin import credentials, exceptions
from google.auth.credentials import Credentials

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.credential import RenewedCredential
from tocsin.providers.fcm_answers import classify
from tocsin.providers.firebase_internals import Hooks, MessagingService
from tocsin.providers.google_token import ServiceAccount, TokenFailure
from tocsin.providers.outcomes import ACCEPTED, is_success
from tocsin.providers.retry_after import in_seconds

_UNREADABLE = Outcome(
    Verdict.RETRY, "bad_answer", "not the service's own answer", maybe_sent=True
)
_names = itertools.count(1)
_JOIN_TIMEOUT_S = 5.0


class FirebaseClient:
    """firebase-admin in a thread with a loop of its own."""

    def __init__(
        self,
        account: ServiceAccount,
        tokens: RenewedCredential,
        *,
        endpoint: str,
        trust: ssl.SSLContext,
        timeout_s: float,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="firebase-admin", daemon=True
        )
        self._app = firebase_admin.initialize_app(
            _Credential(_SharedToken(tokens)),
            {"projectId": account.project_id, "httpTimeout": timeout_s},
            name=f"tocsin-{next(_names)}",
        )
        url = f"{endpoint}/v1/projects/{account.project_id}/messages:send"
        hooks: Hooks = {"request": [_forget_status], "response": [_note_status]}
        self._service = MessagingService(self._app, url, trust, timeout_s, hooks)
        self._thread.start()

    def start(
        self, message: dict[str, Any], target: str, validate_only: bool
    ) -> Future[Outcome]:
        """Begin to send one message; the future always gets an outcome."""
        sending = self._send(message, target, validate_only)
        return asyncio.run_coroutine_threadsafe(sending, self._loop)

    def close(self) -> None:
        """Close connections and end the thread. Blocks."""
        closing = asyncio.run_coroutine_threadsafe(self._service.aclose(), self._loop)
        closing.result(_JOIN_TIMEOUT_S)
        # Only now: the closing above needs the loop to run.
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_JOIN_TIMEOUT_S)
        self._loop.close()
        firebase_admin.delete_app(self._app)

    async def _send(
        self, message: dict[str, Any], target: str, validate_only: bool
    ) -> Outcome:
        said = _Said()
        _said.set(said)
        try:
            batch = await self._service.send_each_async([message], validate_only)
            answer = batch.responses[0]
            fault, name = answer.exception, answer.message_id
        except Exception as error:  # noqa: BLE001 - the SDK trips over answers of other shapes
            fault, name = error, None
        if is_success(said.status) and not (fault is None and isinstance(name, str)):
            return ACCEPTED
        if fault is not None:
            return _outcome_of(fault, target)
        message_id = str(name).rpartition("/")[2]
        return Outcome(Verdict.DELIVERED, message_id=message_id)


class _Said:
    """The status that the service said last about one message, 0 before any."""

    status = 0


_said: ContextVar[_Said] = ContextVar("tocsin_fcm_said")
"""The status of the message that the running task sends. The SDK does not tell it when
the body after it cannot be read."""


async def _forget_status(_request: httpx.Request) -> None:
    _said.get().status = 0


async def _note_status(response: httpx.Response) -> None:
    _said.get().status = response.status_code


def _outcome_of(error: Exception, target: str) -> Outcome:
    """The same table as for the native transport, or what the network did."""
    if not isinstance(error, exceptions.FirebaseError):
        return _UNREADABLE
    response, cause = error.http_response, error.cause
    if response is not None:
        headers = response.headers
        wait = in_seconds(headers.get("retry-after"), headers.get("date"))
        return classify(response.status_code, response.content, wait, target)
    if isinstance(cause, TokenFailure):
        return cause.outcome
    detail = type(cause).__name__
    if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return Outcome(Verdict.RETRY, "connect_failed", detail)
    if isinstance(cause, httpx.TimeoutException):
        return Outcome(Verdict.RETRY, "timeout", detail, maybe_sent=True)
    if isinstance(cause, httpx.TransportError):
        return Outcome(Verdict.RETRY, "connection_closed", detail, maybe_sent=True)
    return _UNREADABLE


class _SharedToken(Credentials):
    """google-auth's interface over the process's own access tokens."""

    def __init__(self, tokens: RenewedCredential) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # google-auth is half typed
        self._tokens = tokens
        # The SDK has one transport object per send, so the object tells which token
        # was refused. Weak keys: an entry goes with its send.
        self._applied: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def before_request(
        self, request: Any, _method: str, _url: str, headers: MutableMapping[str, str]
    ) -> None:
        self._applied[request] = token = self._tokens.current
        headers["authorization"] = f"Bearer {token}"

    def refresh(self, request: Any) -> None:
        self._tokens.renew_blocking(self._applied.get(request, ""))


class _Credential(credentials.Base):  # type: ignore[misc] # ships no types
    """What firebase-admin wants around a credential of google-auth."""

    def __init__(self, credential: Credentials) -> None:
        self._credential = credential

    def get_credential(self) -> Credentials:
        return self._credential
