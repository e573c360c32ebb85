"""The push services that subscriptions point to: connections to each, within bounds.

It lets no connection be made to an address that the rules refuse, and must not know
what a message is.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from tocsin.core.endpoints import EndpointRules
from tocsin.core.lanes import Priority
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.webpush import PushHeaders
from tocsin.http2 import Http2ConnectError, Http2Pool, RequestHead, look_up

MAX_ORIGINS = 32
"""Origins with connections at a time; Edge alone has dozens of them."""
_IDLE_S = 120.0
_THROTTLES_BEFORE_HOLD = 3
"""This many 429 in a row concern the origin; a single one may be about one device."""
_LONGEST_REST_S = 1800.0
"""The longest rest in seconds, also where an origin asks for more: then it is tried
again."""
_WNS_SUFFIX = ".notify.windows.com"

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes host and port, returns all numeric addresses; OSError when there are none."""


class OriginGate:
    """Resolves a host for each connection anew, and passes on public addresses only.

    The addresses that were checked are the ones that are dialled, so a name that
    changes its address in between (DNS rebinding) gains nothing. `refused` says why
    the last try was refused, or is empty.
    """

    def __init__(self, rules: EndpointRules, lookup: Lookup) -> None:
        self._rules = rules
        self._lookup = lookup
        self.refused = ""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses that may be dialled; OSError when there are none."""
        self.refused = ""
        found = await self._lookup(host, port)
        admitted = [address for address in found if self._rules.admits(address)]
        if found and not admitted:
            self.refused = f"{host} has private addresses only"
        if not admitted:
            raise OSError(self.refused or f"{host} has no address")
        return admitted


class BrowserService:
    """One origin: its connections, its request head, and whether it wants a rest."""

    def __init__(self, origin: str, gate: OriginGate, pool: Http2Pool) -> None:
        self.origin = origin
        self.pool = pool
        self.users = 0
        self._gate = gate
        self._head: tuple[str, PushHeaders, RequestHead] | None = None
        self._throttled = 0
        self._held_until = 0.0

    def head(self, authorization: str, push: PushHeaders) -> RequestHead:
        """The head of a push without its path; the last one is kept."""
        known = self._head
        if known is None or known[0] != authorization or known[1] != push:
            headers = {
                "authorization": authorization,
                "content-encoding": "aes128gcm",
                "content-type": "application/octet-stream",
                "ttl": str(push.ttl_s),
            }
            if push.urgency:
                headers["urgency"] = push.urgency
            if push.topic:
                headers["topic"] = push.topic
            if self.pool.origin.host.endswith(_WNS_SUFFIX):
                # WNS answers 400 to a TTL of 0 with a cache, and the reverse.
                policy = "cache" if push.ttl_s else "no-cache"
                headers["x-wns-cache-policy"] = policy
            head = RequestHead.build("POST", self.origin, "/", headers)
            self._head = known = (authorization, push, head)
        return known[2]

    async def connect(self, priority: Priority = Priority.NORMAL) -> Outcome | None:
        """Wait until a request may be sent, or say why none can be."""
        try:
            await self.pool.wait_room(priority)
        except Http2ConnectError as error:
            if self._gate.refused:
                return Outcome(Verdict.REJECTED, "address_refused", self._gate.refused)
            return Outcome(Verdict.RETRY, "connect_failed", error.reason)
        return None

    def rest(self) -> Outcome | None:
        """What everybody gets while the origin wants to be left alone."""
        left_s = self._held_until - asyncio.get_running_loop().time()
        if left_s <= 0:
            return None
        detail = f"{self.origin} asked for a rest; not sent"
        return Outcome(Verdict.RETRY, "quota_exceeded", detail, retry_after_s=left_s)

    def heard(self, status: int, retry_after_s: float | None) -> None:
        """Take one answer in."""
        if status != 429:
            self._throttled = 0
            return
        self._throttled += 1
        if self._throttled >= _THROTTLES_BEFORE_HOLD and retry_after_s:
            now = asyncio.get_running_loop().time()
            rest_s = min(_LONGEST_REST_S, retry_after_s)
            self._held_until = max(self._held_until, now + rest_s)


class BrowserServices:
    """All origins in use: at most `MAX_ORIGINS`, the longest unused one goes first."""

    def __init__(
        self,
        rules: EndpointRules,
        *,
        ssl_context: ssl.SSLContext,
        max_connections: int,
        request_timeout_s: float,
        lookup: Lookup = look_up,
        max_origins: int = MAX_ORIGINS,
    ) -> None:
        self._rules = rules
        self._ssl = ssl_context
        self._max_connections = max_connections
        self._request_timeout_s = request_timeout_s
        self._lookup = lookup
        self._max_origins = max_origins
        self._services: OrderedDict[str, BrowserService] = OrderedDict()
        self._freed = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._services)

    @asynccontextmanager
    async def use(self, origin: str) -> AsyncIterator[BrowserService]:
        """The service of an origin, kept open until the end of the context.

        Waits while all places are taken by origins in use. So nobody who holds one may
        wait for a second: two who did would wait for each other.
        """
        while (service := self._services.get(origin)) is None:
            if len(self._services) < self._max_origins or self._close_unused():
                service = self._services[origin] = self._open(origin)
                break
            # No await between the checks above and this: no `set` can be
            # missed.
            self._freed.clear()
            await self._freed.wait()
        service.users += 1
        # The order of the dict is the order of last use; `_close_unused` takes
        # the first.
        self._services.move_to_end(origin)
        try:
            yield service
        finally:
            service.users -= 1
            self._freed.set()

    async def aclose(self) -> None:
        """Close all connections."""
        services = list(self._services.values())
        self._services.clear()
        closing = [service.pool.aclose() for service in services]
        await asyncio.gather(*closing, *self._closing)

    def _close_unused(self) -> bool:
        """Make room by closing the one that was not used for longest."""
        for origin, service in self._services.items():
            if not service.users:
                del self._services[origin]
                task = asyncio.create_task(service.pool.aclose())
                # The loop keeps only weak references to tasks, and
                # `aclose` waits for these.
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
                return True
        return False

    def _open(self, origin: str) -> BrowserService:
        gate = OriginGate(self._rules, self._lookup)
        pool = Http2Pool(
            origin,
            ssl_context=self._ssl,
            max_connections=self._max_connections,
            request_timeout_s=self._request_timeout_s,
            idle_timeout_s=_IDLE_S,
            resolve=gate,
        )
        return BrowserService(origin, gate, pool)
