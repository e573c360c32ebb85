from dataclasses import replace

import pytest
from tests.support.channels import NAMESPACES, AwayBroker, Corridor

from tocsin.channels.publishing import PublishRequest
from tocsin.core.channel import ChannelOptions, ClientInfo, PublishResult
from tocsin.core.client_codes import PERMISSION_DENIED, ClientFault
from tocsin.core.errors import ApiError, BadRequest, InternalError, UnknownChannel

DATA = PublishRequest(data=b"{}")


@pytest.mark.parametrize(
    ("channel", "request_", "error"),
    [
        ("", DATA, "bad request: channel: must not be empty"),
        ("", PublishRequest(b64data="!"), "bad request: channel: must not be empty"),
        (
            "no:such",
            PublishRequest(b64data="!"),
            "bad request: b64data: must be base64 with padding",
        ),
        (
            "x",
            PublishRequest(b64data="YQ"),
            "bad request: b64data: must be base64 with padding",
        ),
        ("no:such", PublishRequest(), "unknown channel: namespace no"),
        (
            "map:1",
            PublishRequest(),
            "not available: channels of type map",
        ),
        ("x", PublishRequest(), "bad request: data: must not be empty"),
        ("json:1", PublishRequest(b"{"), "bad request: data: must be JSON"),
        ("json:1", PublishRequest(), "bad request: data: must be JSON"),
        ("object:1", PublishRequest(b"[]"), "bad request: data: must be a JSON object"),
        ("object:1", PublishRequest(b"x"), "bad request: data: must be JSON"),
    ],
)
async def test_the_order_of_refusals(
    channel: str, request_: PublishRequest, error: str
) -> None:
    """Channel, base64, namespace, its type, the data: the first fault is told."""
    corridor = Corridor()
    with pytest.raises(ApiError) as raised:
        await corridor.services.publisher.publish(channel, request_)
    assert raised.value.message == error


@pytest.mark.parametrize(
    ("channel", "data"),
    [
        ("x", b"\x00\xff"),
        ("x", b"null"),
        ("x", b'""'),
        ("json:1", b" [1, 2] "),
        ("json:1", b"null"),
        ("object:1", b'\n {"a": 1}'),
        ("binary:1", b""),
        ("binary:1", b"\x00"),
    ],
)
async def test_data_goes_out_as_it_came(channel: str, data: bytes) -> None:
    """To the last blank."""
    corridor = Corridor()
    await corridor.hear(channel)
    result = await corridor.services.publisher.publish(channel, PublishRequest(data))
    assert result == PublishResult()
    assert corridor.data() == [(channel, data)]


async def test_base64_wins_and_may_have_line_ends() -> None:
    """The standard alphabet with padding."""
    corridor = Corridor()
    await corridor.hear("x")
    request = PublishRequest(data=b"plain", b64data="+/8A\r\nYWI=\n")
    await corridor.services.publisher.publish("x", request)
    assert corridor.data() == [("x", b"\xfb\xff\x00ab")]


async def test_everything_that_can_be_said_reaches_the_broker() -> None:
    """Tags, version and the previous data for deltas."""
    corridor = Corridor()
    publisher = corridor.services.publisher
    await corridor.hear("kept:1", "delta:1")
    await publisher.publish("kept:1", DATA)
    await publisher.publish(
        "kept:1", PublishRequest(b"[2]", tags={"a": "b"}, version=7, delta=True)
    )
    await publisher.publish("delta:1", PublishRequest(b"[1]"))
    await publisher.publish("delta:1", PublishRequest(b"[2]", tags={"t": "1"}))
    (_, plain, no_previous), (_, told, previous), _, (_, _, by_option) = (
        corridor.heard.publications
    )
    assert (plain.tags, plain.version, no_previous) == ({}, 0, None)
    assert (told.tags, told.version, previous) == ({"a": "b"}, 7, b"{}")
    assert by_option == b"[1]"


async def test_history_can_be_skipped() -> None:
    """Then there is no position, and a version says nothing."""
    corridor = Corridor()
    publisher = corridor.services.publisher
    for _ in range(2):
        result = await publisher.publish(
            "kept:1", PublishRequest(b"{}", skip_history=True, version=5)
        )
        assert result == PublishResult()
    assert (await publisher.publish("kept:1", DATA)).position.offset == 1


