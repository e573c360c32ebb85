"""API room: the HTTP port with liveness, readiness and metrics.

Servers and workers open one each. It knows no dependency: the checks and the metrics
are handed in.
"""

from __future__ import annotations

import asyncio
import errno
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
from aiohttp import web

from tocsin.api.http_connection import (
    HEADER_TIMEOUT_S,
    WRITE_TIMEOUT_S,
    build_runner,
)
from tocsin.api.listening import IN_USE, ListenError, join_address
from tocsin.api.tls import DoorTls
from tocsin.core.errors import DependencyLost, InternalError
from tocsin.hub.share import TurnShare
from tocsin.telemetry.open_metrics import is_asked_for
from tocsin.telemetry.throttle import LineThrottle

Notices = Callable[[], Mapping[str, str]]
"""Dependency → something worth knowing about it, although it can be used."""

CHECKS_KEPT_S = 1.0
"""How long the outcome of a check answers further requests: a check writes to its
store, and `/ready` needs no key."""

Check = Callable[[], Awaitable[object]]
"""Raises when its dependency cannot be used now."""

RenderMetrics = Callable[[], tuple[bytes, str]]
"""Returns the exposition and its content type."""

_log = structlog.get_logger(__name__)


async def _not_found(_request: web.Request) -> web.Response:
    return web.Response(text="404 page not found\n", status=404)


