"""An OAuth access token by client credentials.

Shared by all batches of a provider; neither secret nor token may reach a log line or
an outcome.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode

import structlog

from tocsin.core.elapsed import elapsed_s
from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.credential import InTask, Issued, RenewedCredential
from tocsin.providers.http1 import Answer, Http1Client, RequestFailed
from tocsin.providers.json_message import parse_object

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
        self._exchanging = InTask(self._exchange)
        self._credential = RenewedCredential(self._exchanging, clock=clock)

    async def fetch(self) -> str:
        """A token that is good for some while; raises `RequestFailed`."""
        return await self._credential.fetch()

    async def renew(self, refused: str) -> str:
        """A token other than `refused`, which the service did not take."""
        return await self._credential.renew(refused)

    async def close(self) -> None:
        """End an exchange that is under way."""
        await self._exchanging.close()

    async def _exchange(self, _refused: str) -> Issued:
        try:
            answer = await self._http.post(self._url, self._form, _FORM)
            token, life_s = self._read(answer)
        except RequestFailed as failure:
            raise RequestFailed(self._explain(failure.outcome)) from None
        return Issued.lasting(token, life_s, self._clock())

    def _read(self, answer: Answer) -> tuple[str, float]:
        """The token and its life in seconds; raises `RequestFailed`."""
        fields = parse_object(answer.body)
        token = fields.get("access_token")
        if answer.status == 200 and isinstance(token, str):
            # It goes into a header, so it must be one printable word.
            if _HEADER_TEXT.fullmatch(token):
                return token, _life_s(fields.get("expires_in"))
            raise _unavailable("the token cannot stand in a header")
        text = f"{answer.status} {fields.get('error', '')} "
        text += str(fields.get("error_description", ""))
        # With a JSON body it is the service's own word; a gateway's page is a
        # passing fault.
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
        """Log the fault, and turn it into one that concerns the whole credential."""
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
    # Also nan and infinity end here: both comparisons are false.
    return life_s if 0 < life_s < 10 * 86_400 else _USUAL_LIFE_S