async def test_what_is_suppressed_is_counted_by_reason() -> None:
    """A repeated key and an old version give the position and publish nothing."""
    corridor = Corridor()
    publisher = corridor.services.publisher
    await corridor.hear("kept:1", "x")
    keyed = PublishRequest(b"{}", idempotency_key="k", version=2)
    first = await publisher.publish("kept:1", keyed)
    again = await publisher.publish("kept:1", keyed)
    old = await publisher.publish("kept:1", PublishRequest(b"{}", version=2))
    assert first.position == again.position == old.position
    for _ in range(2):
        await publisher.publish("x", PublishRequest(b"{}", idempotency_key="k"))
    assert corridor.suppressed == [
        ("idempotency", "kept:1"),
        ("version", "kept:1"),
        ("idempotency", "x"),
    ]
    assert len(corridor.heard.publications) == 2


@pytest.mark.parametrize("at_once", [1, 3, 1024])
async def test_a_broadcast_answers_for_each_channel(at_once: int) -> None:
    """In their order; doubled ones are published twice."""
    corridor = Corridor(at_once=at_once)
    channels = ["x", "", "no:such", "kept:1", "json:1", "map:1", "kept:1"]
    results = await corridor.services.publisher.broadcast(
        channels, PublishRequest(b"x")
    )
    kinds = [
        each.message if isinstance(each, ApiError) else each.position.offset
        for each in results
    ]
    assert kinds == [
        0,
        "bad request: channel: must not be empty",
        "unknown channel: namespace no",
        1,
        "bad request: data: must be JSON",
        "not available: channels of type map",
        2,
    ]


@pytest.mark.parametrize("at_once", [1, 8])
async def test_a_broadcast_to_many_leaves_out_nobody(at_once: int) -> None:
    """More channels than are under way together."""
    corridor = Corridor(at_once=at_once)
    channels = [f"kept:{number}" for number in range(600)]
    results = await corridor.services.publisher.broadcast(channels, DATA)
    assert all(
        isinstance(each, PublishResult) and each.position.offset == 1
        for each in results
    )


async def test_what_concerns_the_whole_broadcast_is_raised() -> None:
    """No channels, and bad base64."""
    publisher = Corridor().services.publisher
    with pytest.raises(BadRequest, match="channels: must not be empty"):
        await publisher.broadcast([], DATA)
    with pytest.raises(BadRequest, match="b64data"):
        await publisher.broadcast(["x"], PublishRequest(b64data="!"))


async def test_a_broker_that_is_away_is_error_100() -> None:
    """In a broadcast, only for the channels that it concerns."""
    corridor = Corridor(broker=AwayBroker(spared=["kept:2"]))
    publisher = corridor.services.publisher
    with pytest.raises(InternalError):
        await publisher.publish("kept:1", DATA)
    first, second = await publisher.broadcast(["kept:1", "kept:2"], DATA)
    assert isinstance(first, InternalError)
    assert isinstance(second, PublishResult)


async def test_a_clients_publication_carries_who_it_was() -> None:
    """Under the namespace's options; its format and its permission are checked."""
    allowed = replace(NAMESPACES["kept"], allow_publish_for_subscriber=True)
    corridor = Corridor(namespaces={"kept": allowed})
    await corridor.hear("kept:1")
    info = ClientInfo("u", "c", b"{}")
    publisher = corridor.services.publisher

    async def publish(data: bytes, *, subscribed: bool = True) -> PublishResult:
        return await publisher.publish_from_client(
            "kept:1", data, info, subscribed=subscribed
        )

    assert (await publish(b"1")).position.offset == 1
    assert corridor.heard.publications[0][1].info == info
    with pytest.raises(BadRequest):
        await publish(b"")
    with pytest.raises(ClientFault) as refused:
        await publish(b"2", subscribed=False)
    assert refused.value.error == PERMISSION_DENIED


async def test_reloaded_options_hold_at_once() -> None:
    """A namespace that is gone is unknown, a new history is kept."""
    corridor = Corridor(namespaces={"chat": ChannelOptions()})
    publisher = corridor.services.publisher
    settings = corridor.namespaces.settings
    assert (await publisher.publish("chat:1", DATA)).position.offset == 0
    kept = ChannelOptions(history_size=1, history_ttl=1)
    corridor.namespaces.replace(type(settings)(namespaces={"chat": kept}))
    assert (await publisher.publish("chat:1", DATA)).position.offset == 1
    corridor.namespaces.replace(type(settings)())
    with pytest.raises(UnknownChannel):
        await publisher.publish("chat:1", DATA)
