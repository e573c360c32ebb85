"""Pub/sub and history in Redis, over one server, a cluster, or several of either.

Part of the broker room; it knows no namespace and no client. A publish is one
script on one server, so its check, its place in the stream and its fan-out cannot
come apart. Keys are the published ones; a channel's keys share a hash tag where
the server is a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from redis.asyncio import Redis

from tocsin.broker.memory import DEFAULT_META_TTL_S, RESULT_TTL_S, make_epoch
from tocsin.broker.messages import (
    JOIN,
    LEAVE,
    Joined,
    Left,
    encode_info,
    encode_publication,
    parse_message,
    parse_publication,
)
from tocsin.broker.redis_shard import RedisShard, load_script
from tocsin.broker.sharding import find_shard
from tocsin.core.channel import (
    ClientInfo,
    History,
    HistoryFilter,
    Publication,
    PublishOptions,
    PublishResult,
    StreamPosition,
)
from tocsin.core.errors import (
    BadRequest,
    BrokerUnavailable,
    UnrecoverablePosition,
)
from tocsin.core.ports.channels import BrokerListener
from tocsin.redis_access.commands import is_cluster, is_one_server, tagged, untagged
from tocsin.redis_access.joined import JoinedScript

_SUPPRESSED = ("", "idempotency", "version")

_log = structlog.get_logger(__name__)


class RedisBroker:
    """`Broker` in Redis; see the port for what each method promises.

    The clients belong to whoever opened them. With several, a channel lives on
    the one that `find_shard` names; their order is part of that.
    """

    def __init__(
        self,
        clients: Sequence[Redis],
        *,
        prefix: str = "centrifugo",
    ) -> None:
        self._prefix = prefix
        self._listener: BrokerListener | None = None
        self._shards = [
            RedisShard(
                client,
                on_message=partial(self._take, is_cluster(client)),
                on_gap=self._tell_gap,
            )
            for client in clients
        ]

        # Only for one server: with a cluster or Sentinels each call has to find the
        # server that is in charge of its key.
        self._publishing = {
            shard: JoinedScript(client, load_script("publish"), _away)
            for shard, client in zip(self._shards, clients, strict=True)
            if is_one_server(client)
        }

    def listen(self, listener: BrokerListener) -> None:
        """See the port."""
        self._listener = listener

    async def start(self) -> None:
        """See the port."""
        for number, shard in enumerate(self._shards):
            await shard.start([f"{self._prefix}.shard.{number}"])

    async def close(self) -> None:
        """See the port."""
        for joined in self._publishing.values():
            await joined.close()
        for shard in self._shards:
            await shard.close()

    async def check(self) -> None:
        """See the port."""
        for shard in self._shards:
            await shard.check(f"{self._prefix}.ready")

    async def subscribe(self, channel: str) -> None:
        """See the port."""
        shard = self._shard(channel)
        await shard.subscribe(self._key(shard, "client", channel))

    async def unsubscribe(self, channel: str) -> None:
        """See the port."""
        shard = self._shard(channel)
        await shard.unsubscribe(self._key(shard, "client", channel))

    async def publish(
        self, channel: str, data: bytes, options: PublishOptions
    ) -> PublishResult:
        """See the port."""
        publication = Publication(data, 0, options.info, options.tags, options.version)
        keeps = options.history_size > 0 and options.history_ttl_s > 0
        key = options.idempotency_key
        shard = self._shard(channel)
        offset, epoch, reason = await self._run_publish(
            shard,
            [
                *self._stream_keys(shard, channel),
                self._key(shard, "result", channel, _dotless(key)),
            ],
            [
                self._key(shard, "client", channel),
                encode_publication(publication),
                options.history_size if keeps else 0,
                options.history_ttl_s,
                options.history_meta_ttl_s or DEFAULT_META_TTL_S,
                make_epoch(),
                int(RESULT_TTL_S) if key else 0,
                options.version,
                options.version_epoch,
                int(options.delta),
            ],
        )
        position = StreamPosition(int(offset), _text(epoch))
        return PublishResult(position, _SUPPRESSED[reason])

    async def _run_publish(
        self, shard: RedisShard, keys: list[str], arguments: list[Any]
    ) -> Any:
        joined = self._publishing.get(shard)
        if joined is not None:
            return await joined(keys, arguments)
        return await shard.run_script("publish", keys, arguments)

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        await self._announce(channel, JOIN + encode_info(info))

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        await self._announce(channel, LEAVE + encode_info(info))

    async def fetch_history(
        self, channel: str, filter: HistoryFilter, *, meta_ttl_s: int
    ) -> History:
        """See the port."""
        since = filter.since
        if since is not None and filter.reverse and since.offset == 0:
            raise BadRequest("since.offset", "must be above 0 in reverse")
        shard = self._shard(channel)
        offset, epoch, entries = await shard.run_script(
            "history",
            self._stream_keys(shard, channel),
            [
                make_epoch(),
                meta_ttl_s or DEFAULT_META_TTL_S,
                filter.limit,
                "" if since is None else since.offset,
                int(filter.reverse),
            ],
        )
        top = StreamPosition(int(offset), _text(epoch))
        # Checked after the read, which tells the epoch in the same step.
        if since is not None and since.epoch and since.epoch != top.epoch:
            raise UnrecoverablePosition
        return History(tuple(_parse_entry(entry) for entry in entries), top)

    async def remove_history(self, channel: str) -> None:
        """See the port."""
        shard = self._shard(channel)
        await shard.run("DEL", self._stream_key(shard, channel))

    async def _announce(self, channel: str, message: bytes) -> None:
        shard = self._shard(channel)
        await shard.run("PUBLISH", self._key(shard, "client", channel), message)

    def _shard(self, channel: str) -> RedisShard:
        return self._shards[find_shard(channel, len(self._shards))]

    def _stream_keys(self, shard: RedisShard, channel: str) -> list[str]:
        return [
            self._stream_key(shard, channel),
            self._key(shard, "stream.meta", channel),
        ]

    def _stream_key(self, shard: RedisShard, channel: str) -> str:
        # The stream of `meta.x` must not stand where `x` has its position.
        if not shard.is_cluster and channel.startswith(("meta.", ".")):
            channel = f".{channel}"
        return self._key(shard, "stream", channel)

    def _key(self, shard: RedisShard, kind: str, channel: str, more: str = "") -> str:
        name = tagged(channel) if shard.is_cluster else channel
        return f"{self._prefix}.{kind}.{name}" + (f".{more}" if more else "")

    def _take(self, is_tagged: bool, name: str, data: bytes) -> None:
        head = f"{self._prefix}.client."
        if self._listener is None or not name.startswith(head):
            return
        channel = name[len(head) :]
        if is_tagged:
            channel = untagged(channel)
        try:
            message = parse_message(data)
        except ValueError:
            _log.warning("foreign bytes on a channel were left out", channel=channel)
            return
        if isinstance(message, Joined):
            self._listener.on_join(channel, message.info)
        elif isinstance(message, Left):
            self._listener.on_leave(channel, message.info)
        else:
            self._listener.on_publication(
                channel, message.publication, message.position, message.previous
            )

    def _tell_gap(self) -> None:
        if self._listener is not None:
            self._listener.on_gap()


def _dotless(key: str) -> str:
    """An idempotency key without dots.

    A dot separates it from the channel, so channel `a` with key `b.c` would share a
    Redis key with channel `a.b` and key `c`.
    """
    return key.replace("%", "%25").replace(".", "%2E")


def _parse_entry(entry: Any) -> Publication:
    id, fields = entry
    return parse_publication(fields[1], int(_text(id).partition("-")[0]))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _away(error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(str(error))
