"""Push room: which credentials a send goes through, and the first jobs' work. Pure.

It checks nothing: what comes in has been accepted.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from tocsin.core.device import DeviceFilter
from tocsin.core.integrations import Integration, Integrations
from tocsin.core.push import (
    Expand,
    ExpandJob,
    Job,
    JobFields,
    RawRecipient,
    Recipients,
    RecipientType,
    Send,
    SendJob,
    SendRequest,
    TargetKind,
)
from tocsin.push.online_first import online_check
from tocsin.push.templates import needed_details

_RECIPIENT_TYPES = {
    TargetKind.TOKEN: RecipientType.TOKENS,
    TargetKind.TOPIC: RecipientType.TOPIC,
    TargetKind.CONDITION: RecipientType.CONDITION,
}


@dataclass(frozen=True, slots=True)
class Route:
    """A credential, and whom of the recipients a request reaches through it."""

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
    """Under which word metrics and analytics count it."""
    if isinstance(request.recipient, RawRecipient):
        return _RECIPIENT_TYPES[request.recipient.kind]
    return RecipientType.FILTER


def first_jobs(
    route: Route, request: SendRequest, push_id: str, now_ms: int
) -> list[Job]:
    """One walk for a filter, batches for raw recipients."""
    integration, to = route.integration, route.to
    shared: JobFields = {
        "push_id": push_id,
        "provider": integration.provider,
        "recipient_type": recipient_type_of(request),
        "accepted_at_ms": now_ms,
        "integration": request.integration or integration.job_name,
        "expire_at_ms": request.expire_at_ms,
        "correlation_id": request.correlation_id,
    }
    if not isinstance(to, RawRecipient):
        details = needed_details(request)
        walk = Expand(to, details=details, online=online_check(request, now_ms))
        return [ExpandJob(id=uuid.uuid4().hex, work=walk, **shared)]
    size = max(1, integration.batch_size)
    chunks = [to.targets[at : at + size] for at in range(0, len(to.targets), size)]
    return [
        SendJob(
            id=uuid.uuid4().hex,
            work=Send(to.kind, Recipients(chunk)),
            **shared,
        )
        for chunk in chunks
    ]
