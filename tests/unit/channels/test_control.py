from typing import Any

import pytest
from tests.support.channels import Corridor

from tocsin.channels.control import EncodedParts
from tocsin.core.channel import StreamPosition
from tocsin.core.client_codes import Disconnect
from tocsin.core.control import (
    DisconnectCommand,
    RefreshCommand,
    SubscribeCommand,
    Target,
    UnsubscribeCommand,
)
from tocsin.core.errors import ApiError, BadRequest

USER = Target(user="u")
LEAF = {"op": "", "key": "plan", "cmp": "eq", "val": "pro"}


@pytest.mark.parametrize(
    "command",
    [
        SubscribeCommand(USER, "x"),
        SubscribeCommand(
            Target("u", "c", "s", True, LEAF),
            "kept:1",
            info=b"{}",
            data=b"[]",
            expire_at=2_000_000_000,
            recover_since=StreamPosition(3, "e"),
            overrides={"presence": True, "join_leave": False},
        ),
        UnsubscribeCommand(USER, "x"),
        UnsubscribeCommand(USER, ""),
        DisconnectCommand(USER, Disconnect(4999, "bye"), ("c1", "c2")),
        DisconnectCommand(USER),
        RefreshCommand(USER, expired=True),
        RefreshCommand(USER, expire_at=5, info=b"{}"),
    ],
    ids=repr,
)
async def test_a_command_goes_out_as_it_is(command: Any) -> None:
    """Nobody waits for a match, and none is needed."""
    corridor = Corridor()
    control = corridor.services.control
    send: Any = {
        SubscribeCommand: control.subscribe,
        UnsubscribeCommand: control.unsubscribe,
        DisconnectCommand: control.disconnect,
        RefreshCommand: control.refresh,
    }[type(command)]
    await send(command)
    assert corridor.node.commands == [command]


async def test_base64_of_info_and_data_wins() -> None:
    """Each by itself."""
    corridor = Corridor()
    await corridor.services.control.subscribe(
        SubscribeCommand(USER, "x", info=b"i", data=b"d"), EncodedParts(b64info="AA==")
    )
    await corridor.services.control.subscribe(
        SubscribeCommand(USER, "x", info=b"i", data=b"d"), EncodedParts(b64data="AQ==")
    )
    first, second = corridor.node.commands
    assert isinstance(first, SubscribeCommand)
    assert isinstance(second, SubscribeCommand)
    assert (first.info, first.data) == (b"\x00", b"d")
    assert (second.info, second.data) == (b"i", b"\x01")


@pytest.mark.parametrize(
    ("channel", "encoded", "error"),
    [
        ("", EncodedParts("!", "!"), "bad request: channel: must not be empty"),
        ("no:1", EncodedParts("!", "!"), "unknown channel: namespace no"),
        (
            "x",
            EncodedParts(b64info="!"),
            "bad request: b64info: must be base64 with padding",
        ),
        (
            "x",
            EncodedParts(b64data="!"),
            "bad request: b64data: must be base64 with padding",
        ),
    ],
)
async def test_subscriptions_that_are_refused(
    channel: str, encoded: EncodedParts, error: str
) -> None:
    """The namespace comes before the base64; nothing is sent."""
    corridor = Corridor()
    with pytest.raises(ApiError) as raised:
        await corridor.services.control.subscribe(
            SubscribeCommand(USER, channel), encoded
        )
    assert raised.value.message == error
    assert corridor.node.commands == []


@pytest.mark.parametrize("ago_s", [0, 1, 10**10])
async def test_an_expiry_in_the_past_fails_where_a_connection_is_here(
    ago_s: int,
) -> None:
    """Without one nobody can tell, and it succeeds; either way nothing is sent."""
    corridor = Corridor()
    command = SubscribeCommand(USER, "x", expire_at=corridor.now_s - ago_s)
    await corridor.services.control.subscribe(command)
    corridor.node.matches = True
    with pytest.raises(BadRequest, match="expire_at"):
        await corridor.services.control.subscribe(command)
    assert corridor.node.commands == []


async def test_an_unsubscribe_needs_a_known_namespace() -> None:
    """Only where it names one."""
    control = Corridor().services.control
    with pytest.raises(ApiError) as raised:
        await control.unsubscribe(UnsubscribeCommand(USER, "no:1"))
    assert raised.value.code == 102


@pytest.mark.parametrize(
    "tree", [{"op": "xor"}, {"cmp": "eq"}, {"key": "a", "cmp": "like"}, {"op": "and"}]
)
async def test_a_label_filter_that_is_no_condition(tree: dict[str, object]) -> None:
    """It is refused before a node could leave it out."""
    corridor = Corridor()
    control = corridor.services.control
    target = Target(all_users=True, label_filter=tree)
    calls: list[Any] = [
        control.subscribe(SubscribeCommand(target, "x")),
        control.unsubscribe(UnsubscribeCommand(target, "x")),
        control.disconnect(DisconnectCommand(target)),
        control.refresh(RefreshCommand(target)),
    ]
    for call in calls:
        with pytest.raises(BadRequest, match="label_filter"):
            await call
    assert corridor.node.commands == []
