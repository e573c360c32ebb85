"""Push room: the wait between publishing to a channel and pushing. Pure.

It must not publish: that is done behind `OnlinePublisher`.
"""

from __future__ import annotations

from tocsin.core.errors import BadRequest
from tocsin.core.push import OnlineCheck, SendRequest

MAX_WAIT_MS = 3_600_000
"""Longer, and two looks into the channel say little about the time between."""


def due_ms(request: SendRequest, now_ms: int) -> int:
    """When the jobs are due, in Unix milliseconds; 0 is now."""
    if request.send_at_ms > now_ms:
        return request.send_at_ms
    if request.online_first is not None and request.online_first.wait_ms:
        return now_ms + request.online_first.wait_ms
    return 0


def online_check(request: SendRequest, now_ms: int) -> OnlineCheck | None:
    """What the walk over the devices has to ask of the channel."""
    first = request.online_first
    if first is None:
        return None
    return OnlineCheck(first.channel, now_ms + first.wait_ms)


def check_wait(request: SendRequest, now_ms: int) -> None:
    """Raise `BadRequest` for a wait that is too long, or beside a later `send_at`."""
    if request.online_first is None:
        return
    wait_ms = request.online_first.wait_ms
    if not 0 <= wait_ms <= MAX_WAIT_MS:
        raise BadRequest("online_first.wait_ms", f"must be at most {MAX_WAIT_MS}")
    if request.send_at_ms > now_ms:
        reason = "must be unset with online_first, which publishes at once"
        raise BadRequest("send_at", reason)


def find_expiry_fault(request: SendRequest, now_ms: int) -> BadRequest | None:
    """Why nobody would get the push of a request that is new now, or `None`.

    No fault of a repeat: the jobs of the first call wait since that call.
    """
    first = request.online_first
    if first is None or not now_ms < request.expire_at_ms <= now_ms + first.wait_ms:
        return None
    reason = "must be after the wait of online_first, else nobody gets the push"
    return BadRequest("notification.expire_at", reason)
