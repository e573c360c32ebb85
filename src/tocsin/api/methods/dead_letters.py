"""API methods for dead letters.

They translate and call `DeadLetterService`; they decide nothing.
"""

from __future__ import annotations

from tocsin.api.call import Call, Services
from tocsin.api.convert_admin import (
    choice_from,
    fill_view,
    group_of,
    letter_filter_from,
    mend_from,
    summary_of,
)
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


async def list_dead_letter_groups(
    services: Services,
    request: admin_pb2.ListDeadLetterGroupsRequest,
    result: admin_pb2.ListDeadLetterGroupsResult,
    _call: Call,
) -> None:
    """Letters that fit a filter, counted."""
    chosen = letter_filter_from(request.filter)
    groups = await services.operators.dead_letters.groups(chosen)
    result.groups.extend(map(group_of, groups))
    result.letters = sum(group.letters for group in groups)


async def get_dead_letter(
    services: Services,
    request: admin_pb2.GetDeadLetterRequest,
    result: admin_pb2.GetDeadLetterResult,
    call: Call,
) -> None:
    """One letter with its job."""
    view = await services.operators.dead_letters.look(
        request.id, actor=call.actor, with_body=request.with_body
    )
    fill_view(result, view)


async def replay_dead_letters(
    services: Services,
    request: admin_pb2.ReplayDeadLettersRequest,
    result: admin_pb2.ReplayDeadLettersResult,
    call: Call,
) -> None:
    """Put letters back to work."""
    mend = mend_from(request.body) if request.HasField("body") else None
    done = await services.operators.dead_letters.replay(
        choice_from(request), actor=call.actor, mend=mend
    )
    result.replayed, result.matched = done.changed, done.matched
    result.unknown_ids.extend(done.unknown_ids)
    result.next_cursor = done.next_cursor


async def purge_dead_letters(
    services: Services,
    request: admin_pb2.PurgeDeadLettersRequest,
    result: admin_pb2.PurgeDeadLettersResult,
    call: Call,
) -> None:
    """Forget letters for good."""
    done = await services.operators.dead_letters.purge(
        choice_from(request), actor=call.actor
    )
    result.purged, result.matched = done.changed, done.matched
    result.unknown_ids.extend(done.unknown_ids)
    result.next_cursor = done.next_cursor
