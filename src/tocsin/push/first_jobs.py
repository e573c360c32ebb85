"""Push room: the first jobs of a send, through which credentials, and when. Pure.

Requests come here checked, except for the times of `online_first`.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from tocsin.core.device import DeviceFilter
from tocsin.core.errors import BadRequest
from tocsin.core.integrations import Integration, Integrations
from tocsin.core.push import (
    Expand,
    ExpandJob,
    Job,
    JobFields,
    OnlineCheck,
    Payload,
    RawRecipient,
    Recipients,
    RecipientType,
    Send,
    SendJob,
    SendRequest,
    TargetKind,
)
from tocsin.push.options import needed_details
from tocsin.push.priorities import priority_of

MAX_WAIT_MS = 3_600_000
"""The longest wait of `online_first`. The channel is looked at when it begins and when
it ends; over a longer time that says little about who was there in between."""

_RECIPIENT_TYPES = {
    TargetKind.TOKEN: RecipientType.TOKENS,
    TargetKind.TOPIC: RecipientType.TOPIC,
    TargetKind.CONDITION: RecipientType.CONDITION,
}


@dataclass(frozen=True, slots=True)
class Route:
    """A credential, and the part of the recipients that it is used for."""

    integration: Integration
    to: DeviceFilter | RawRecipient


def find_routes(integrations: Integrations, request: SendRequest) -> list[Route]:
    """All credentials that the request can go through, in a stable order."""
    recipient = request.recipient
    if isinstance(recipient, RawRecipient):
        chosen = integrations.choose(recipient.provider, request.integration)
        return [Route(chosen, recipient)] if chosen else []
    return [
        Route(*walk)
        for provider in request.bodies
        if not recipient.providers or provider in recipient.providers
        for walk in integrations.walks(provider, recipient, only=request.integration)
    ]


def providers_of(routes: list[Route]) -> list[str]:
    """The providers of these, each once."""
    return list(dict.fromkeys(route.integration.provider for route in routes))


def recipient_type_of(request: SendRequest) -> RecipientType:
    """The recipient type by which metrics and analytics count the request."""
    if isinstance(request.recipient, RawRecipient):
        return _RECIPIENT_TYPES[request.recipient.kind]
    return RecipientType.FILTER


def payload_of(
    request: SendRequest, providers: list[str], *, push_id: str, uid: str
) -> Payload:
    """What all jobs of the request share."""
    return Payload(
        push_id=push_id,
        uid=uid,
        analytics_uid=request.analytics_uid or uid,
        bodies={provider: request.bodies[provider] for provider in providers},
        reliable=request.reliable,
        rate=request.rate,
        window=request.window,
        templating=request.templating,
    )


def first_jobs(
    routes: list[Route], request: SendRequest, push_id: str, now_ms: int
) -> list[Job]:
    """For each route one walk for a filter, or batches for raw recipients.

    Each is named in the account of the send by its place in this list: so what the
    queue loses can be made again from it.
    """
    # Once for all routes: it reads every template of the request.
    details = needed_details(request)
    online = online_check(request, now_ms)
    priority = priority_of(request)
    jobs: list[Job] = []
    for route in routes:
        integration, to = route.integration, route.to
        shared: JobFields = {
            "push_id": push_id,
            "provider": integration.provider,
            "recipient_type": recipient_type_of(request),
            "accepted_at_ms": now_ms,
            "integration": request.integration or integration.job_name,
            "expire_at_ms": request.expire_at_ms,
            "correlation_id": request.correlation_id,
            "traceparent": request.traceparent,
            "priority": priority,
        }
        if not isinstance(to, RawRecipient):
            walk = Expand(to, details=details, online=online)
            shared["unit"] = str(len(jobs))
            jobs.append(ExpandJob(id=uuid.uuid4().hex, work=walk, **shared))
            continue
        size = max(1, integration.batch_size)
        for at in range(0, len(to.targets), size):
            batch = Send(to.kind, Recipients(to.targets[at : at + size]))
            shared["unit"] = str(len(jobs))
            jobs.append(SendJob(id=uuid.uuid4().hex, work=batch, **shared))
    return jobs


def due_ms(request: SendRequest, now_ms: int) -> int:
    """When the jobs are due, in Unix milliseconds; 0 is now."""
    if request.send_at_ms > now_ms:
        return request.send_at_ms
    if request.online_first is not None and request.online_first.wait_ms:
        return now_ms + request.online_first.wait_ms
    return 0


def online_check(request: SendRequest, now_ms: int) -> OnlineCheck | None:
    """Which channel the walk has to ask, and when; `None` without `online_first`."""
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
    """The fault of a new request that would expire during its wait, or `None`.

    A repeat has no such fault: the jobs of the first call have waited since that call.
    """
    first = request.online_first
    if first is None or not now_ms < request.expire_at_ms <= now_ms + first.wait_ms:
        return None
    reason = "must be after the wait of online_first, else nobody gets the push"
    return BadRequest("notification.expire_at", reason)
