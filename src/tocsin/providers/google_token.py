"""Access tokens for Google, from a service account file and shared by the process.

Signing and exchange are firebase-admin's and google-auth's; this file decides when.
Neither key nor token may reach a log line or an outcome.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import re
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

import structlog

from tocsin.config.showing import show_path
from tocsin.core.elapsed import elapsed_s
from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.errors import ProviderSetupError, explain_trust
from tocsin.providers.files import read_file
from tocsin.providers.service_account import DOWNLOAD, NoAccount, read_account

RENEW_EARLY_S = 300.0
"""A token is renewed in the background this long before it ends."""
_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
"""All that sending needs; firebase-admin would ask for six wider ones."""
_LAST_MOMENT_S = 30.0
_HOLD_FAILURE_S = 2.0
_UNKNOWN_LIFE_S = 600.0
"""For an endpoint that does not say `expires_in`."""
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")
_DETAIL_LIMIT = 300
_REFUSALS = frozenset(
    {"invalid_grant", "invalid_client", "invalid_scope", "unauthorized_client"}
)

_TRUST = "push_notifications.fcm.ca_file (or its integration's)"

_log = structlog.get_logger(__name__)


class TokenFailure(Exception):
    """No access token is to be had; `outcome` is that of everyone who needs it."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.detail)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account file that was read and found complete.

    `credential` is google-auth's; `fingerprint` tells files apart without
    showing them.
    """

    email: str
    project_id: str
    token_uri: str
    fingerprint: str
    credential: Any


def load_service_account(file: str, key: str) -> ServiceAccount:
    """Read the file that the config key `key` names; raises `ProviderSetupError`."""
    if not file:
        raise ProviderSetupError(key, "set it to the path of a service account file")
    shown, content = show_path(file), read_file(key, file)
    try:
        info = read_account(content)
    except NoAccount as error:
        raise ProviderSetupError(key, f"{shown} {error}") from None
    _check_token_uri(info["token_uri"], shown, key)
    # Slow to import and 20 MB: only a process that sends pays for it.
    from firebase_admin import credentials

    try:
        certificate = credentials.Certificate(info)
    except ValueError:  # its text may hold the key
        raise ProviderSetupError(
            key,
            f"{shown}: its private_key is no key that Google gives out: {DOWNLOAD}",
        ) from None
    return ServiceAccount(
        email=info["client_email"],
        project_id=info["project_id"],
        token_uri=info["token_uri"],
        fingerprint=hashlib.sha256(content).hexdigest(),
        credential=certificate.get_credential().with_scopes([_SCOPE]),
    )


def _check_token_uri(uri: str, file: str, key: str) -> None:
    try:
        parts = urlsplit(uri)
    except ValueError:  # its text would quote the host
        parts = urlsplit("")
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and _is_loopback(host):
        return
    raise ProviderSetupError(
        key, f"{file}: token_uri must be https (http only on a loopback address)"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class AccessTokens:
    """The current access token of one account; one exchange at a time, in a thread.

    Belongs to no event loop, so providers of several loops may share it.
    `exchange` blocks and returns (token, Unix seconds of its end) or raises
    `TokenFailure`.
    """

    def __init__(
        self,
        exchange: Callable[[], tuple[str, float]],
        *,
        clock: Callable[[], float] | None = None,
        hold_failure_s: float = _HOLD_FAILURE_S,
    ) -> None:
        """`clock`, for tests, gives Unix seconds."""
        self._exchange = exchange
        # Ends are told in Unix time and kept as what elapses until then, so that a
        # clock that is set back neither keeps a failure nor a spent token for hours.
        self._unix_s = clock or time.time
        self._clock = clock or elapsed_s
        self._hold_failure_s = hold_failure_s
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = self._ends_at = 0.0
        self._running: Future[str] | None = None
        self._failure: TokenFailure | None = None
        self._failed_until = 0.0

    async def fetch(self) -> str:
        """A token that is good for some while; raises `TokenFailure`.

        Near its end the old one is still given out while the next is fetched.
        """
        now_s = self._clock()
        if now_s < self._renew_at:
            return self._token
        if now_s < self._ends_at:
            if now_s >= self._failed_until:
                self._start()
            return self._token
        return await asyncio.wrap_future(self._start())

    async def renew(self, refused: str) -> str:
        """A token other than `refused`, which the service did not take."""
        return await asyncio.wrap_future(self._start_renewal(refused))

    def renew_blocking(self, refused: str) -> str:
        """`renew` for a thread that may wait."""
        return self._start_renewal(refused).result()

    @property
    def current(self) -> str:
        """The newest token, maybe about to end; empty before the first fetch."""
        return self._token

    def _start_renewal(self, refused: str) -> Future[str]:
        with self._lock:
            if self._token == refused:
                self._token, self._renew_at, self._ends_at = "", 0.0, 0.0
        return self._start()

    def _start(self) -> Future[str]:
        """The exchange under way, or a new one; settled already where none is due."""
        with self._lock:
            if self._running is not None:
                return self._running
            now_s = self._clock()
            settled: Future[str] = Future()
            if now_s < self._renew_at:
                settled.set_result(self._token)
                return settled
            if self._failure is not None and now_s < self._failed_until:
                settled.set_exception(self._failure)
                return settled
            running: Future[str] = Future()
            running.set_running_or_notify_cancel()
            self._running = running
        threading.Thread(
            target=self._run, args=(running,), name="google-token", daemon=True
        ).start()
        return running

    def _run(self, running: Future[str]) -> None:
        try:
            token, ends_at = self._exchange()
        except TokenFailure as failure:
            self._fail(running, failure)
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            name = type(error).__name__
            outcome = Outcome(Verdict.RETRY, "token_unavailable", name)
            self._fail(running, TokenFailure(outcome))
        else:
            with self._lock:
                life_s = max(0.0, ends_at - self._unix_s())
                ends_at = self._clock() + life_s
                self._token = token
                self._renew_at = ends_at - min(RENEW_EARLY_S, life_s / 2)
                self._ends_at = ends_at - min(_LAST_MOMENT_S, life_s / 10)
                self._running = self._failure = None
            running.set_result(token)

    def _fail(self, running: Future[str], failure: TokenFailure) -> None:
        with self._lock:
            self._running = None
            self._failure = failure
            self._failed_until = self._clock() + self._hold_failure_s
        running.set_exception(failure)


_shared: weakref.WeakValueDictionary[tuple[str, str], AccessTokens] = (
    weakref.WeakValueDictionary()
)
_shared_lock = threading.Lock()


def share_access_tokens(account: ServiceAccount, ca_file: str) -> AccessTokens:
    """The process's one source of tokens for this file and trust."""
    place = (account.fingerprint, ca_file)
    with _shared_lock:
        known = _shared.get(place)
        if known is None:
            known = AccessTokens(GoogleExchange(account, ca_file))
            _shared[place] = known
        return known


