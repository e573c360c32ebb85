"""Access tokens for Google, from a service account file and shared by the process.

Signing and exchange are firebase-admin's and google-auth's.
Neither key nor token may reach a log line or an outcome.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

import structlog

from tocsin.config.showing import show_path
from tocsin.core.elapsed import elapsed_s
from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.credential import Issued, RenewedCredential, in_thread
from tocsin.providers.errors import ProviderSetupError, explain_trust
from tocsin.providers.files import read_file
from tocsin.providers.service_account import DOWNLOAD, NoAccount, read_account

_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
"""All that sending needs; firebase-admin would ask for six wider ones."""
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
    """There is no access token; everybody who needs one gets `outcome`."""

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


def renewed_by(
    exchange: Callable[[], tuple[str, float]],
    *,
    clock: Callable[[], float] | None = None,
) -> RenewedCredential:
    """The current access token of one account, exchanged in a thread.

    `exchange` blocks and returns (token, Unix seconds of its end) or raises
    `TokenFailure`. `clock`, for tests, gives Unix seconds.
    """
    # The end comes in Unix time and is kept as seconds that elapse until then: after
    # the clock is set back, neither a failure nor a spent token is kept for hours.
    unix_s, elapsed = clock or time.time, clock or elapsed_s

    def make(_refused: str) -> Issued:
        try:
            token, ends_at_s = exchange()
        except TokenFailure:
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            name = type(error).__name__
            outcome = Outcome(Verdict.RETRY, "token_unavailable", name)
            raise TokenFailure(outcome) from None  # its text may hold the key
        return Issued.lasting(token, max(0.0, ends_at_s - unix_s()), elapsed())

    return RenewedCredential(in_thread(make, "google-token"), clock=elapsed)


# Weak: a source lives as long as a provider uses it.
_shared: weakref.WeakValueDictionary[tuple[str, str], RenewedCredential] = (
    weakref.WeakValueDictionary()
)
_shared_lock = threading.Lock()


def share_access_tokens(account: ServiceAccount, ca_file: str) -> RenewedCredential:
    """The process's one source of tokens for this file and trust."""
    place = (account.fingerprint, ca_file)
    # Finding and making are one step: two sources of one account would both
    # exchange.
    with _shared_lock:
        known = _shared.get(place)
        if known is None:
            known = renewed_by(GoogleExchange(account, ca_file))
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
