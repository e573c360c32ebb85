"""Transports room: a request that does nothing, for balancers with sticky sessions.

It opens no connection.
"""

from __future__ import annotations

from aiohttp import web

from tocsin.sessions.context import Context
from tocsin.transports.admission import Origins
from tocsin.transports.http_entry import cors_headers


class InitEndpoint:
    """The handler of `/connection/init`."""

    def __init__(self, context: Context) -> None:
        self._origins = Origins(context.settings.allowed_origins)

    async def handle(self, request: web.Request) -> web.Response:
        """`{}`, which pages of allowed origins may read; 405 for another verb."""
        if request.method != "GET":
            return web.Response(status=405, headers={"Allow": "GET"})
        is_allowed = self._origins.allows(request.headers.get("Origin"))
        headers = cors_headers(request) if is_allowed else {}
        return web.json_response({}, headers=headers)
