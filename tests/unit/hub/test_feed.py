"""Where each subscriber of a channel stands, and who missed or lost something."""

from __future__ import annotations

import json

import pytest

from tocsin.core.channel import Publication, StreamPosition
from tocsin.hub.arrival import Arrival
from tocsin.hub.feed import Feed
from tocsin.hub.subscription import Subscription
from tocsin.hub.turn import Turn
from tocsin.protocol.delta import apply_delta
from tocsin.protocol.frames import Encoding, WireForm
from tocsin.telemetry.client_metrics import ClientMetrics

LINES = WireForm("lines", Encoding.JSON, lambda message: message + b"\n")
LEVEL = 5
"""Where the stream stands for the feeds of these tests."""


class Listener:
    """A positioned subscriber, its edge and its owner."""

    def __init__(self) -> None:
        self.subscription = Subscription("a", self, self, LINES)
        self.subscription.is_positioned = True
        self.written: list[bytes] = []
        self.lost: list[str] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def lose_position(self, channel: str) -> None:
        self.lost.append(channel)

    def refuse_data(self) -> None:
        raise AssertionError("everything here can be encoded")

    def offsets(self, feed: Feed) -> list[int]:
        feed.flush()
        lines = b"".join(self.written).split(b"\n")
        return [json.loads(line)["push"]["pub"]["offset"] for line in lines if line]


def at(offset: int, epoch: str = "e") -> StreamPosition:
    return StreamPosition(offset, epoch)


@pytest.fixture
async def feed() -> Feed:
    return Feed("a", Turn(), ClientMetrics())


def join(feed: Feed, position: StreamPosition) -> Listener:
    listener = Listener()
    feed.join(listener.subscription, position)
    return listener


def deliver(feed: Feed, position: StreamPosition) -> None:
    publication = Publication(b"1", offset=position.offset)
    feed.deliver(Arrival("a", publication, position.epoch, None), position)


@pytest.mark.parametrize("offset", range(LEVEL - 2, LEVEL + 3))
@pytest.mark.parametrize("top", range(LEVEL - 2, LEVEL + 3))
async def test_who_has_seen_one_more_than_there_is_is_ahead(
    feed: Feed, offset: int, top: int
) -> None:
    """Each by its own position, and none where it is just that of the stream."""
    level, other = join(feed, at(LEVEL)), join(feed, at(offset))
    found = feed.find_ahead(at(top), feed.standing())
    assert (level.subscription in found) is (top < LEVEL)
    assert (other.subscription in found) is (top < offset)
    assert feed.find_ahead(at(top, "another"), feed.standing()) == []


@pytest.mark.parametrize("offset", range(LEVEL - 2, LEVEL + 3))
@pytest.mark.parametrize("top", range(LEVEL - 2, LEVEL + 3))
async def test_who_has_seen_one_less_than_there_is_is_behind(
    feed: Feed, offset: int, top: int
) -> None:
    """The same from below; and who stands in another stream has seen nothing of it."""
    level, other = join(feed, at(LEVEL)), join(feed, at(offset))
    found = feed.find_behind(at(top))
    assert (level.subscription in found) is (top > LEVEL)
    assert (other.subscription in found) is (offset < top)
    both = {level.subscription, other.subscription}
    assert set(feed.find_behind(at(top, "another"))) == both


@pytest.mark.parametrize("ahead", [1, 2])
async def test_whoever_is_ahead_hears_from_its_own_position_on(
    feed: Feed, ahead: int
) -> None:
    """It gets no publication a second time, and then each of those that follow."""
    level, other = join(feed, at(LEVEL)), join(feed, at(LEVEL + ahead))
    for offset in range(LEVEL + 1, LEVEL + 5):
        deliver(feed, at(offset))
    assert level.offsets(feed) == list(range(LEVEL + 1, LEVEL + 5))
    assert other.offsets(feed) == list(range(LEVEL + ahead + 1, LEVEL + 5))
    assert (level.lost, other.lost) == ([], [])


@pytest.mark.parametrize("behind", [1, 2])
async def test_whoever_is_behind_and_misses_one_is_told(
    feed: Feed, behind: int
) -> None:
    """The next publication of the stream is not the next of who stands lower."""
    level, other = join(feed, at(LEVEL)), join(feed, at(LEVEL - behind))
    deliver(feed, at(LEVEL + 1))
    assert (level.offsets(feed), level.lost) == ([LEVEL + 1], [])
    assert (other.offsets(feed), other.lost) == ([], ["a"])
    assert feed.num_subscribers == 1


