"""Joins channels and pushes: publish first, and look who is there.

Everything that is opened here is closed by the exit stack of the caller.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AsyncExitStack

import structlog

from tocsin.app.counted import CountedPresence
from tocsin.app.realtime import Realtime
from tocsin.channels.publishing import Publisher, PublishRequest
from tocsin.config import Config
from tocsin.core.errors import ApiError, BadRequest, NotAvailable, UnknownChannel
from tocsin.core.ports.channels import PresenceStore
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.online import ReachedStore, Stage
from tocsin.core.push import OnlineFirst
from tocsin.delivery.online import KEPT_S, OnlineUsers, fetch_users
from tocsin.telemetry.metrics import Metrics

NO_WORKER_SEES = (
    "online_first: with engine.type memory only a worker inside this server can see who"
    " is online; set engine.type redis, or worker.embedded where this server is alone"
)

_log = structlog.get_logger(__name__)


class ChannelFirst:
    """`OnlinePublisher` by the rules of the Publish call."""

    def __init__(
        self,
        publisher: Publisher,
        presence: PresenceStore,
        reached: ReachedStore,
        *,
        workers_see: bool,
    ) -> None:
        self._publisher = publisher
        self._presence = presence
        self._reached = reached
        self._workers_see = workers_see

    def check(self, request: OnlineFirst) -> None:
        """See the port."""
        if not self._workers_see:
            raise NotAvailable(NO_WORKER_SEES)
        try:
            options = self._publisher.check(request.channel, _publication(request))
        except BadRequest as error:
            raise BadRequest(f"online_first.{error.field}", error.reason) from None
        except UnknownChannel as error:
            raise UnknownChannel(f"online_first.channel: {error.detail}") from None
        except NotAvailable as error:
            raise NotAvailable(f"online_first.channel: {error.detail}") from None
        if not options.presence:
            raise NotAvailable("online_first.channel: presence is off in its namespace")

    async def publish(
        self,
        request: OnlineFirst,
        *,
        push_id: str,
        among: Collection[str],
        again: bool,
    ) -> None:
        """See the port."""
        ttl_s = KEPT_S + request.wait_ms // 1000
        users: Collection[str] = ()
        try:
            if again and await self._is_published(push_id, ttl_s):
                return
            await self._publisher.publish(
                request.channel, _publication(request, key=f"online_first:{push_id}")
            )
            # After publishing: whoever is seen now was there for it, or came later.
            users = await self._look(request.channel, among, push_id)
            await self._reached.add(push_id, users, Stage.PUBLISHED, ttl_s=ttl_s)
        except ApiError as error:
            _log.warning(
                "a push could not be published to its channel first, or not noted that"
                " it was; it goes to everybody",
                push_id=push_id,
                channel=request.channel,
                error=error.message,
            )

    async def _is_published(self, push_id: str, ttl_s: int) -> bool:
        stage = await self._reached.fetch_stage(push_id, ttl_s=ttl_s)
        return stage is not Stage.UNKNOWN

    async def _look(
        self, channel: str, among: Collection[str], push_id: str
    ) -> Collection[str]:
        """Who is there; nobody if that cannot be read, since there is a second look."""
        try:
            users = await fetch_users(self._presence, channel)
        except ApiError as error:
            _log.warning(
                "who was online at publishing cannot be read; who has left when the"
                " push is due gets it too",
                push_id=push_id,
                channel=channel,
                error=error.message,
            )
            return ()
        return users.intersection(among) if among else users


def build_channel_first(config: Config, realtime: Realtime) -> ChannelFirst:
    """What a server publishes with."""
    engine = realtime.engine
    return ChannelFirst(
        realtime.services.publisher,
        engine.presence,
        engine.reached,
        workers_see=not engine.is_local or config.worker_embedded,
    )


def open_online_users(
    config: Config, metrics: Metrics, clock: Clock, stack: AsyncExitStack
) -> OnlineUsers | None:
    """What a worker on its own looks with; `None` where channels are not shared."""
    if config.engine.type != "redis":
        return None
    from tocsin.broker.presence_redis import RedisPresence
    from tocsin.broker.reached_redis import RedisReached
    from tocsin.broker.redis_clients import open_clients

    redis = config.engine.redis
    clients = open_clients(
        redis.urls,
        connect_timeout_s=redis.connect_timeout,
        io_timeout_s=redis.io_timeout,
    )
    for client in clients:
        stack.push_async_callback(client.aclose)
    presence = RedisPresence(
        clients, prefix=redis.prefix, ttl_s=int(redis.presence_ttl)
    )
    return OnlineUsers(
        CountedPresence(presence, metrics),
        RedisReached(clients, prefix=redis.prefix),
        clock,
    )


def _publication(request: OnlineFirst, *, key: str = "") -> PublishRequest:
    return PublishRequest(
        data=request.data,
        b64data=request.b64data,
        tags=request.tags,
        idempotency_key=key,
    )