class GoogleExchange:
    """Exchanges a signed assertion for an access token, by google-auth."""

    def __init__(self, account: ServiceAccount, ca_file: str) -> None:
        self._account = account
        self._ca_file = ca_file

    def __call__(self) -> tuple[str, float]:
        """The token and its end in Unix seconds; raises `TokenFailure`. Blocks."""
        from google.auth import exceptions

        from tocsin.providers.google_transport import open_transport

        credential = self._account.credential
        try:
            with open_transport(self._ca_file) as request:
                credential.refresh(request)
        except exceptions.RefreshError as error:
            raise self._refused(error) from None
        except exceptions.TransportError as error:
            raise self._unavailable(error) from None
        token, expiry = credential.token, credential.expiry
        if not _HEADER_TEXT.fullmatch(token):
            raise self._unavailable(ValueError("the token cannot stand in a header"))
        if expiry is None:
            return token, time.time() + _UNKNOWN_LIFE_S
        return token, expiry.replace(tzinfo=UTC).timestamp()

    def _refused(self, error: Exception) -> TokenFailure:
        detail = str(error.args[0] if error.args else error)[:_DETAIL_LIMIT]
        word = detail.partition(":")[0]
        code = word if word in _REFUSALS else "credentials_refused"
        _log.error(
            "Google refuses the service account: renew its key file, check the clock",
            account=self._account.email,
            token_uri=self._account.token_uri,
            reason=detail,
        )
        return TokenFailure(
            Outcome(Verdict.MISCONFIGURED, code, detail, slow_down=True)
        )

    def _unavailable(self, error: Exception) -> TokenFailure:
        detail = explain_trust(str(error)[:_DETAIL_LIMIT], _TRUST)
        _log.warning(
            "no access token from Google for now: sends are tried again later",
            account=self._account.email,
            token_uri=self._account.token_uri,
            reason=detail,
        )
        return TokenFailure(
            Outcome(Verdict.RETRY, "token_unavailable", detail, slow_down=True)
        )
