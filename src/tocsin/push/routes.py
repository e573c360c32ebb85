"""Push room: which credentials a send goes through, and the first jobs' work. Pure.

It checks nothing: what comes in has been accepted.
"""

from __future__ import annotations

from tocsin.core.device import DeviceFilter
from tocsin.core.integrations import Integration, Integrations
from tocsin.core.push import Expand, RawRecipient, Send, SendRequest
from tocsin.push.online_first import online_check
from tocsin.push.templates import needed_details

Route = tuple[Integration, DeviceFilter | None]
"""A credential and its part of the filter; `None` for raw recipients."""


def find_routes(integrations: Integrations, request: SendRequest) -> list[Route]:
    """All credentials that the request can go through, in a stable order."""
    recipient = request.recipient
    if isinstance(recipient, RawRecipient):
        chosen = integrations.choose(recipient.provider, request.integration)
        return [(chosen, None)] if chosen else []
    return [
        route
        for provider in request.bodies
        if not recipient.providers or provider in recipient.providers
        for route in integrations.walks(provider, recipient, only=request.integration)
    ]


def providers_of(routes: list[Route]) -> list[str]:
    """The providers of these, each once."""
    return list(dict.fromkeys(integration.provider for integration, _ in routes))


def works_of(route: Route, request: SendRequest, now_ms: int) -> list[Expand | Send]:
    """One walk for a filter, batches for raw recipients."""
    integration, filter = route
    recipient = request.recipient
    if filter is not None:
        details = needed_details(request)
        online = online_check(request, now_ms)
        return [Expand(filter, details=details, online=online)]
    assert isinstance(recipient, RawRecipient)  # noqa: S101 - what else has no filter
    size = max(1, integration.batch_size)
    targets = recipient.targets
    return [
        Send(recipient.kind, targets[at : at + size])
        for at in range(0, len(targets), size)
    ]
