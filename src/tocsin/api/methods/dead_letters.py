"""API methods for dead letters.

They translate and call `DeadLetterService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.api.convert_admin import letter_filter_from, summary_of
from tocsin.protocol import admin_pb2


async def list_dead_letters(
    services: Services,
    request: admin_pb2.ListDeadLettersRequest,
    result: admin_pb2.ListDeadLettersResult,
    _call: Call,
) -> None:
    """Some of the letters that fit a filter."""
    page = await services.operators.dead_letters.page(
        letter_filter_from(request.filter), cursor=request.cursor, limit=request.limit
    )
    result.items.extend(map(summary_of, page.items))
    result.next_cursor = page.next_cursor
    result.has_more = bool(page.next_cursor)
