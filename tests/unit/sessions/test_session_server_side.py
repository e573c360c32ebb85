"""What a subscribe command of the server API may decide for its one subscription."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.sessions import SessionClient, make_token

from tocsin.core.channel import ChannelOptions, ClientInfo, PublishOptions
from tocsin.core.control import RefreshCommand, SubscribeCommand, Target
from tocsin.sessions.context import Context
from tocsin.sessions.settings import SessionSettings

Node = Callable[..., Context]
CLOSED = SessionSettings()
OVERRIDES = [
    *("presence", "join_leave", "force_push_join_leave"),
    *("force_positioning", "force_recovery"),
]
OTHER = ClientInfo("v", "other")


async def seen(client: SessionClient) -> dict[str, bool]:
    """What a subscription to `a` has, by the options' names."""
    context = client.context
    pushes = await client.pushes()
    told: dict[str, Any] = next(
        push["subscribe"] for push in pushes if "subscribe" in push
    )
    found = {
        "presence": bool(await context.presence.fetch("a")),
        "force_positioning": told.get("positioned", False),
        "force_recovery": told.get("recoverable", False),
    }
    await context.broker.publish_join("a", OTHER)
    joins = [push["join"] for push in await client.pushes() if "join" in push]
    found["force_push_join_leave"] = bool(joins)
    return found


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("option", OVERRIDES)
async def test_overrides(node: Node, option: str, value: bool) -> None:
    """Each option may be switched on and off; the others stay the namespace's."""
    switches: dict[str, Any] = dict.fromkeys(OVERRIDES, not value)
    options = ChannelOptions(**switches, history_size=5, history_ttl=60)
    client = SessionClient(node(CLOSED, options=options))
    watcher = SessionClient(client.context)
    for each, user in ((client, "u"), (watcher, "w")):
        await each.connect(token=make_token(sub=user))
    hub = client.context.hub
    watching = {**dict.fromkeys(OVERRIDES, False), "force_push_join_leave": True}
    hub.run(SubscribeCommand(Target("w"), "a", overrides=watching))
    await watcher.take()
    hub.run(SubscribeCommand(Target("u"), "a", overrides={option: value}))
    found = await seen(client)
    joins = [push["join"] for push in await watcher.pushes() if "join" in push]
    found["join_leave"] = any(join["info"]["user"] == "u" for join in joins)
    expected = dict.fromkeys(OVERRIDES, not value) | {option: value}
    if expected["force_recovery"]:
        expected["force_positioning"] = True  # who recovers has a position
    assert found == expected


async def test_base64_is_decoded_for_binary_clients(node: Node) -> None:
    """Info and data of any bytes go to presence; a JSON client cannot take them."""
    context = node(CLOSED, options=ChannelOptions(presence=True))
    client = SessionClient(context)
    await client.connect(token=make_token(sub="u"))
    context.hub.run(SubscribeCommand(Target("u"), "a", info=b"\x00"))
    await client.take()
    (info,) = (await context.presence.fetch("a")).values()
    assert info.chan_info == b"\x00"
    context.hub.run(SubscribeCommand(Target("u"), "b", data=b"\x00"))
    await client.take()
    assert client.closed == (3506, "inappropriate protocol")


async def test_refresh_with_info(node: Node) -> None:
    """The connection's info is another from then on, where it is given."""
    context = node(CLOSED, options=ChannelOptions(presence=True))
    client = SessionClient(context)
    await client.connect(token=make_token(sub="u", info={"n": 1}))
    far = 4_000_000_000
    context.hub.run(RefreshCommand(Target("u"), expire_at=far, info=b'{"n":2}'))
    context.hub.run(RefreshCommand(Target("u"), expire_at=far))
    pushes = await client.pushes()
    assert [push["refresh"]["expires"] for push in pushes] == [True, True]
    context.hub.run(SubscribeCommand(Target("u"), "a"))
    await client.take()
    (info,) = (await context.presence.fetch("a")).values()
    assert info.conn_info == b'{"n":2}'


async def test_tags_and_publisher_reach_clients(node: Node) -> None:
    """A publication of the server API has tags, and nobody as its publisher."""
    context = node(CLOSED)
    client = SessionClient(context)
    await client.connect(token=make_token(sub="u", channels=["a"]))
    await context.broker.publish("a", b"1", PublishOptions(tags={"k": "v"}))
    (push,) = await client.pushes()
    assert push["pub"] == {"data": 1, "tags": {"k": "v"}}
