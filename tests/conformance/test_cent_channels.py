"""The published Python library of the HTTP API: channels, connections and users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from cent import (
    AsyncClient,
    BatchRequest,
    BlockUserRequest,
    BroadcastRequest,
    CentApiResponseError,
    ChannelsRequest,
    ConnectionsRequest,
    DeleteUserStatusRequest,
    DisconnectRequest,
    GetUserStatusRequest,
    HistoryRemoveRequest,
    HistoryRequest,
    InfoRequest,
    InvalidateUserTokensRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    RevokeTokenRequest,
    SubscribeRequest,
    UnblockUserRequest,
    UnsubscribeRequest,
    UpdateUserStatusRequest,
)
from cent.dto import (
    BoolValue,
    ChannelOptionsOverride,
    Disconnect,
    StreamPosition,
)
from tests.support.api import KEY, World
from tests.support.channels import Corridor, connection
from tests.support.http_api import serving_http

from tocsin.core import control
from tocsin.core.channel import ClientInfo
from tocsin.core.channel import StreamPosition as Position
from tocsin.core.client_codes import Disconnect as Why


@pytest.fixture
def corridor() -> Corridor:
    return Corridor()


@pytest.fixture
async def client(corridor: Corridor) -> AsyncIterator[AsyncClient]:
    world = World()
    world.services = replace(world.services, realtime=corridor.services)
    async with (
        serving_http(world) as http,
        AsyncClient(f"http://127.0.0.1:{http.port}/api", KEY) as client,
    ):
        yield client


async def test_publications(corridor: Corridor, client: AsyncClient) -> None:
    """Published, broadcast, read back and removed by the library's models."""
    await corridor.hear("x", "kept:1")
    nothing = await client.publish(PublishRequest(channel="x", data={"a": 1}))
    assert (nothing.offset, nothing.epoch) == (0, "")
    first = await client.publish(
        PublishRequest(
            channel="kept:1",
            data={"n": 1},
            tags={"a": "b"},
            idempotency_key="k",
            delta=True,
            version=1,
            version_epoch="v",
        )
    )
    assert first.offset == 1
    answer = await client.broadcast(
        BroadcastRequest(channels=["kept:1", "no:1"], data={"n": 2})
    )
    done, refused = answer.responses
    assert done.result is not None
    assert done.result.offset == 2
    assert refused.error is not None
    assert (refused.error.code, refused.result) == (102, None)
    since = StreamPosition(offset=1, epoch=first.epoch or "")
    history = await client.history(
        HistoryRequest(channel="kept:1", limit=5, since=since)
    )
    (publication,) = history.publications
    assert (publication.data, publication.offset) == ({"n": 2}, 2)
    reverse = await client.history(
        HistoryRequest(channel="kept:1", limit=1, reverse=True)
    )
    assert [each.offset for each in reverse.publications] == [2]
    await client.history_remove(HistoryRemoveRequest(channel="kept:1"))
    history = await client.history(HistoryRequest(channel="kept:1", limit=5))
    assert (history.publications, history.offset) == ([], 2)
    with pytest.raises(CentApiResponseError) as caught:
        await client.publish(PublishRequest(channel="unknown:1", data={}))
    assert caught.value.code == 102
    assert "unknown channel" in caught.value.message


async def test_orders(corridor: Corridor, client: AsyncClient) -> None:
    """What the library sends reaches connections whole."""
    await client.subscribe(
        SubscribeRequest(
            user="u",
            channel="kept:1",
            info={"i": 1},
            data={"d": 1},
            client="c",
            session="s",
            recover_since=StreamPosition(offset=3, epoch="e"),
            override=ChannelOptionsOverride(
                presence=BoolValue(value=True), force_recovery=BoolValue(value=False)
            ),
        )
    )
    await client.unsubscribe(UnsubscribeRequest(user="u", channel="kept:1"))
    why = Disconnect(code=4321, reason="why")
    await client.disconnect(
        DisconnectRequest(user="u", whitelist=["w"], disconnect=why)
    )
    await client.disconnect(DisconnectRequest(user="u"))
    await client.refresh(RefreshRequest(user="u", expire_at=4_000_000_000))
    target = control.Target("u")
    assert corridor.node.commands == [
        control.SubscribeCommand(
            control.Target("u", "c", "s"),
            "kept:1",
            info=b'{"i": 1}',
            data=b'{"d": 1}',
            recover_since=Position(3, "e"),
            overrides={"presence": True, "force_recovery": False},
        ),
        control.UnsubscribeCommand(target, "kept:1"),
        control.DisconnectCommand(target, Why(4321, "why"), ("w",)),
        control.DisconnectCommand(target),
        control.RefreshCommand(target, expire_at=4_000_000_000),
    ]


async def test_who_is_there(corridor: Corridor, client: AsyncClient) -> None:
    """Presence, channels, connections and nodes are read as models."""
    info = ClientInfo("u", "c1", b'{"a":1}')
    await corridor.presence.add("seen:1", info)
    presence = await client.presence(PresenceRequest(channel="seen:1"))
    assert presence.presence["c1"].user == "u"
    assert presence.presence["c1"].conn_info == {"a": 1}
    stats = await client.presence_stats(PresenceStatsRequest(channel="seen:1"))
    assert (stats.num_clients, stats.num_users) == (1, 1)
    corridor.node.subscribers = {"chat:1": 2}
    channels = await client.channels(ChannelsRequest(pattern="chat:*"))
    assert channels.channels["chat:1"].num_clients == 2
    for metrics in ({}, {"node.num": 1.5}):
        corridor.node.metrics = metrics
        (node,) = (await client.info(InfoRequest())).nodes
        assert (node.name, node.num_clients, node.uptime) == ("node-name", 4, 7)
        assert (node.metrics is None) == (not metrics)
    told = connection("u", uid="t", transport="websocket", protocol="json")
    corridor.node.connections = {"c1": told}
    found = await client.connections(ConnectionsRequest(user="u", expression=""))
    state = found.connections["c1"].state
    assert state is not None
    assert state.connection_token is not None
    assert (state.connection_token.uid, state.meta) == ("t", {"m": 1})


async def test_users(corridor: Corridor, client: AsyncClient) -> None:
    """Statuses and denials by the library's models."""
    await client.update_user_status(UpdateUserStatusRequest(users=["u"], state="away"))
    found = await client.get_user_status(GetUserStatusRequest(users=["u", "v"]))
    assert [each.user for each in found.statuses] == ["u", "v"]
    assert found.statuses[0].active == corridor.now_s
    await client.delete_user_status(DeleteUserStatusRequest(users=["u"]))
    await client.block_user(BlockUserRequest(user="u"))
    await client.unblock_user(UnblockUserRequest(user="u"))
    await client.revoke_token(RevokeTokenRequest(uid="t"))
    await client.invalidate_user_tokens(InvalidateUserTokensRequest(user="u"))
    (made,) = corridor.node.commands
    assert isinstance(made, control.DisconnectCommand)


async def test_batches(corridor: Corridor, client: AsyncClient) -> None:
    """Many publishes and a question in one call."""
    await corridor.hear("x")
    requests: list[Any] = [
        PublishRequest(channel="x", data={"n": number}) for number in range(20)
    ]
    answer = await client.batch(
        BatchRequest(requests=[*requests, InfoRequest()], parallel=True)
    )
    assert len(answer.replies) == 21
    last: Any = answer.replies[-1]
    assert last.nodes[0].uid == "node-uid"
    assert len(corridor.heard.publications) == 20
