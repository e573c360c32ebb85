"""What a connection tells of the tokens that opened it and its subscriptions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.support.sessions import EMULATED, SessionClient, make_token, run_until

from tocsin.core.channel import ChannelOptions
from tocsin.core.client_codes import (
    DENIED,
)
from tocsin.core.control import DisconnectCommand, SubscribeCommand, Target
from tocsin.core.ports.channels import DenialKind
from tocsin.sessions.context import Context
from tocsin.sessions.settings import SessionSettings

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


class SlowDenials:
    """A `DenialStore` whose answers wait; `denied` is what it finds in the end."""

    def __init__(self, kind: DenialKind) -> None:
        self.questions: list[asyncio.Future[None]] = []
        self.denied = False
        self._kind = kind

    async def fetch(self, keys: Sequence[tuple[DenialKind, str]]) -> list[int | None]:
        if keys[0][0] is not self._kind:
            return [None]
        is_denied = self.denied  # read now, told later
        question = asyncio.get_running_loop().create_future()
        self.questions.append(question)
        await question
        return [1 if is_denied else None]

    async def answer(self) -> None:
        """Let the next question have its answer."""
        await run_until(lambda: bool(self.questions))
        self.questions.pop(0).set_result(None)


COMMANDS: list[tuple[str, Callable[[Context], object]]] = [
    ("block", lambda context: context.hub.run(DisconnectCommand(Target("u"), DENIED))),
    ("revoke", lambda context: context.hub.answer_survey("connections", b"{}")),
]


@pytest.mark.parametrize(
    "tell", [row[1] for row in COMMANDS], ids=[row[0] for row in COMMANDS]
)
async def test_who_is_denied_while_coming_in(
    node: Node, tell: Callable[[Context], object]
) -> None:
    """Neither the question nor the command that closes connections finds them alone."""
    denied = SlowDenials(DenialKind.USER)
    context = node(CLOSED, denied=denied)
    client = SessionClient(context)
    command = {"id": 1, "connect": {"token": make_token(sub="u")}}
    client.session.receive(json.dumps(command).encode())
    await run_until(lambda: bool(denied.questions))
    denied.denied = True
    tell(context)
    await denied.answer()
    await denied.answer()
    await run_until(lambda: client.closed is not None)
    assert client.closed == (3507, "permission denied")
    assert context.hub.num_clients == 0


async def test_a_subscription_denied_while_it_is_made(node: Node) -> None:
    """A token that is taken back meanwhile opens nothing."""
    denied = SlowDenials(DenialKind.TOKEN)
    context = node(denied=denied)
    client = SessionClient(context)
    await client.connect()
    token = make_token(sub="", channel="a", jti="t")
    command = {"id": 2, "subscribe": {"channel": "a", "token": token}}
    client.session.receive(json.dumps(command).encode())
    await run_until(lambda: bool(denied.questions))
    denied.denied = True
    context.hub.answer_survey("connections", b"{}")
    await denied.answer()
    await denied.answer()
    await run_until(lambda: bool(client.link.written))
    (reply,) = await client.take()
    assert reply["error"]["code"] == 103
    assert context.hub.num_subs == 0


async def test_a_session_that_has_not_connected_is_nobodys(node: Node) -> None:
    """Commands by session find it once it has; before that it has no user."""
    context = node(CLOSED)
    client = SessionClient(context, EMULATED)
    command = SubscribeCommand(Target(session=client.session.session), "a")
    context.hub.run(command)
    assert await client.pushes() == []
    assert context.hub.num_subs == 0
    await client.connect(token=make_token(sub=""))
    context.hub.run(command)
    (push,) = await client.pushes()
    assert push["channel"] == "a"