@pytest.mark.parametrize(("step", "lost"), [(0, False), (1, False), (2, True)])
async def test_a_gap_of_one_is_a_gap(feed: Feed, step: int, lost: bool) -> None:
    """What comes twice is passed over; what leaves one out ends the position."""
    level = join(feed, at(LEVEL))
    deliver(feed, at(LEVEL + step))
    assert bool(level.lost) is lost
    assert level.offsets(feed) == ([LEVEL + 1] if step == 1 else [])


async def test_another_epoch_ends_every_position(feed: Feed) -> None:
    """Its numbers mean other publications, even the one that seems to follow."""
    level, ahead = join(feed, at(LEVEL)), join(feed, at(LEVEL + 1))
    deliver(feed, at(LEVEL + 2, "another"))
    assert (level.lost, ahead.lost) == (["a"], ["a"])
    assert level.offsets(feed) + ahead.offsets(feed) == []


async def test_whoever_catches_up_goes_with_the_others(feed: Feed) -> None:
    """Once it is level, it is told and checked as they are, and leaves as they do."""
    level, late = join(feed, at(LEVEL)), join(feed, at(LEVEL - 1))
    deliver(feed, at(LEVEL))
    assert late.offsets(feed) == [LEVEL]
    assert feed.standing().stragglers == {}
    deliver(feed, at(LEVEL + 1))
    assert level.offsets(feed) == [LEVEL + 1]
    assert late.offsets(feed) == [LEVEL, LEVEL + 1]
    assert set(feed.find_behind(at(LEVEL + 2))) == {
        level.subscription,
        late.subscription,
    }
    for each in (level, late):
        assert feed.has_positions
        feed.leave(each.subscription)
    assert not feed.has_positions
    assert (feed.num_subscribers, feed.is_idle) == (0, True)


async def test_the_first_who_comes_says_where_the_stream_stands(feed: Feed) -> None:
    """So does the next one after all have left, wherever the stream stood before."""
    for position in (at(LEVEL), at(1, "another"), at(0)):
        listener = join(feed, position)
        assert feed.standing().level == position
        deliver(feed, at(position.offset + 1, position.epoch))
        assert listener.lost == []
        feed.leave(listener.subscription)
        assert feed.standing().level is None


async def test_a_stream_goes_on_from_where_its_server_lost_it(feed: Feed) -> None:
    """Where nobody is level any more; who is level keeps its place."""
    level = join(feed, at(LEVEL))
    feed.rewind(at(2))
    assert feed.standing().level == at(LEVEL)
    straggler = join(feed, at(1))
    feed.leave(level.subscription)
    feed.rewind(at(2))
    fresh = join(feed, at(2))
    assert feed.standing().level == at(2)
    deliver(feed, at(3))
    assert fresh.offsets(feed) == [3]
    assert straggler.lost == ["a"]


async def test_what_is_not_stored_reaches_everybody_wherever_they_stand(
    feed: Feed,
) -> None:
    """It has no offset, and moves nobody."""
    level, ahead = join(feed, at(LEVEL)), join(feed, at(LEVEL + 2))
    feed.deliver(Arrival("a", Publication(b"1"), "", None), StreamPosition())
    feed.flush()
    assert [len(each.written) for each in (level, ahead)] == [1, 1]
    assert feed.standing().level == at(LEVEL)
    assert (level.lost, ahead.lost) == ([], [])


