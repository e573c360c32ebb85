"""API methods for results: a page, and a stream.

They translate and call `ResultService`; they decide nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from tocsin.api.call import Call, Services
from tocsin.api.convert_admin import fill_result, result_filter_from
from tocsin.protocol import admin_pb2


async def list_results(
    services: Services,
    request: admin_pb2.ListResultsRequest,
    result: admin_pb2.ListResultsResult,
    _call: Call,
) -> None:
    """Some of those that fit, oldest first."""
    page = await services.operators.results.page(
        result_filter_from(request.filter),
        position=request.position,
        from_now=request.from_now,
        limit=request.limit,
        wait_s=request.wait_s,
    )
    for event in page.events:
        fill_result(result.results.add(), event)
    result.position = page.position


async def watch_results(
    services: Services, request: admin_pb2.WatchResultsRequest, _call: Call
) -> AsyncIterator[admin_pb2.WatchResultsResponse]:
    """All that fit, and those that come."""
    pages = services.operators.results.watch(
        result_filter_from(request.filter),
        position=request.position,
        from_now=request.from_now,
    )
    async for page in pages:
        message = admin_pb2.WatchResultsResponse(position=page.position)
        for event in page.events:
            fill_result(message.results.add(), event)
        yield message
