from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tocsin.broker.memory import MemoryBroker
from tocsin.core.channel import ClientInfo, Publication, PublishOptions, StreamPosition
from tocsin.core.client_codes import Disconnect
from tocsin.core.control import DisconnectCommand, Target
from tocsin.core.errors import InternalError
from tocsin.hub.hub import Hub
from tocsin.hub.subscription import Member, Subscription
from tocsin.protocol.frames import Encoding, WireForm

LINES = WireForm("lines", Encoding.JSON, lambda message: message + b"\n")
SINGLE = WireForm("single", Encoding.JSON, bytes, unidirectional=True, joinable=False)


class Listener:
    """A subscriber's edge and owner at once."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.lost: list[str] = []
        self.refused = 0

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def lose_position(self, channel: str) -> None:
        self.lost.append(channel)

    def refuse_data(self) -> None:
        self.refused += 1

    def numbers(self) -> list[Any]:
        lines = b"".join(self.written).split(b"\n")
        messages = [json.loads(line) for line in lines if line]
        return [each["push"]["pub"]["data"] for each in messages]


def subscription(channel: str, form: WireForm = LINES) -> tuple[Subscription, Listener]:
    listener = Listener()
    return Subscription(channel, listener, listener, form), listener


class CountingBroker(MemoryBroker):
    """Counts how often channels are subscribed, and can be slow or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.fails = False

    async def subscribe(self, channel: str) -> None:
        self.calls.append(f"+{channel}")
        await self.may_go_on.wait()
        if self.fails:
            raise InternalError("away")
        await super().subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        self.calls.append(f"-{channel}")
        await self.may_go_on.wait()
        if self.fails:
            raise InternalError("away")
        await super().unsubscribe(channel)


@pytest.fixture
async def broker() -> CountingBroker:
    return CountingBroker()


@pytest.fixture
async def hub(broker: CountingBroker) -> Hub:
    hub = Hub(broker, uid="n", name="node", version="v", position_grace_s=0.001)
    broker.listen(hub)
    return hub


async def join(hub: Hub, each: Subscription) -> None:
    await hub.collect(each)
    hub.join(each, StreamPosition())


async def test_first_in_last_out(hub: Hub, broker: CountingBroker) -> None:
    """Only the first subscriber here subscribes the node, the last one ends it."""
    first, _ = subscription("a")
    second, _ = subscription("a")
    await join(hub, first)
    await join(hub, second)
    assert hub.subscribers() == {"a": 2}
    hub.leave(first)
    await hub.settle()
    hub.leave(second)
    hub.leave(second)
    await hub.settle()
    assert broker.calls == ["+a", "-a"]
    assert (hub.num_channels, hub.num_subs) == (0, 0)


async def test_many_at_once_subscribe_once(hub: Hub, broker: CountingBroker) -> None:
    """A crowd that comes while the broker is asked waits for that one answer."""
    broker.may_go_on.clear()
    crowd = [subscription("a")[0] for _ in range(20)]
    tasks = [asyncio.create_task(join(hub, each)) for each in crowd]
    await asyncio.sleep(0)
    broker.may_go_on.set()
    await asyncio.gather(*tasks)
    assert broker.calls == ["+a"]
    assert hub.num_subs == 20


async def test_coming_while_the_last_one_goes(hub: Hub, broker: CountingBroker) -> None:
    """A newcomer during the unsubscribe is subscribed after it, and hears."""
    first, _ = subscription("a")
    await join(hub, first)
    broker.may_go_on.clear()
    hub.leave(first)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second, listener = subscription("a")
    task = asyncio.create_task(join(hub, second))
    await asyncio.sleep(0)
    broker.may_go_on.set()
    await task
    await hub.settle()
    assert broker.calls == ["+a", "-a", "+a"]
    await broker.publish("a", b"1", PublishOptions())
    await hub.settle()
    assert listener.numbers() == [1]


async def test_coming_back_before_the_channel_is_left(
    hub: Hub, broker: CountingBroker
) -> None:
    """Who comes before the unsubscribe has begun makes it needless."""
    first, _ = subscription("a")
    await join(hub, first)
    hub.leave(first)
    second, listener = subscription("a")
    await join(hub, second)
    await hub.settle()
    assert broker.calls == ["+a"]
    await broker.publish("a", b"1", PublishOptions())
    await hub.settle()
    assert listener.numbers() == [1]


async def test_a_broker_that_fails(hub: Hub, broker: CountingBroker) -> None:
    """A failed subscribe leaves nothing; a failed unsubscribe is only reported."""
    broker.fails = True
    each, _ = subscription("a")
    with pytest.raises(InternalError):
        await hub.collect(each)
    assert hub.subscribers() == {}
    broker.fails = False
    await join(hub, each)
    broker.fails = True
    hub.leave(each)
    await hub.settle()
    broker.fails = False
    again, _ = subscription("a")
    await join(hub, again)
    assert broker.calls == ["+a", "+a", "-a", "+a"]


