"""What a connection tells of the tokens that opened it and its subscriptions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.sessions import SessionClient, make_token

from tocsin.core.channel import ChannelOptions
from tocsin.transports.connection import Context
from tocsin.transports.settings import SessionSettings

Node = Callable[..., Context]
CLOSED = SessionSettings()


def told(client: SessionClient) -> Any:
    """The connection's state as a survey has it."""
    answer = json.loads(client.context.hub.answer_survey("connections", b"{}"))
    return answer[client.session.client]["state"]


async def test_both_kinds_of_token_are_told(node: Node) -> None:
    """With `jti` and `iat`, or what stands for them; no token, nothing told."""
    open_to_all = ChannelOptions(allow_subscribe_for_client=True)
    client = SessionClient(node(CLOSED, options=open_to_all))
    await client.connect(token=make_token(sub="u", jti="c-1", iat=5))
    token = make_token(sub="u", channel="a", jti="s-1", iat=7)
    await client.subscribe("a", token=token)
    await client.subscribe("b", token=make_token(sub="u", channel="b"))
    await client.subscribe("c")
    assert told(client)["connection_token"] == {"uid": "c-1", "issued_at": 5}
    assert told(client)["subscription_tokens"] == {
        "a": {"uid": "s-1", "issued_at": 7},
        "b": {"uid": "", "issued_at": 0},
    }
    newer = make_token(sub="u", channel="a", jti="s-2", iat=8)
    await client.ask(sub_refresh={"channel": "a", "token": newer})
    assert told(client)["subscription_tokens"]["a"] == {"uid": "s-2", "issued_at": 8}
    await client.ask(unsubscribe={"channel": "a"})
    assert list(told(client)["subscription_tokens"]) == ["b"]
    await client.ask(refresh={"token": make_token(sub="u", jti="c-2", iat=9)})
    assert told(client)["connection_token"] == {"uid": "c-2", "issued_at": 9}


@pytest.mark.parametrize(
    ("claims", "expected"), [({"sub": "u"}, {"uid": "", "issued_at": 0}), (None, None)]
)
async def test_a_token_without_id_and_time(
    node: Node, claims: dict[str, Any] | None, expected: Any
) -> None:
    """It is told all the same, so that it can be taken back by its user."""
    client = SessionClient(node())
    await client.connect(**({} if claims is None else {"token": make_token(**claims)}))
    assert told(client).get("connection_token") == expected