class HttpGateway:
    """Serves `/health`, `/ready` and `/metrics`; `port` is known after `start`.

    `max_body_bytes` holds for every route, `tls` for the whole port.

    `host` empty is every address, `port` 0 is any free one. `/ready` runs the `checks`,
    each within `check_timeout_s` and once a second at most, and adds the `notices`,
    which make nothing unready. `routes` are further routes; a stop waits
    `shutdown_timeout_s` for their open requests. `setting` is the configuration key of
    the port, for the error of a busy one. With `reuse_port` other processes may open
    the same port, and the kernel spreads connections over them.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        checks: Mapping[str, Check] | None = None,
        notices: Notices = dict,
        render_metrics: RenderMetrics | None = None,
        render_exemplars: RenderMetrics | None = None,
        health: bool = True,
        routes: Iterable[web.AbstractRouteDef] = (),
        check_timeout_s: float = 2.0,
        shutdown_timeout_s: float = 1.0,
        setting: str = "http_server.port",
        tls: DoorTls | None = None,
        max_body_bytes: int = 1024 * 1024,
        head_timeout_s: float = HEADER_TIMEOUT_S,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        reuse_port: bool = False,
    ) -> None:
        self.port = port
        self._host = host
        self._checks = dict(checks or {})
        self._notices = notices
        self._render_metrics = render_metrics
        self._render_exemplars = render_exemplars
        self._check_timeout_s = check_timeout_s
        self._shutdown_timeout_s = shutdown_timeout_s
        self._setting = setting
        self._tls = tls
        self._max_body_bytes = max_body_bytes
        self._head_timeout_s = head_timeout_s
        self._write_timeout_s = write_timeout_s
        self._reuse_port = reuse_port
        self._draining = False
        self._lines = LineThrottle(_log)
        self._known: dict[str, tuple[float, str]] = {}
        self._asking: dict[str, asyncio.Task[str]] = {}
        self._runner: web.AppRunner | None = None
        self._routes = list(routes)
        if health:
            self._routes += [
                web.route("*", "/health", self._health),
                web.route("*", "/ready", self._ready),
            ]

    async def start(self) -> None:
        """Open the port and serve; raises `ListenError` naming a busy port."""
        context = None if self._tls is None else self._tls.listening_context()
        share = TurnShare()
        app = web.Application(client_max_size=self._max_body_bytes)
        app.add_routes(self._routes)
        if self._render_metrics is not None:
            exposition = _Exposition(
                self._render_metrics, share, self._render_exemplars
            )
            app.router.add_route("*", "/metrics", exposition.answer)
        # Added last: it takes every path that no other route has.
        app.router.add_route("*", "/{path:.*}", _not_found)
        runner = build_runner(
            app,
            head_timeout_s=self._head_timeout_s,
            write_timeout_s=self._write_timeout_s,
            shutdown_timeout_s=self._shutdown_timeout_s,
            share=share,
        )
        await runner.setup()
        site = web.TCPSite(
            runner,
            self._host or None,
            self.port,
            reuse_port=self._reuse_port,
            ssl_context=context,
        )
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()  # `stop` does not know a runner that never listened
            raise self._listen_error(error) from error
        self._runner = runner
        self.port = runner.addresses[0][1]

    def begin_drain(self) -> None:
        """Let `/ready` answer 503 from now on, so that balancers stop sending."""
        self._draining = True

    async def stop(self) -> None:
        """Close the port."""
        self._draining = True
        # A check may wait for a dependency that is away; a stop does not.
        for asking in self._asking.values():
            asking.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _listen_error(self, error: OSError) -> ListenError:
        reason = error.strerror or type(error).__name__
        if error.errno == errno.EADDRINUSE:
            reason = IN_USE
        return ListenError(
            join_address(self._host or "*", self.port), self._setting, reason
        )

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({})

    async def _ready(self, _request: web.Request) -> web.Response:
        results = await asyncio.gather(*map(self._run_check, self._checks))
        states = dict(zip(self._checks, results, strict=True))
        if self._draining:
            states["server"] = "shutting down"
        ready = all(state == "ok" for state in states.values())
        answer: dict[str, object] = {"ready": ready, "checks": states}
        if notices := self._notices():
            answer["notices"] = dict(notices)
        return web.json_response(
            answer,
            status=200 if ready else 503,
            dumps=lambda data: json.dumps(data, sort_keys=True),
        )

    async def _run_check(self, name: str) -> str:
        """`ok` or the reason why not; an outcome of the last second is used again."""
        until, state = self._known.get(name, (0.0, ""))
        if time.monotonic() < until:
            return state
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._ask(name))
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        # `wait` does not cancel the check at its timeout: the next request waits for
        # the same one, and no second check starts.
        done, _ = await asyncio.wait({asking}, timeout=self._check_timeout_s)
        if done and not asking.cancelled():
            return asking.result()
        state = f"no answer within {self._check_timeout_s:g} s"
        _log.warning("not ready", dependency=name, reason=state)
        return self._keep(name, state)

    def _keep(self, name: str, state: str) -> str:
        self._known[name] = time.monotonic() + CHECKS_KEPT_S, state
        return state

    async def _ask(self, name: str) -> str:
        """`ok` or the reason why not, in a text that callers may read.

        So the text of an error of a library is left out: it may hold a DSN.
        """
        more: dict[str, str] = {}
        try:
            await self._checks[name]()
        except DependencyLost as error:
            state = error.detail
        except Exception as error:  # noqa: BLE001 - whatever fails is not ready
            state = f"failed: {type(error).__name__}"
            if isinstance(error, InternalError):
                state = error.detail or state
                more = {"cause": error.reason} if error.reason else {}
        else:
            return self._keep(name, "ok")
        # Throttled: `/ready` needs no key, and may be asked at any rate.
        self._lines.warning(
            "not ready", kind=name, dependency=name, reason=state, **more
        )
        return self._keep(name, state)


class _Exposition:
    """`/metrics`; one rendering answers all requests that come before it begins.

    Rendering takes long, so it waits for its share of a turn. `with_exemplars` renders
    it for whoever asks for OpenMetrics.
    """

    def __init__(
        self,
        render: RenderMetrics,
        share: TurnShare,
        with_exemplars: RenderMetrics | None = None,
    ) -> None:
        self._render = render
        self._share = share
        self._coming: asyncio.Future[tuple[bytes, str]] | None = None
        self._other = _Exposition(with_exemplars, share) if with_exemplars else None

    async def answer(self, request: web.Request) -> web.Response:
        other = self._other
        if other is not None and is_asked_for(request.headers.get("Accept", "")):
            return await other.answer(request)
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._render_once())
        # Shielded: a caller that goes away must not cancel it for the others.
        body, content_type = await asyncio.shield(self._coming)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _render_once(self) -> tuple[bytes, str]:
        await self._share.pause()
        self._coming = None  # who asks from now on gets newer figures
        return self._render()