async def test_one_turn_is_one_write(hub: Hub, broker: CountingBroker) -> None:
    """What comes within a turn of the loop is handed to a subscriber in one piece."""
    each, listener = subscription("a")
    await join(hub, each)
    for number in range(5):
        await broker.publish("a", b"%d" % number, PublishOptions())
    await asyncio.sleep(0)
    assert len(listener.written) == 1
    assert listener.numbers() == [0, 1, 2, 3, 4]


async def test_forms_that_cannot_be_joined(hub: Hub, broker: CountingBroker) -> None:
    """A form of single messages gets each on its own."""
    each, listener = subscription("a", SINGLE)
    await join(hub, each)
    for number in range(3):
        await broker.publish("a", b"%d" % number, PublishOptions())
    await hub.settle()
    assert [json.loads(part)["pub"]["data"] for part in listener.written] == [0, 1, 2]


async def test_who_leaves_has_what_came_before(
    hub: Hub, broker: CountingBroker
) -> None:
    """Publications of this turn reach who leaves after them, and only those."""
    each, listener = subscription("a")
    other, _ = subscription("a")
    await join(hub, each)
    await join(hub, other)
    await broker.publish("a", b"1", PublishOptions())
    hub.leave(each)
    await broker.publish("a", b"2", PublishOptions())
    await hub.settle()
    assert listener.numbers() == [1]


async def test_who_joins_gets_nothing_from_before(
    hub: Hub, broker: CountingBroker
) -> None:
    """Publications of this turn do not reach who joins after them."""
    other, _ = subscription("a")
    each, listener = subscription("a")
    await join(hub, other)
    await hub.collect(each)
    await broker.publish("a", b"1", PublishOptions())
    hub.join(each, StreamPosition())
    await broker.publish("a", b"2", PublishOptions())
    await hub.settle()
    assert listener.numbers() == [2]


async def test_who_leaves_while_it_is_written_to(
    hub: Hub, broker: CountingBroker
) -> None:
    """A sink that gives up in the middle of a fan-out takes nothing from others."""
    members = [subscription("a") for _ in range(5)]
    for each, _ in members:
        await join(hub, each)
    quitter, listener = members[1]

    class Quitting(Listener):
        def write(self, data: bytes) -> None:
            hub.leave(quitter)

    quitter.sink = Quitting()
    hub.leave(quitter)
    await join(hub, quitter)
    await broker.publish("a", b"1", PublishOptions())
    await hub.settle()
    heard = [each.numbers() for _, each in members if each is not listener]
    assert heard == [[1]] * 4
    assert hub.num_subs == 4


async def test_forms_are_encoded_once_each(hub: Hub, broker: CountingBroker) -> None:
    """A thousand subscribers cost one encoding."""
    calls = 0

    def frame(message: bytes) -> bytes:
        nonlocal calls
        calls += 1
        return message

    form = WireForm("counted", Encoding.JSON, frame)
    for _ in range(1000):
        await join(hub, subscription("a", form)[0])
    await broker.publish("a", b"1", PublishOptions())
    await hub.settle()
    assert calls == 1


async def test_joins_and_leaves(hub: Hub) -> None:
    """Only who asked for them sees joins and leaves."""
    watching, watcher = subscription("a")
    watching.wants_joins = True
    blind, other = subscription("a")
    await join(hub, watching)
    await join(hub, blind)
    info = ClientInfo("u", "c", b'{"n":1}')
    hub.on_join("a", info)
    hub.on_leave("a", info)
    hub.on_join("b", info)
    await hub.settle()
    pushes = [json.loads(line)["push"] for line in watcher.written[0].splitlines()]
    told = {"info": {"user": "u", "client": "c", "conn_info": {"n": 1}}}
    assert pushes == [{"channel": "a", "join": told}, {"channel": "a", "leave": told}]
    assert other.written == []
    hub.leave(watching)
    hub.on_join("a", info)
    await hub.settle()
    assert len(watcher.written) == 1


async def test_info_that_is_no_json_is_not_told(hub: Hub) -> None:
    """A join whose info JSON clients cannot read harms nobody."""
    watching, watcher = subscription("a")
    watching.wants_joins = True
    await join(hub, watching)
    hub.on_join("a", ClientInfo("u", "c", b"\xff"))
    await hub.settle()
    assert watcher.written == []
    assert watcher.refused == 0


