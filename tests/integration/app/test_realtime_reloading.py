"""Limits and rules of clients that change while a node serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.whole_node import SECRET, WholeNode, client_token, whole_node

from tocsin.app.faults import Unusable
from tocsin.app.realtime_reloading import prepare_realtime
from tocsin.config import Config


def config(**client: Any) -> Config:
    token = {"hmac_secret_key": SECRET, **client.pop("token", {})}
    return Config.model_validate({"client": {"token": token, **client}})


async def subscribe(node: WholeNode, *channels: str) -> list[int]:
    """The error codes of a client's subscribes, 0 for success."""
    url = f"{node.origin}/connection/websocket"
    async with node.session.ws_connect(url) as socket:
        connect = {"id": 1, "connect": {"token": client_token(sub="u")}}
        await socket.send_json(connect)
        answer = await socket.receive_json()
        assert "connect" in answer, answer
        codes = []
        for number, channel in enumerate(channels, 2):
            token = client_token(sub="u", channel=channel)
            command = {"channel": channel, "token": token}
            await socket.send_json({"id": number, "subscribe": command})
            answer = await socket.receive_json()
            codes.append(answer.get("error", {}).get("code", 0))
        return codes


async def test_limits_of_clients_are_taken(tmp_path: Path) -> None:
    """Of channels and of connections, for who connects from then on."""
    async with whole_node(tmp_path, client={"channel_limit": 2}) as node:
        assert await subscribe(node, "a", "b", "c") == [0, 0, 106]
        take = prepare_realtime(node.realtime, config(channel_limit=3))
        assert await subscribe(node, "a", "b", "c") == [0, 0, 106]
        take()
        assert await subscribe(node, "a", "b", "c", "d") == [0, 0, 0, 106]
        prepare_realtime(node.realtime, config(connection_limit=1, concurrency=7))()
        url = f"{node.origin}/connection/websocket"
        async with node.session.ws_connect(url):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await node.session.ws_connect(url)
            assert refused.value.status == 503
        # Keys that are no limits stay as they were.
        assert node.realtime.context.settings.concurrency == 0


async def test_all_faults_are_told_and_nothing_changes(tmp_path: Path) -> None:
    """Of patterns and keys alike."""
    wrong = config(
        channel_limit=3, token={"rsa_public_key": "x", "audience_regex": "("}
    )
    async with whole_node(tmp_path, client={"channel_limit": 2}) as node:
        with pytest.raises(Unusable) as refused:
            prepare_realtime(node.realtime, wrong)
        found = " ".join(refused.value.faults)
        assert "client.token.rsa_public_key" in found
        assert "client.token.audience_regex" in found
        assert await subscribe(node, "a", "b", "c") == [0, 0, 106]
