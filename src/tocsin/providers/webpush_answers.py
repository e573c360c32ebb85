"""What an answer of a push service means, by its status (RFC 8030 and the vendors').

Pure: a response in, `Outcome` out. It must not decide what follows from a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.core.outcome import Outcome, Verdict
from tocsin.http2 import Response
from tocsin.providers.answer_class import hide_targets
from tocsin.providers.outcomes import is_success
from tocsin.providers.retry_after import (
    QUOTA_WAIT_S,
    in_seconds,
    parse_retry_after,
)

_BY_STATUS: Mapping[int, tuple[Verdict, str]] = {
    # Old Mozilla endpoints say where a subscription went. Redirects are never
    # followed: whoever subscribes could send our requests anywhere with one.
    301: (Verdict.REJECTED, "moved"),
    302: (Verdict.REJECTED, "redirected"),
    303: (Verdict.REJECTED, "redirected"),
    307: (Verdict.REJECTED, "redirected"),
    308: (Verdict.REJECTED, "redirected"),
    400: (Verdict.REJECTED, "bad_request"),
    # Subscribed with another VAPID key, or all of ours are wrong.
    401: (Verdict.SUSPECT, "vapid_refused"),
    403: (Verdict.SUSPECT, "vapid_refused"),
    404: (Verdict.UNREGISTERED, "unregistered"),
    406: (Verdict.RETRY, "throttled"),  # WNS: this channel gets too much
    408: (Verdict.RETRY, "timeout"),
    410: (Verdict.UNREGISTERED, "unregistered"),
    413: (Verdict.REJECTED, "payload_too_large"),
    425: (Verdict.RETRY, "too_early"),
    429: (Verdict.RETRY, "quota_exceeded"),
    500: (Verdict.RETRY, "internal"),
    502: (Verdict.RETRY, "bad_gateway"),
    503: (Verdict.RETRY, "unavailable"),
    504: (Verdict.RETRY, "gateway_timeout"),
}
_OF_BODY = frozenset({"bad_request", "payload_too_large"})
"""Codes of answers that every other browser of that push service would get."""
_OTHER_SERVER_ERROR = (Verdict.RETRY, "server_error")
_OTHER_ANSWER = (Verdict.REJECTED, "unexpected_status")

# Apple says with a 400 what others say with a 403.
_VAPID_MISMATCH = b"VapidPkHashMismatch"

REFUSED = frozenset({401, 403})
"""Statuses that a new VAPID token may cure."""

_WNS_REASON = "x-wns-error-description"
_DETAIL_LIMIT = 300
_ID_LIMIT = 1024
_SHORTEST_SECRET = 6
"""Pieces of an endpoint's path from this length on are kept out of details."""


def classify(
    answer: Response, path: str = "", *, now_s: float | None = None
) -> Outcome:
    """The outcome of any answer. `path` is the endpoint's, and kept out of details.

    Nothing is ever marked `slow_down`: an origin's troubles are not those of others.
    """
    status = answer.status
    if is_success(status):
        return Outcome(
            Verdict.DELIVERED, message_id=(answer.header("location") or "")[:_ID_LIMIT]
        )
    verdict, code = _class_of(status, answer.body)
    wait_s = None
    if verdict is Verdict.RETRY:
        asked = in_seconds(answer.header("retry-after"), answer.header("date"))
        wait_s = parse_retry_after(asked, now_s)
        if wait_s is None and status == 429:
            wait_s = QUOTA_WAIT_S
    return Outcome(
        verdict,
        code,
        _describe(answer, path),
        retry_after_s=wait_s,
        of_body=code in _OF_BODY,
        provider_code=str(status),
    )


def _class_of(status: int, body: bytes) -> tuple[Verdict, str]:
    if status == 400 and _VAPID_MISMATCH in body:
        return _BY_STATUS[403]
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    return _OTHER_SERVER_ERROR if status >= 500 else _OTHER_ANSWER


def _describe(answer: Response, path: str) -> str:
    """The status and the service's own words, without the secret of the endpoint."""
    words = answer.header(_WNS_REASON) or answer.body[:4096].decode("utf-8", "replace")
    pieces = path.replace("?", "/").replace("=", "/").split("/")
    secrets = [piece for piece in pieces if len(piece) >= _SHORTEST_SECRET]
    hidden = hide_targets(words, secrets, mark="<endpoint>")
    return f"{answer.status} {' '.join(hidden.split())}".strip()[:_DETAIL_LIMIT]
