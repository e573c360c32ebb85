"""Every sentence of the `Broker` port, on every broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.brokers import KINDS, Heard, empty_engine, running_broker, until

from tocsin.core.channel import (
    ClientInfo,
    HistoryFilter,
    PublishOptions,
    StreamPosition,
)
from tocsin.core.errors import BadRequest, UnrecoverablePosition
from tocsin.core.ports.channels import Broker

ALL = HistoryFilter(limit=-1)
ANNA = ClientInfo("anna", "c1", b'{"n":1}', b'{"m":2}')


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(params=KINDS)
async def broker(request: pytest.FixtureRequest, heard: Heard) -> AsyncIterator[Broker]:
    """A started broker that holds nothing."""
    urls = empty_engine(request, request.param)
    async with running_broker(urls, heard) as broker:
        yield broker


def keep(**changes: object) -> PublishOptions:
    values = {"history_size": 5, "history_ttl_s": 60, "history_meta_ttl_s": 600}
    return PublishOptions(**{**values, **changes})  # type: ignore[arg-type]


async def read(broker: Broker, filter: HistoryFilter = ALL) -> list[bytes]:
    history = await broker.fetch_history("c", filter, meta_ttl_s=600)
    return [publication.data for publication in history.publications]


async def test_a_subscriber_hears_what_is_published(
    broker: Broker, heard: Heard
) -> None:
    """Data, info, tags and version arrive as given, without a position."""
    await broker.subscribe("c")
    options = PublishOptions(info=ANNA, tags={"a": "b"}, version=7)
    result = await broker.publish("c", b'{"x":1}', options)
    assert result.position == StreamPosition()
    await until(lambda: heard.publications)
    channel, publication, position, previous = heard.publications[0]
    assert (channel, publication.data, publication.info) == ("c", b'{"x":1}', ANNA)
    assert dict(publication.tags) == {"a": "b"}
    assert (publication.version, publication.offset) == (7, 0)
    assert (position, previous) == (StreamPosition(), None)


async def test_only_subscribed_channels_are_heard(broker: Broker, heard: Heard) -> None:
    """Others are silent, and an ended subscription is silent again."""
    await broker.subscribe("c")
    await broker.subscribe("c")
    await broker.publish("other", b"1", PublishOptions())
    await broker.publish("c", b"2", PublishOptions())
    await until(lambda: heard.publications)
    await broker.unsubscribe("c")
    await broker.subscribe("d")
    await broker.publish("c", b"3", PublishOptions())
    await broker.publish("d", b"4", PublishOptions())
    await until(lambda: b"4" in heard.data())
    assert heard.data() == [b"2", b"4"]


async def test_order_is_kept(broker: Broker, heard: Heard) -> None:
    """Publications of one publisher arrive in their order, with rising offsets."""
    await broker.subscribe("c")
    for number in range(200):
        await broker.publish("c", str(number).encode(), keep())
    await until(lambda: len(heard.publications) == 200)
    assert heard.data() == [str(number).encode() for number in range(200)]
    assert [p.offset for _, p, _, _ in heard.publications] == list(range(1, 201))


async def test_history_keeps_the_newest(broker: Broker) -> None:
    """At most `history_size` items; offsets start at 1 and the epoch is one."""
    results = [await broker.publish("c", bytes([n]), keep()) for n in range(1, 9)]
    assert [r.position.offset for r in results] == list(range(1, 9))
    assert len({r.position.epoch for r in results}) == 1
    assert results[0].position.epoch
    history = await broker.fetch_history("c", ALL, meta_ttl_s=600)
    assert [p.offset for p in history.publications] == [4, 5, 6, 7, 8]
    assert history.top == results[-1].position


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (HistoryFilter(limit=0), []),
        (HistoryFilter(limit=2), [1, 2]),
        (HistoryFilter(limit=-1), [1, 2, 3, 4, 5]),
        (HistoryFilter(limit=100), [1, 2, 3, 4, 5]),
        (HistoryFilter(limit=2, reverse=True), [5, 4]),
        (HistoryFilter(limit=-1, reverse=True), [5, 4, 3, 2, 1]),
        (HistoryFilter(limit=-1, since=StreamPosition(2)), [3, 4, 5]),
        (HistoryFilter(limit=2, since=StreamPosition(2)), [3, 4]),
        (HistoryFilter(limit=-1, since=StreamPosition(5)), []),
        (HistoryFilter(limit=-1, since=StreamPosition(99)), []),
        (HistoryFilter(limit=-1, since=StreamPosition(2**63)), []),
        (HistoryFilter(limit=2, since=StreamPosition(2**64 - 1)), []),
        (HistoryFilter(limit=2, since=StreamPosition(2**64 - 1), reverse=True), []),
        (HistoryFilter(limit=2**31 - 1, since=StreamPosition(3)), [4, 5]),
        (HistoryFilter(limit=-(2**31), since=StreamPosition(3)), [4, 5]),
        (HistoryFilter(limit=-1, since=StreamPosition(0)), [1, 2, 3, 4, 5]),
        (HistoryFilter(limit=-1, since=StreamPosition(3), reverse=True), [2, 1]),
        (HistoryFilter(limit=1, since=StreamPosition(3), reverse=True), [2]),
        (HistoryFilter(limit=-1, since=StreamPosition(99), reverse=True), []),
        (HistoryFilter(limit=-1, since=StreamPosition(1), reverse=True), []),
    ],
)
async def test_history_is_read_both_ways(
    broker: Broker, filter: HistoryFilter, expected: list[int]
) -> None:
    """Limit, since and reverse choose as documented."""
    for number in range(1, 6):
        await broker.publish("c", bytes([number]), keep())
    assert await read(broker, filter) == [bytes([n]) for n in expected]


async def test_a_trimmed_start_begins_at_the_oldest(broker: Broker) -> None:
    """A gap before the stored items is no error."""
    for number in range(1, 9):
        await broker.publish("c", bytes([number]), keep(history_size=2))
    since = HistoryFilter(limit=-1, since=StreamPosition(1))
    assert await read(broker, since) == [bytes([7]), bytes([8])]


async def test_another_epoch_is_unrecoverable(broker: Broker) -> None:
    """Regardless of limit; an empty epoch is not compared."""
    await broker.publish("c", b"1", keep())
    for limit in (0, -1):
        filter = HistoryFilter(limit=limit, since=StreamPosition(0, "other"))
        with pytest.raises(UnrecoverablePosition):
            await broker.fetch_history("c", filter, meta_ttl_s=600)


async def test_reverse_from_nothing_is_refused(broker: Broker) -> None:
    """`reverse` with a since offset of 0 is a bad request."""
    filter = HistoryFilter(limit=1, since=StreamPosition(0), reverse=True)
    with pytest.raises(BadRequest):
        await broker.fetch_history("c", filter, meta_ttl_s=600)


async def test_reading_creates_the_stream(broker: Broker) -> None:
    """A channel never published to gets an epoch, which the first publish keeps."""
    history = await broker.fetch_history("c", ALL, meta_ttl_s=600)
    assert history.top.offset == 0
    assert history.top.epoch
    result = await broker.publish("c", b"1", keep())
    assert result.position == StreamPosition(1, history.top.epoch)


async def test_removing_history_keeps_the_position(broker: Broker) -> None:
    """Items go, offset and epoch stay."""
    first = await broker.publish("c", b"1", keep())
    await broker.remove_history("c")
    history = await broker.fetch_history("c", ALL, meta_ttl_s=600)
    assert history.publications == ()
    assert history.top == first.position
    second = await broker.publish("c", b"2", keep())
    assert second.position == StreamPosition(2, first.position.epoch)
    await broker.remove_history("never")


@pytest.mark.parametrize("stored", [True, False])
async def test_an_idempotency_key_publishes_once(
    broker: Broker, heard: Heard, stored: bool
) -> None:
    """A repeat gets the first position and reaches nobody; per channel."""
    await broker.subscribe("c")
    options = (
        keep(idempotency_key="k") if stored else PublishOptions(idempotency_key="k")
    )
    first = await broker.publish("c", b"1", options)
    again = await broker.publish("c", b"2", options)
    assert (again.position, again.suppressed) == (first.position, "idempotency")
    other = await broker.publish("d", b"3", options)
    assert other.suppressed == ""
    await broker.publish("c", b"end", PublishOptions())
    await until(lambda: b"end" in heard.data())
    assert heard.data() == [b"1", b"end"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("c", "a.b"), ("c.a", "b")),
        (("c", "a%2Eb"), ("c", "a.b")),
        (("c", "a%b"), ("c", "a%25b")),
    ],
)
async def test_idempotency_keys_are_not_mixed_up(
    broker: Broker, first: tuple[str, str], second: tuple[str, str]
) -> None:
    """A channel and a key that read alike when joined are not the same."""
    for channel, key in (first, second):
        options = PublishOptions(idempotency_key=key)
        assert (await broker.publish(channel, b"1", options)).suppressed == ""
        assert (await broker.publish(channel, b"1", options)).suppressed != ""


@pytest.mark.parametrize(
    "channels",
    [("meta.c", "c"), (".meta.c", "meta.c", "c"), ("..c", ".c"), ("1.c", "c")],
)
async def test_streams_are_not_mixed_up(
    broker: Broker, channels: tuple[str, ...]
) -> None:
    """Whatever a channel is called, its stream is its own."""
    for channel in channels:
        for data in (channel.encode(), b"2"):
            await broker.publish(channel, data, keep())
    for channel in channels:
        found = await broker.fetch_history(channel, HistoryFilter(-1), meta_ttl_s=60)
        assert [each.data for each in found.publications] == [channel.encode(), b"2"]
        await broker.remove_history(channel)
        found = await broker.fetch_history(channel, HistoryFilter(-1), meta_ttl_s=60)
        assert (found.top.offset, found.publications) == (2, ())


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ((5, ""), (5, ""), False),
        ((5, ""), (4, ""), False),
        ((5, ""), (6, ""), True),
        ((9, ""), (10, ""), True),
        ((5, "a"), (4, "a"), False),
        ((5, "a"), (4, "b"), True),
        ((5, "a"), (4, ""), False),
        ((2**63, ""), (2**63 + 1, ""), True),
        ((2**63 + 1, ""), (2**63, ""), False),
    ],
)
async def test_older_versions_are_dropped(
    broker: Broker, first: tuple[int, str], second: tuple[int, str], taken: bool
) -> None:
    """Within a version epoch only a newer version is published."""
    await broker.publish("c", b"1", keep(version=first[0], version_epoch=first[1]))
    options = keep(version=second[0], version_epoch=second[1])
    result = await broker.publish("c", b"2", options)
    assert result.suppressed == ("" if taken else "version")
    assert result.position.offset == (2 if taken else 1)
    assert await read(broker) == ([b"1", b"2"] if taken else [b"1"])


async def test_delta_brings_the_data_before(broker: Broker, heard: Heard) -> None:
    """The previous item of the stream, only where delta is asked and it exists."""
    await broker.subscribe("c")
    await broker.publish("c", b"1:a:__", keep(delta=True))
    await broker.publish("c", b"2:b:__", keep(delta=True))
    await broker.publish("c", b"3", keep())
    await until(lambda: len(heard.publications) == 3)
    assert [previous for _, _, _, previous in heard.publications] == [
        None,
        b"1:a:__",
        None,
    ]
    assert heard.data() == [b"1:a:__", b"2:b:__", b"3"]


async def test_joins_and_leaves_are_told(broker: Broker, heard: Heard) -> None:
    """With everything that is known of the client."""
    await broker.subscribe("c")
    await broker.publish_join("c", ANNA)
    await broker.publish_leave("c", ANNA)
    await until(lambda: heard.leaves)
    assert heard.joins == [("c", ANNA)]
    assert heard.leaves == [("c", ANNA)]


async def test_any_bytes_and_any_name_go_through(broker: Broker, heard: Heard) -> None:
    """Binary data and unusual channel names are carried as they are."""
    names = ["news:ä", "a b", "$x#1,2", "{tag}", "}x", "a}b.", "p.client.c"]
    names.append("x" * 255)
    for name in names:
        await broker.subscribe(name)
        await broker.publish(name, bytes(range(256)), keep())
    await until(lambda: len(heard.publications) == len(names))
    assert {channel for channel, *_ in heard.publications} == set(names)
    assert set(heard.data()) == {bytes(range(256))}


async def test_concurrent_publishes_share_one_stream(broker: Broker) -> None:
    """Offsets are given once each."""
    results = await asyncio.gather(
        *(broker.publish("c", b"x", keep(history_size=100)) for _ in range(50))
    )
    assert sorted(r.position.offset for r in results) == list(range(1, 51))


async def test_check_passes_while_it_is_there(broker: Broker) -> None:
    """A reachable broker raises nothing."""
    await broker.check()