class Reader(Listener):
    """A subscriber with deltas; puts together what it gets, as a client does."""

    def __init__(self) -> None:
        super().__init__()
        self.subscription.wants_delta = True
        self.held = b""
        self.deltas = 0
        self.read: list[bytes] = []

    def write(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            if line:
                pub = json.loads(line)["push"]["pub"]
                text = pub["data"].encode()
                if pub.get("delta"):
                    self.deltas += 1
                    text = apply_delta(self.held, text)
                self.held = text
                self.read.append(text)


class Stream:
    """Publishes texts that differ little, each with the one before it."""

    def __init__(self, feed: Feed, offset: int) -> None:
        self.feed = feed
        self.position = at(offset)
        self.text = self._text()

    def _text(self) -> bytes:
        where = f"{self.position.epoch}:{self.position.offset}"
        return f'"{where}{"x" * 200}"'.encode()

    def publish(self, position: StreamPosition | None = None) -> bytes:
        before = self.text
        self.position = position or at(self.position.offset + 1, self.position.epoch)
        self.text = self._text()
        publication = Publication(self.text, offset=self.position.offset)
        arrival = Arrival("a", publication, self.position.epoch, before)
        self.feed.deliver(arrival, self.position)
        self.feed.flush()
        return self.text

    def join(
        self, *, base: int = 0, behind: int = 0, is_positioned: bool = True
    ) -> Reader:
        reader = Reader()
        reader.subscription.is_positioned = is_positioned
        reader.held = self.text if base else b""
        position = at(self.position.offset - behind, self.position.epoch)
        self.feed.join(reader.subscription, position, base=base)
        return reader


async def test_deltas_follow_only_what_each_subscriber_holds(feed: Feed) -> None:
    """Whoever comes when, with or without the last data: all read the same."""
    stream = Stream(feed, LEVEL)
    readers = [stream.join(base=LEVEL), stream.join(), stream.join(base=LEVEL - 1)]
    readers[2].held = b"older data"
    published = [stream.publish()]
    assert [reader.deltas for reader in readers] == [1, 0, 0]
    late = stream.join(base=stream.position.offset)
    newest = stream.join()
    published += [stream.publish() for _ in range(3)]
    assert [reader.read for reader in readers] == [published] * 3
    assert [reader.deltas for reader in readers] == [4, 3, 3]
    assert late.read == newest.read == published[1:]
    assert (late.deltas, newest.deltas) == (3, 2)


@pytest.mark.parametrize("first", [2, LEVEL + 1])
async def test_another_stream_begins_with_a_whole(feed: Feed, first: int) -> None:
    """For those without a position too, and at the offset that would have followed."""
    stream = Stream(feed, LEVEL)
    reader = stream.join(base=LEVEL, is_positioned=False)
    whole = stream.publish(at(first, "another"))
    assert (reader.read, reader.deltas) == ([whole], 0)
    assert stream.publish() == reader.read[-1]
    assert reader.deltas == 1


async def test_whoever_catches_up_reads_the_same_deltas(feed: Feed) -> None:
    """A straggler gets wholes until it is level, and one more after that."""
    stream = Stream(feed, LEVEL)
    level = stream.join(base=LEVEL)
    late = stream.join(base=LEVEL, behind=1)
    late.held = b"older data"
    stream.publish(at(LEVEL))
    assert (level.read, len(late.read)) == ([], 1)
    published = [stream.publish() for _ in range(3)]
    assert level.read == published
    assert late.read[1:] == published
    assert late.deltas == 2


async def test_deltas_behind_a_filter_follow_what_each_subscriber_holds(
    feed: Feed,
) -> None:
    """Who comes to a filter that others have too begins with a whole."""

    def join_filtered() -> Reader:
        reader = Reader()
        reader.subscription.filter_key = b"all"
        reader.subscription.condition = lambda tags: True
        feed.join(reader.subscription, stream.position)
        return reader

    stream = Stream(feed, LEVEL)
    first = join_filtered()
    published = [stream.publish()]
    second = join_filtered()
    published += [stream.publish() for _ in range(2)]
    assert first.read == published
    assert second.read == published[1:]
    assert (first.deltas, second.deltas) == (2, 1)


@pytest.mark.parametrize("bases", [(LEVEL, LEVEL - 1), (LEVEL - 1, LEVEL)])
async def test_whoever_holds_other_data_is_no_base_for_a_delta(
    feed: Feed, bases: tuple[int, int]
) -> None:
    """In whichever order they come: only who holds the last data gets a delta."""
    stream = Stream(feed, LEVEL)
    readers = [stream.join(base=base) for base in bases]
    for reader, base in zip(readers, bases, strict=True):
        if base != LEVEL:
            reader.held = b"older data"
    published = [stream.publish(), stream.publish()]
    assert [reader.read for reader in readers] == [published] * 2


async def test_each_encoding_gets_its_own(feed: Feed) -> None:
    """Whoever joined first does not decide what the others are sent."""
    forms = [
        LINES,
        WireForm("marked", Encoding.JSON, lambda message: b"!" + message + b"\n"),
    ]
    listeners = [Listener() for _ in forms]
    for listener, form in zip(listeners, forms, strict=True):
        listener.subscription.form = form
        feed.join(listener.subscription, at(LEVEL))
    deliver(feed, at(LEVEL + 1))
    feed.flush()
    assert [each.written[0][:1] for each in listeners] == [b"{", b"!"]


async def test_each_filter_drops_its_own(feed: Feed) -> None:
    """Whoever joined first does not decide what the others are spared."""
    kept = {"none": False, "all": True}
    listeners = [Listener() for _ in kept]
    for listener, (key, keeps) in zip(listeners, kept.items(), strict=True):
        listener.subscription.filter_key = key.encode()
        listener.subscription.condition = lambda tags, keeps=keeps: keeps
        feed.join(listener.subscription, at(LEVEL))
    deliver(feed, at(LEVEL + 1))
    assert [each.offsets(feed) for each in listeners] == [[], [LEVEL + 1]]