async def test_publication_for_nobody(hub: Hub) -> None:
    """Late messages of a channel that was left are passed over."""
    hub.on_publication("gone", Publication(b"1"), StreamPosition(), None)
    hub.on_leave("gone", ClientInfo("", "c"))
    hub.check_position("gone", older_than_s=0)
    await hub.settle()


async def test_surveys(hub: Hub) -> None:
    """Channels are counted by pattern; what nobody knows is answered with nothing."""
    for channel in ("news:a", "news:b", "chat"):
        await join(hub, subscription(channel)[0])
    await join(hub, subscription("chat")[0])

    def channels(pattern: str) -> Any:
        params = json.dumps({"pattern": pattern}).encode()
        return json.loads(hub.answer_survey("channels", params))

    assert channels("") == {"news:a": 1, "news:b": 1, "chat": 2}
    assert channels("news:*") == {"news:a": 1, "news:b": 1}
    assert channels("[") == {}
    assert json.loads(hub.answer_survey("channels", b"")) == channels("")
    assert json.loads(hub.answer_survey("channels", b"{")) == channels("")
    assert hub.answer_survey("weather", b"") == b""


class Connected:
    """A member of the registry; one `is_broken` fails when it is closed."""

    user, session = "u", ""
    labels: Mapping[str, str] = {}

    def __init__(self, client: str, *, is_broken: bool = False) -> None:
        self.client = client
        self.closed: Disconnect | None = None
        self._is_broken = is_broken

    def close(self, disconnect: Disconnect) -> None:
        if self._is_broken:
            raise OverflowError("a bug")
        self.closed = disconnect


async def test_a_connection_that_fails_holds_up_no_other(hub: Hub) -> None:
    """A command goes on to everybody it is for."""
    members = [Connected("1"), Connected("2", is_broken=True), Connected("3")]
    for member in members:
        hub.add(cast("Member", member))
    with capture_logs() as lines:
        hub.run(DisconnectCommand(Target("u"), Disconnect(4000, "why")))
    assert [each.closed is not None for each in members] == [True, False, True]
    assert [line["client"] for line in lines] == ["2"]


async def test_node_info(hub: Hub) -> None:
    """The node describes itself as it is now."""
    await join(hub, subscription("a")[0])
    info = hub.describe()
    assert (info.uid, info.name, info.version) == ("n", "node", "v")
    assert (info.num_clients, info.num_subs, info.num_channels) == (0, 1, 1)
    assert info.uptime_s == 0


async def test_failures_beside_are_reported(hub: Hub) -> None:
    """A step that fails beside everything else is in the log, with its trace."""

    async def fail() -> None:
        raise RuntimeError("a bug")

    with capture_logs() as lines:
        hub.spawn(fail())
        await hub.settle()
    (line,) = lines
    assert "background step" in line["event"]
    assert str(line["exc_info"]) == "a bug"


KEPT = PublishOptions(history_size=9, history_ttl_s=60, history_meta_ttl_s=600)


async def join_at(hub: Hub, position: StreamPosition) -> tuple[Subscription, Listener]:
    each, listener = subscription("a")
    each.is_positioned = True
    await hub.collect(each)
    hub.join(each, position)
    return each, listener


async def test_who_is_ahead_of_the_stream_is_told(
    hub: Hub, broker: CountingBroker
) -> None:
    """A server that lost its last writes gives their numbers to others."""
    top = (await broker.publish("a", b"1", KEPT)).position
    _, level = await join_at(hub, top)
    _, ahead = await join_at(hub, StreamPosition(4, top.epoch))
    lost = StreamPosition(2, top.epoch)
    hub.on_publication("a", Publication(b"2", offset=2), lost, None)
    await hub.settle()
    hub.on_gap()
    await hub.settle()
    assert [each.lost for each in (level, ahead)] == [["a"], ["a"]]
    _, fresh = await join_at(hub, top)
    again = (await broker.publish("a", b"3", KEPT)).position
    assert again == lost
    await hub.settle()
    assert fresh.numbers() == [3]
    assert level.numbers() == [2]
    hub.on_gap()
    await hub.settle()
    assert fresh.lost == []


async def test_what_comes_during_a_check_is_not_ahead(
    hub: Hub, broker: CountingBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is older than what was published after the question."""
    top = (await broker.publish("a", b"1", KEPT)).position
    _, listener = await join_at(hub, top)
    ask = broker.fetch_history

    async def ask_slowly(*args: Any, **options: Any) -> Any:
        answer = await ask(*args, **options)
        await broker.publish("a", b"2", KEPT)
        return answer

    monkeypatch.setattr(broker, "fetch_history", ask_slowly)
    hub.on_gap()
    await hub.settle()
    assert listener.lost == []
    assert listener.numbers() == [2]
