"""What reading a stream at subscribe brings, at its borders."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.support.realtime import OPEN_CHANNEL

from tocsin.broker.memory import MemoryBroker
from tocsin.core.channel import (
    History,
    HistoryFilter,
    Publication,
    PublishOptions,
    RecoveryMode,
    StreamPosition,
)
from tocsin.protocol.delta import apply_delta
from tocsin.protocol.frames import Encoding, WireForm
from tocsin.sessions.recovery import Recovery, recover, recovered_messages

STORED = PublishOptions(history_size=10, history_ttl_s=300)
STREAM = replace(OPEN_CHANNEL, history_meta_ttl=77)
CACHE = replace(STREAM, force_recovery_mode=RecoveryMode.CACHE)
JSON = WireForm("json", Encoding.JSON, bytes)
PROTOBUF = WireForm("protobuf", Encoding.PROTOBUF, bytes)


class Broker(MemoryBroker):
    """Remembers how long it was told to keep what it knows of a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.meta_ttls: set[int] = set()

    async def fetch_history(
        self, channel: str, filter: HistoryFilter, *, meta_ttl_s: int
    ) -> History:
        self.meta_ttls.add(meta_ttl_s)
        return await super().fetch_history(channel, filter, meta_ttl_s=meta_ttl_s)


async def filled(count: int) -> tuple[Broker, str]:
    broker = Broker()
    for number in range(1, count + 1):
        await broker.publish("a", b"%d" % number, STORED)
    history = await broker.fetch_history("a", HistoryFilter(), meta_ttl_s=77)
    return broker, history.top.epoch


@pytest.mark.parametrize(
    ("limit", "recovered"), [(-1, True), (0, True), (1, False), (3, False), (4, True)]
)
async def test_who_missed_more_than_the_limit_gets_nothing(
    limit: int, recovered: bool
) -> None:
    """None, where it is 0: then all that is kept comes back."""
    broker, epoch = await filled(6)
    since = StreamPosition(2, epoch)
    found = await recover(broker, "a", STREAM, since, limit=limit)
    assert (found.recovered, found.was_recovering) == (recovered, True)
    offsets = [each.offset for each in found.publications]
    assert offsets == ([3, 4, 5, 6] if recovered else [])
    assert found.top == StreamPosition(6, epoch)
    assert broker.meta_ttls == {77}


async def test_one_that_was_missed_is_within_a_limit_of_one() -> None:
    """The least limit that there is."""
    broker, epoch = await filled(6)
    found = await recover(broker, "a", STREAM, StreamPosition(5, epoch), limit=1)
    assert [each.offset for each in found.publications] == [6]


@pytest.mark.parametrize(
    ("count", "offset", "own_epoch", "recovered", "expected"),
    [
        (3, 3, True, True, []),
        (3, 2, True, True, [3]),
        (3, 0, True, True, [3]),
        (3, 9, True, True, [3]),
        (3, 3, False, True, [3]),
        (1, 1, True, True, []),
        (0, 0, True, False, []),
    ],
)
async def test_a_cache_gives_the_latest_unless_it_is_known(
    count: int, offset: int, own_epoch: bool, recovered: bool, expected: list[int]
) -> None:
    """Whatever was missed before it; of an empty stream nothing is known."""
    broker, epoch = await filled(count)
    since = StreamPosition(offset, epoch if own_epoch else "another")
    found = await recover(broker, "a", CACHE, since, limit=0)
    assert (found.recovered, found.was_recovering) == (recovered, True)
    assert [each.offset for each in found.publications] == expected


async def test_a_cache_that_lost_its_latest_gives_nothing() -> None:
    """An older publication is not what the channel holds now."""
    broker, epoch = await filled(3)
    await broker.remove_history("a")
    found = await recover(broker, "a", CACHE, StreamPosition(2, epoch), limit=0)
    assert (found.recovered, found.publications) == (False, ())


@pytest.mark.parametrize("form", [JSON, PROTOBUF], ids=lambda form: form.name)
@pytest.mark.parametrize("wants_delta", [False, True])
async def test_deltas_give_the_same_data_in_either_encoding(
    form: WireForm, wants_delta: bool
) -> None:
    """The first whole, later ones as changes where these are shorter."""
    texts = [b'{"n":%d,"pad":"%s"}' % (n, b"x" * 100) for n in range(1, 4)] + [b"4"]
    publications = tuple(
        Publication(text, offset=n) for n, text in enumerate(texts, start=1)
    )
    recovery = Recovery(StreamPosition(4, "e"), publications, True, True)
    messages = recovered_messages(
        form, recovery, condition=None, wants_delta=wants_delta
    )
    assert [each.offset for each in messages] == [1, 2, 3, 4]
    assert [each.epoch for each in messages] == ["e", "", "", ""]
    assert [each.delta for each in messages] == [
        wants_delta and n in (1, 2) for n in range(4)
    ]
    before = b""
    for message, text in zip(messages, texts, strict=True):
        data = message.data
        if wants_delta and form is JSON:
            data = unquoted(data)
        if message.delta:
            assert len(data) < len(text)
            data = apply_delta(before, data)
        assert data == text
        before = text


def unquoted(data: bytes) -> bytes:
    """The text that JSON clients get where they negotiated deltas."""
    text = json.loads(data)
    assert isinstance(text, str)
    return text.encode()
