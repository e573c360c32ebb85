"""API methods for credentials that their provider refuses or slows down.

They translate and call `CredentialService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.protocol import admin_pb2


async def list_credentials(
    services: Services,
    _request: admin_pb2.ListCredentialsRequest,
    result: admin_pb2.ListCredentialsResult,
    _call: Call,
) -> None:
    """All of them."""
    for status in await services.operators.credentials.list():
        item = result.items.add(
            provider=status.provider,
            integration=status.integration,
            state=status.state.value,
            waiting_jobs=status.waiting,
            is_configured=status.is_configured,
        )
        if (breaker := status.breaker) is not None:
            item.code = breaker.code
            item.detail = breaker.detail
            item.push_id = breaker.push_id
            item.opened_at_ms = breaker.opened_at_ms
            item.until_ms = breaker.until_ms
            item.failed_probes = breaker.failed_probes


async def probe_credential(
    services: Services,
    request: admin_pb2.ProbeCredentialRequest,
    result: admin_pb2.ProbeCredentialResult,
    call: Call,
) -> None:
    """Let one be tried."""
    desk = services.operators.credentials
    result.changed = await desk.probe(request.integration, actor=call.actor)


async def close_credential(
    services: Services,
    request: admin_pb2.CloseCredentialRequest,
    result: admin_pb2.CloseCredentialResult,
    call: Call,
) -> None:
    """Let all that waits for one go on."""
    desk = services.operators.credentials
    result.changed = await desk.close(request.integration, actor=call.actor)
