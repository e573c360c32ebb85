"""API methods for accepted sends, as operators see them.

They translate and call `SendsService` and `SendAudit`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.api.convert_admin import group_of
from tocsin.api.convert_sends import finding_of, hold_of, send_of, walk_of
from tocsin.core.ports.send_log import SendQuery
from tocsin.protocol import admin_pb2


async def get_send(
    services: Services,
    request: admin_pb2.GetSendRequest,
    result: admin_pb2.GetSendResult,
    _call: Call,
) -> None:
    """One send with its account, its holds and its dead letters."""
    life = await services.operators.sends.get(uid=request.uid, push_id=request.push_id)
    view = life.view
    result.send.CopyFrom(send_of(view))
    result.walks.extend(map(walk_of, view.walks))
    result.open_units = len(view.account.units)
    result.holds.extend(map(hold_of, view.holds))
    result.dead_letters.extend(map(group_of, life.letters))
    result.dead_letters_cut = life.is_cut


async def list_sends(
    services: Services,
    request: admin_pb2.ListSendsRequest,
    result: admin_pb2.ListSendsResult,
    _call: Call,
) -> None:
    """Some sends, newest first."""
    query = SendQuery(
        uid=request.uid, since_ms=request.since_ms, until_ms=request.until_ms
    )
    page = await services.operators.sends.page(
        query, states=request.states, cursor=request.cursor, limit=request.limit
    )
    result.items.extend(map(send_of, page.items))
    result.next_cursor = page.next_cursor
    result.has_more = bool(page.next_cursor)


async def audit_sends(
    services: Services,
    request: admin_pb2.AuditSendsRequest,
    result: admin_pb2.AuditSendsResult,
    _call: Call,
) -> None:
    """What is wrong with some sends."""
    query = SendQuery(since_ms=request.since_ms, until_ms=request.until_ms)
    report = await services.operators.send_audit.look(
        query, cursor=request.cursor, limit=request.limit
    )
    result.findings.extend(map(finding_of, report.findings))
    result.checked, result.open = report.checked, report.open
    result.next_cursor = report.next_cursor
    result.has_more = bool(report.next_cursor)
