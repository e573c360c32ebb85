"""API methods for the audit log.

They translate and call `AuditTrail`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.core.ports.audit import AuditFilter
from tocsin.protocol import admin_pb2


async def list_audit_log(
    services: Services,
    request: admin_pb2.ListAuditLogRequest,
    result: admin_pb2.ListAuditLogResult,
    _call: Call,
) -> None:
    """Some of the calls that fit, newest first."""
    chosen = AuditFilter(
        actors=tuple(request.actors),
        methods=tuple(request.methods),
        since_ms=request.since_ms,
        until_ms=request.until_ms,
    )
    page = await services.operators.audit.page(
        chosen, cursor=request.cursor, limit=request.limit
    )
    for entry in page.items:
        result.items.add(
            id=entry.id,
            at_ms=entry.at_ms,
            actor=entry.actor,
            address=entry.address,
            door=entry.door,
            method=entry.method,
            subject=entry.subject,
            count=entry.count,
            result=entry.result,
        )
    result.next_cursor = page.next_cursor
    result.has_more = bool(page.next_cursor)
