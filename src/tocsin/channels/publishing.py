"""Channels room: checks a publication and hands it to the broker.

It must not await anything but the broker: with the memory broker, which never waits, a
publish then runs in one go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tocsin.channels.namespaces import MUST_NOT_BE_EMPTY, Namespaces, check_named
from tocsin.channels.payloads import check_data, decode_payload
from tocsin.core.channel import (
    ChannelOptions,
    ClientInfo,
    PublishOptions,
    PublishResult,
)
from tocsin.core.client_codes import PERMISSION_DENIED, ClientFault
from tocsin.core.errors import ApiError, BadRequest
from tocsin.core.ports.channels import Broker

AT_ONCE = 1024
"""Publishes of one broadcast that wait for the broker at the same time."""
TURN = 256
"""Publishes in a row, at a broker that never waits, before others get their turn."""

_CACHED = 1000


@dataclass(slots=True)  # frozen ones take four times as long to make
class PublishRequest:
    """A publish of a back end, in the server API's names.

    `b64data` wins over `data`. `tags` are sent with the publication. For the key, the
    version and `delta` see `PublishOptions`.
    """

    data: bytes = b""
    b64data: str = ""
    skip_history: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str = ""
    delta: bool = False
    version: int = 0
    version_epoch: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether the namespace's options hold for it without a change."""
        return not (
            self.skip_history
            or self.tags
            or self.idempotency_key
            or self.delta
            or self.version
        )


class Publisher:
    """Publishes for back ends, and for clients that may.

    `on_suppressed` is called with the reason and the channel of each publication that
    the broker suppressed. `at_once` is 1 for a broker that never waits: there more
    tasks would gain nothing.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        broker: Broker,
        *,
        at_once: int = AT_ONCE,
        on_suppressed: Callable[[str, str], None] = lambda _reason, _channel: None,
    ) -> None:
        self._at_once = at_once
        self._namespaces = namespaces
        self._broker = broker
        self._on_suppressed = on_suppressed
        self._plain: dict[int, tuple[ChannelOptions, PublishOptions]] = {}

    async def publish(self, channel: str, request: PublishRequest) -> PublishResult:
        """Publish to one channel; position 0 and no epoch without history.

        Raises `BadRequest`, `UnknownChannel`, `NotAvailable`, and `InternalError`
        from the broker.
        """
        data, options = self._read(channel, request)
        return await self._publish(channel, data, options, request)

    def check(self, channel: str, request: PublishRequest) -> ChannelOptions:
        """Raise what `publish` would raise before the broker; publishes nothing."""
        data, options = self._read(channel, request)
        check_data(data, options)
        return options

    def _read(
        self, channel: str, request: PublishRequest
    ) -> tuple[bytes, ChannelOptions]:
        check_named(channel)
        data = request.data
        if request.b64data:
            data = decode_payload(data, request.b64data, "b64data")
        return data, self._namespaces.options_of(channel)

    async def broadcast(
        self, channels: Sequence[str], request: PublishRequest
    ) -> list[PublishResult | ApiError]:
        """Publish the same to many; results in the order of `channels`.

        A channel's error stands in its place; raises `BadRequest` for an error that
        concerns all channels.
        """
        if not channels:
            raise BadRequest("channels", MUST_NOT_BE_EMPTY)
        data = decode_payload(request.data, request.b64data, "b64data")
        results: list[PublishResult | ApiError] = [PublishResult()] * len(channels)
        numbered = iter(enumerate(channels))  # one for all workers: each takes the next

        async def work() -> None:
            for number, channel in numbered:
                results[number] = await self._publish_one(channel, data, request)
                # A broker that never waits would keep the loop to the end.
                if self._at_once == 1 and number % TURN == TURN - 1:
                    await asyncio.sleep(0)

        if self._at_once == 1:
            await work()
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._at_once, len(channels))):
                    group.create_task(work())
        return results

    async def publish_from_client(
        self, channel: str, data: bytes, info: ClientInfo, *, subscribed: bool
    ) -> PublishResult:
        """Publish what a client sent, under its own `info`.

        Raises as `publish`, and `ClientFault` (103) where it may not.
        """
        options = self._namespaces.options_for_client(channel)
        if options.publication_data_format or not data:
            check_data(data, options)
        if not self._namespaces.may_publish(
            options, user=info.user, subscribed=subscribed
        ):
            raise ClientFault(PERMISSION_DENIED)
        wanted = replace(self._plain_options(options), info=info)
        return await self._broker.publish(channel, data, wanted)

    async def _publish_one(
        self, channel: str, data: bytes, request: PublishRequest
    ) -> PublishResult | ApiError:
        try:
            check_named(channel)
            options = self._namespaces.options_of(channel)
            return await self._publish(channel, data, options, request)
        except ApiError as error:
            return error

    async def _publish(
        self,
        channel: str,
        data: bytes,
        options: ChannelOptions,
        request: PublishRequest,
    ) -> PublishResult:
        if options.publication_data_format or not data:
            check_data(data, options)
        wanted = self._plain_options(options)
        if not request.is_plain:
            wanted = _with_request(wanted, request)
        result = await self._broker.publish(channel, data, wanted)
        if result.suppressed:
            self._on_suppressed(result.suppressed, channel)
        return result

    def _plain_options(self, options: ChannelOptions) -> PublishOptions:
        """The options of a publish without wishes; made once for each namespace."""
        # Found by identity. After a reload an id may belong to other options: hence
        # the second check.
        found = self._plain.get(id(options))
        if found is not None and found[0] is options:
            return found[1]
        if len(self._plain) >= _CACHED:  # reloads leave some behind
            self._plain.clear()
        keeps = options.keeps_history
        made = PublishOptions(
            history_size=options.history_size if keeps else 0,
            history_ttl_s=options.history_ttl if keeps else 0,
            history_meta_ttl_s=options.history_meta_ttl,
            delta=options.delta_publish,
        )
        self._plain[id(options)] = (options, made)
        return made


def _with_request(plain: PublishOptions, request: PublishRequest) -> PublishOptions:
    keeps = not request.skip_history
    return PublishOptions(
        history_size=plain.history_size if keeps else 0,
        history_ttl_s=plain.history_ttl_s if keeps else 0,
        history_meta_ttl_s=plain.history_meta_ttl_s,
        idempotency_key=request.idempotency_key,
        version=request.version,
        version_epoch=request.version_epoch,
        delta=plain.delta or request.delta,
        tags=request.tags,
    )
