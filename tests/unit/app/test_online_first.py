"""Publishing what a push sends first, by the rules of Publish and over memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from tests.support.channels import NAMESPACES, AwayBroker, Heard
from tests.support.jobs import ManualClock

from tocsin.app.online_first import ChannelFirst
from tocsin.broker.memory import MemoryBroker
from tocsin.broker.presence_memory import MemoryPresence
from tocsin.broker.reached_memory import MemoryReached
from tocsin.channels.namespaces import Namespaces, NamespaceSettings
from tocsin.channels.publishing import Publisher
from tocsin.core.channel import ChannelOptions, ClientInfo
from tocsin.core.errors import (
    ApiError,
    BadRequest,
    BrokerUnavailable,
    NotAvailable,
    UnknownChannel,
)
from tocsin.core.ports.online import Stage
from tocsin.core.push import OnlineFirst

FIRST = OnlineFirst("seen:1", b'{"n":1}', wait_ms=2000, tags={"kind": "goal"})
PRESENT = ChannelOptions(presence=True)
KINDS = {
    **NAMESPACES,
    "seen_json": replace(PRESENT, publication_data_format="json"),
    "seen_map": replace(PRESENT, subscription_type="map"),
}


class Presence(MemoryPresence):
    """A presence store that may be away."""

    away = False

    async def fetch(self, channel: str) -> Mapping[str, ClientInfo]:
        if self.away:
            raise BrokerUnavailable("away")
        return await super().fetch(channel)


class Reached(MemoryReached):
    """A store that may be away."""

    away = False

    async def add(
        self, push_id: str, users: Collection[str], stage: Stage, *, ttl_s: int
    ) -> None:
        if self.away:
            raise BrokerUnavailable("away")
        await super().add(push_id, users, stage, ttl_s=ttl_s)


class Node:
    """A server's channels with somebody in one of them."""

    def __init__(
        self, broker: MemoryBroker | None = None, *, workers_see: bool = True
    ) -> None:
        self.broker = broker or MemoryBroker()
        self.heard = Heard()
        self.broker.listen(self.heard)
        self.presence = Presence()
        self.reached = Reached(ManualClock())
        rules = Namespaces(
            NamespaceSettings(without_namespace=ChannelOptions(), namespaces=KINDS)
        )
        self.first = ChannelFirst(
            Publisher(rules, self.broker),
            self.presence,
            self.reached,
            workers_see=workers_see,
        )

    async def publish(
        self,
        request: OnlineFirst = FIRST,
        *,
        among: Collection[str] = (),
        again: bool = False,
    ) -> None:
        await self.broker.subscribe(request.channel)
        await self.first.publish(request, push_id="p", among=among, again=again)

    async def enter(self, *users: str) -> None:
        for user in users:
            await self.presence.add("seen:1", ClientInfo(user, f"client of {user}"))

    def data(self) -> list[bytes]:
        return [publication.data for _, publication, _ in self.heard.publications]

    async def known(self) -> tuple[Stage, set[str]]:
        stage = await self.reached.fetch_stage("p", ttl_s=60)
        users = await self.reached.find("p", ["anna", "ben", ""], ttl_s=60)
        return stage, set(users)


async def test_it_is_published_and_noted_who_was_there() -> None:
    """With its tags; clients without a user are nobody."""
    node = Node()
    await node.enter("anna", "")
    await node.publish()
    ((channel, publication, _),) = node.heard.publications
    assert (channel, publication.data) == ("seen:1", b'{"n":1}')
    assert publication.tags == {"kind": "goal"}
    assert await node.known() == (Stage.PUBLISHED, {"anna"})


async def test_base64_wins() -> None:
    """As in Publish."""
    node = Node()
    await node.publish(replace(FIRST, b64data="AP8="))
    assert node.data() == [b"\x00\xff"]


async def test_of_a_filter_by_user_only_those_are_kept() -> None:
    """A channel of thousands costs nothing where two users are named."""
    node = Node()
    await node.enter("anna", "ben")
    await node.publish(among={"anna", "eve"})
    assert await node.known() == (Stage.PUBLISHED, {"anna"})


async def test_an_empty_channel_is_published_to_as_well() -> None:
    """Who comes within the wait counts at the second look."""
    node = Node()
    await node.publish()
    assert await node.known() == (Stage.PUBLISHED, set())


async def test_again_publishes_what_nothing_shows() -> None:
    """A first call that ended in between, before or after publishing."""
    node = Node()
    await node.publish(again=True)
    assert node.data() == [b'{"n":1}']
    assert (await node.known())[0] is Stage.PUBLISHED
    half = Node()
    half.reached.away = True
    await half.publish()
    half.reached.away = False
    await half.enter("anna")
    await half.publish(again=True)
    assert half.data() == [b'{"n":1}']
    assert await half.known() == (Stage.PUBLISHED, {"anna"})


@pytest.mark.parametrize("stage", [Stage.PUBLISHED, Stage.DECIDED])
async def test_again_publishes_nothing_that_was(stage: Stage) -> None:
    """Nor where everybody got the push meanwhile."""
    node = Node()
    await node.enter("anna")
    await node.reached.add("p", (), stage, ttl_s=60)
    await node.publish(again=True)
    assert node.data() == []
    assert await node.known() == (stage, set())


async def test_a_broker_that_is_away_is_no_error() -> None:
    """The push is queued; nothing is noted, so it goes to everybody."""
    node = Node(AwayBroker())
    await node.enter("anna")
    await node.publish()
    assert await node.known() == (Stage.UNKNOWN, set())


async def test_who_cannot_be_seen_is_left_to_the_second_look() -> None:
    """It was published, and that is noted."""
    node = Node()
    await node.enter("anna")
    node.presence.away = True
    await node.publish()
    assert await node.known() == (Stage.PUBLISHED, set())


async def test_what_cannot_be_noted_is_no_error() -> None:
    """It was published; everybody gets the push too."""
    node = Node()
    node.reached.away = True
    await node.publish()
    assert node.data() == [b'{"n":1}']
    assert await node.known() == (Stage.UNKNOWN, set())


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("online_first.channel", OnlineFirst("", b"1")),
        ("online_first.data", OnlineFirst("seen:1", b"")),
        ("online_first.data", OnlineFirst("seen_json:1", b"{")),
        ("online_first.b64data", OnlineFirst("seen:1", b64data="?")),
    ],
)
def test_faults_of_publish_name_the_field(field: str, request_: OnlineFirst) -> None:
    """Under the name that it has in the send."""
    with pytest.raises(BadRequest) as caught:
        Node().first.check(request_)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("error", "channel"),
    [
        (UnknownChannel, "nowhere:1"),
        (NotAvailable, "kept:1"),
        (NotAvailable, "plain"),
        (NotAvailable, "seen_map:1"),
    ],
)
def test_channels_that_do_not_do(error: type[ApiError], channel: str) -> None:
    """Unknown ones, and those of which nobody knows who is in them."""
    with pytest.raises(error, match=r": online_first\.channel: "):
        Node().first.check(replace(FIRST, channel=channel))


def test_a_good_one_passes_and_publishes_nothing() -> None:
    """The check only checks."""
    node = Node()
    node.first.check(FIRST)
    assert node.data() == []


def test_where_no_worker_sees_channels_it_is_not_available() -> None:
    """Else nobody would ever be spared, and nobody would know why."""
    with pytest.raises(NotAvailable, match=r"engine\.type"):
        Node(workers_see=False).first.check(FIRST)
