"""Transports room: a page to try the server with the browser SDK.

It must not know sessions: the page connects as any client does, and the SDK is a file
that somebody else made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from aiohttp import web

_KINDS = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "centrifuge.js": "text/javascript",
    "centrifuge.LICENSE.txt": "text/plain",
}
_SDK = "centrifuge.js"
_SETTINGS = "settings.json"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'{sockets}; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", re.ASCII)


class DemoPage:
    """Serves the page and what it needs.

    `transports` are the paths of the transports by the SDK's names; `emulation` is the
    path that commands go to where a transport only streams down.
    """

    def __init__(
        self,
        prefix: str,
        transports: Mapping[str, str],
        emulation: str,
        *,
        sdk_file: Path | None = None,
    ) -> None:
        """Reads everything; raises `OSError` for an SDK that cannot be read.

        Without `sdk_file` it is the one that comes with this package.
        """
        self._prefix = prefix.rstrip("/")
        self._settings = {"transports": dict(transports), "emulation": emulation}
        folder = files("tocsin.transports") / "demo_page"
        self._files = {
            name: (kind, (folder / name).read_bytes()) for name, kind in _KINDS.items()
        }
        if sdk_file is not None:
            self._files[_SDK] = (_KINDS[_SDK], sdk_file.read_bytes())

    def routes(self) -> list[web.RouteDef]:
        """The page, below its prefix."""
        routes = [web.get(f"{self._prefix}/{{name:.*}}", self._serve)]
        if self._prefix:
            routes.append(web.get(self._prefix, self._redirect))
        return routes

    async def _redirect(self, _request: web.Request) -> web.Response:
        """To the slash, so that the page finds its parts."""
        raise web.HTTPFound(f"{self._prefix}/")

    async def _serve(self, request: web.Request) -> web.Response:
        name = request.match_info["name"] or "index.html"
        headers = _headers(request.host)
        if name == _SETTINGS:
            return web.json_response(self._settings, headers=headers)
        found = self._files.get(name)
        if found is None:
            raise web.HTTPNotFound
        kind, body = found
        return web.Response(
            body=body, content_type=kind, charset="utf-8", headers=headers
        )


def _headers(host: str) -> dict[str, str]:
    """Headers that let the page load from this server alone, without inline scripts.

    Older browsers do not take `'self'` for WebSocket, so the host is named too. It
    comes from the client and is checked, since it goes into a header.
    """
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY.format(sockets=sockets),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
