"""An OAuth access token by client credentials, one exchange at a time.

Shared by all batches of a provider; neither secret nor token may reach a log line or
an outcome.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from urllib.parse import urlencode

import structlog

from tocsin.core.elapsed import elapsed_s
from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.http1 import Answer, Http1Client, RequestFailed
from tocsin.providers.json_message import parse_object

RENEW_EARLY_S = 300.0
"""A token is renewed in the background this long before it ends."""
HOLD_FAILURE_S = 2.0
"""For so long a failure is the answer to everybody, without asking again."""
_LAST_MOMENT_S = 30.0
_USUAL_LIFE_S = 3600.0
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")
_DETAIL_LIMIT = 200
_FORM = {"content-type": "application/x-www-form-urlencoded"}

_log = structlog.get_logger(__name__)


class ClientCredentials:
    """The current access token of one application."""

    def __init__(
        self,
        http: Http1Client,
        url: str,
        client_id: str,
        client_secret: str,
        *,
        clock: Callable[[], float] = elapsed_s,
    ) -> None:
        self._http = http
        self._url = url
        self._client_id = client_id
        self._form = urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": client_id,
                "client_secret": client_secret,
            }
        ).encode()
        self._clock = clock
        self._token = ""
        self._renew_at = self._ends_at = self._failed_until = 0.0
        self._failure: Outcome | None = None
        self._running: asyncio.Task[str] | None = None

    async def fetch(self) -> str:
        """A token that is good for some while; raises `RequestFailed`.

        Near its end the old one is still given out while the next is fetched.
        """
        now_s = self._clock()
        if now_s < self._renew_at:
            return self._token
        if now_s < self._ends_at:
            if now_s >= self._failed_until:
                _ = self._start()
            return self._token
        if self._failure is not None and now_s < self._failed_until:
            raise RequestFailed(self._failure)
        # Whoever is cancelled must not take the exchange away from the others.
        return await asyncio.shield(self._start())

    async def renew(self, refused: str) -> str:
        """A token other than `refused`, which the service did not take."""
        if self._token == refused:
            self._token, self._renew_at, self._ends_at = "", 0.0, 0.0
        return await self.fetch()

    async def close(self) -> None:
        """End an exchange that is under way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def _start(self) -> asyncio.Task[str]:
        if self._running is None:
            self._running = asyncio.create_task(self._exchange())
            self._running.add_done_callback(self._end)
        return self._running

    def _end(self, task: asyncio.Task[str]) -> None:
        self._running = None
        if not task.cancelled():
            task.exception()  # a renewal in the background has nobody to hear of it

    async def _exchange(self) -> str:
        try:
            answer = await self._http.post(self._url, self._form, _FORM)
            token, life_s = self._read(answer)
        except RequestFailed as failure:
            self._failed_until = self._clock() + HOLD_FAILURE_S
            self._failure = self._explain(failure.outcome)
            raise RequestFailed(self._failure) from None
        now_s = self._clock()
        self._token, self._failure = token, None
        self._renew_at = now_s + life_s - min(RENEW_EARLY_S, life_s / 2)
        self._ends_at = now_s + life_s - min(_LAST_MOMENT_S, life_s / 10)
        return token

    def _read(self, answer: Answer) -> tuple[str, float]:
        """The token and its life in seconds; raises `RequestFailed`."""
        fields = parse_object(answer.body)
        token = fields.get("access_token")
        if answer.status == 200 and isinstance(token, str):
            if _HEADER_TEXT.fullmatch(token):
                return token, _life_s(fields.get("expires_in"))
            raise _unavailable("the token cannot stand in a header")
        text = f"{answer.status} {fields.get('error', '')} "
        text += str(fields.get("error_description", ""))
        if answer.status in (400, 401, 403, 404) and fields:
            raise RequestFailed(
                Outcome(
                    Verdict.MISCONFIGURED,
                    "credentials_refused",
                    text.strip()[:_DETAIL_LIMIT],
                    slow_down=True,
                )
            )
        raise _unavailable(text.strip()[:_DETAIL_LIMIT])

    def _explain(self, outcome: Outcome) -> Outcome:
        """Log it, and make any fault one of the whole credential."""
        if outcome.verdict is Verdict.MISCONFIGURED:
            _log.error(
                "the application's credentials are refused: check its id and secret",
                client_id=self._client_id,
                endpoint=self._url,
                reason=outcome.detail,
            )
            return outcome
        _log.warning(
            "no access token for now: sends are tried again later",
            client_id=self._client_id,
            endpoint=self._url,
            reason=outcome.detail,
        )
        return _unavailable(outcome.detail).outcome


def _unavailable(detail: str) -> RequestFailed:
    outcome = Outcome(Verdict.RETRY, "token_unavailable", detail, slow_down=True)
    return RequestFailed(outcome)


def _life_s(value: object) -> float:
    try:
        life_s = float(str(value))
    except ValueError:
        return _USUAL_LIFE_S
    return life_s if 0 < life_s < 10 * 86_400 else _USUAL_LIFE_S
