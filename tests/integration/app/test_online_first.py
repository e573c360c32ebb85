"""A push that is published first, through a whole server with real subscribers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.simulated_fcm import running_simulator
from tests.support.subscribers import subscribed
from tests.support.tokens import SECRET
from tests.support.whole_server import Tocsin, serving, until

from tocsin.core.lanes import queue_names
from tocsin.protocol import api_pb2, api_pb2_grpc
from tocsin.simulator.server import Simulator

CHANNEL = "chat:derby"
GOAL = {"text": "Goal"}
CHANNELS = {"namespaces": [{"name": "chat", "presence": True}, {"name": "blind"}]}
MESSAGE = {"fcm": {"message": {"notification": {"title": "Goal"}}}}
HOUR_MS = 3_600_000


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    directory = tmp_path / "fcm"
    directory.mkdir()
    async with running_simulator(directory) as simulator:
        yield simulator


def opened(
    simulator: Simulator, folder: Path, **sections: Any
) -> AbstractAsyncContextManager[Tocsin]:
    client = {"token": {"hmac_secret_key": SECRET}}
    return serving(simulator, folder, client=client, channel=CHANNELS, **sections)


async def register(tocsin: Tocsin, **users: Collection[str]) -> None:
    """Devices of these tokens; the user `nobody` is none."""
    for user, tokens in users.items():
        for token in tokens:
            answer = await tocsin.call(
                "device_register",
                provider="fcm",
                token=token,
                platform="ios",
                user="" if user == "nobody" else user,
                topics=["derby"],
            )
            assert "result" in answer, answer


async def send(tocsin: Tocsin, wait_ms: int = 0, **more: Any) -> str:
    first = {"channel": CHANNEL, "data": GOAL, "wait_ms": wait_ms}
    return await tocsin.send(online_first=first, **more)


async def delivered(simulator: Simulator, *tokens: str) -> None:
    """Wait until just these have got the push, each once."""

    async def all_have() -> bool:
        return set(tokens) <= set(simulator.ledger.delivered)

    await until(all_have)
    assert dict(simulator.ledger.delivered) == dict.fromkeys(tokens, 1)


async def settled(tocsin: Tocsin, uid: str, sent: int, online: int) -> None:
    """Wait until the funnel of the send says so."""
    failed = {"online": online} if online else {}

    async def complete() -> bool:
        found = (await tocsin.funnel(uid))["result"]
        return bool(found["sent"] == sent and found["failed"] == failed)

    await until(complete)


def rows(folder: Path) -> set[tuple[str, str, str]]:
    """User, status and code of what analytics keep of spared devices."""
    connection = sqlite3.connect(folder / "t.db")
    try:
        found = connection.execute(
            "SELECT user_id, status, error_code FROM push_analytics"
            " WHERE error_code <> ''"
        )
        return set(found.fetchall())
    finally:
        connection.close()


async def test_who_is_there_gets_it_in_the_app_and_who_is_away_as_a_push(
    simulator: Simulator, tmp_path: Path
) -> None:
    """All devices of a reached user are spared, those without a user never."""
    async with opened(simulator, tmp_path) as tocsin:
        await register(tocsin, anna=("a1", "a2"), ben=("b1",), nobody=("n1",))
        port = tocsin.listening.http_port
        async with subscribed(port, "anna", CHANNEL) as anna:
            uid = await send(tocsin)
            assert (await anna.next_publication())["data"] == GOAL
            await delivered(simulator, "b1", "n1")
            await settled(tocsin, uid, sent=2, online=2)
        assert rows(tmp_path) == {("anna", "failed", "online")}
        name = "centrifugo_push_online_skipped_count"
        metrics = await tocsin.metrics()
        assert f'{name}{{provider="fcm",platform="ios"}} 2' in metrics
        assert len(simulator.ledger.delivered) == 2


async def test_who_comes_or_leaves_within_the_wait_was_reached(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Present at either look is enough; another channel is not."""
    async with opened(simulator, tmp_path) as tocsin:
        await register(tocsin, anna=("a1",), ben=("b1",), eve=("e1",))
        port = tocsin.listening.http_port
        async with subscribed(port, "eve", "chat:other"):
            async with subscribed(port, "anna", CHANNEL):
                uid = await send(tocsin, 5000)
            async with subscribed(port, "ben", CHANNEL):
                await settled(tocsin, uid, sent=1, online=2)
        await delivered(simulator, "e1")


async def test_the_wait_can_be_cancelled(simulator: Simulator, tmp_path: Path) -> None:
    """What was published stays published, nobody gets the push."""
    async with opened(simulator, tmp_path) as tocsin:
        await register(tocsin, ben=("b1",))
        port = tocsin.listening.http_port
        async with subscribed(port, "anna", CHANNEL) as anna:
            uid = await send(tocsin, HOUR_MS, uid="u")
            assert (await anna.next_publication())["data"] == GOAL
        assert await tocsin.call("cancel_push", uid=uid) == {"result": {}}
        labels = 'recipient_type="filter",platform="",success="false"'
        line = f'{{provider="fcm",{labels},err_code="cancelled"}} 1'
        assert f"centrifugo_push_notification_count{line}" in await tocsin.metrics()
        assert dict(simulator.ledger.delivered) == {}


async def test_a_repeat_is_published_once(simulator: Simulator, tmp_path: Path) -> None:
    """The second answer is that of the first."""
    async with opened(simulator, tmp_path) as tocsin:
        await register(tocsin, ben=("b1",))
        port = tocsin.listening.http_port
        async with subscribed(port, "anna", CHANNEL) as anna:
            assert await send(tocsin, uid="u") == await send(tocsin, uid="u")
            assert (await anna.next_publication())["data"] == GOAL
            assert await anna.is_silent()
        await delivered(simulator, "b1")


async def test_after_a_restart_everybody_gets_the_push(
    simulator: Simulator, tmp_path: Path
) -> None:
    """An engine in memory forgets who was reached, and nobody is forgotten by that."""
    async with opened(simulator, tmp_path) as tocsin:
        await register(tocsin, anna=("a1",), ben=("b1",))
        port = tocsin.listening.http_port
        async with subscribed(port, "anna", CHANNEL) as anna:
            await send(tocsin, 6000)  # longer than the stop may take
            assert (await anna.next_publication())["data"] == GOAL
    async with opened(simulator, tmp_path):
        await delivered(simulator, "a1", "b1")


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"online_first": {"channel": "", "data": 1}}, 107, "online_first.channel"),
    ({"online_first": {"channel": CHANNEL}}, 107, "online_first.data"),
    (
        {"online_first": {"channel": CHANNEL, "b64data": "?"}},
        107,
        "online_first.b64data",
    ),
    (
        {"online_first": {"channel": CHANNEL, "data": 1, "wait_ms": HOUR_MS + 1}},
        107,
        "online_first.wait_ms",
    ),
    ({"send_at": 4_000_000_000}, 107, "send_at"),
    ({"recipient": {"fcm_tokens": ["t"]}}, 107, "online_first"),
    ({"online_first": {"channel": "x:1", "data": 1}}, 102, "online_first.channel"),
    ({"online_first": {"channel": "blind:1", "data": 1}}, 108, "online_first.channel"),
    ({"online_first": {"channel": "plain", "data": 1}}, 108, "online_first.channel"),
]


def asked(**changes: Any) -> dict[str, Any]:
    return {
        "recipient": {"filter": {"topics": ["derby"]}},
        "notification": MESSAGE,
        "online_first": {"channel": CHANNEL, "data": GOAL},
        **changes,
    }


async def test_both_doors_refuse_by_the_name_of_the_field(
    simulator: Simulator, tmp_path: Path
) -> None:
    """HTTP and gRPC say the same, and nothing is queued."""
    door = {"address": "127.0.0.1", "port": 0, "key": "k"}
    async with opened(simulator, tmp_path, grpc_api=door) as tocsin:
        address = f"127.0.0.1:{tocsin.listening.grpc_port}"
        async with grpc.aio.insecure_channel(address) as channel:
            stub = api_pb2_grpc.CentrifugoApiStub(channel)
            for changes, code, field in REFUSED:
                request = asked(**changes)
                over_http = await tocsin.call("send_push_notification", **request)
                error = over_http["error"]
                assert error["code"] == code, changes
                assert f": {field}: " in error["message"], changes
                reply = await stub.SendPushNotification(
                    as_message(request), metadata=[("authorization", "apikey k")]
                )
                told = (reply.error.code, reply.error.message)
                assert told == (error["code"], error["message"])
        queue = tocsin.listening.resources.queue
        assert queue is not None
        assert set((await queue.waiting(queue_names("fcm"))).values()) == {0}


async def test_it_is_not_available_where_no_worker_sees_the_channels(
    simulator: Simulator, tmp_path: Path
) -> None:
    """The error says what to set."""
    alone = {"embedded": False}
    async with opened(simulator, tmp_path, worker=alone) as tocsin:
        answer = await tocsin.call("send_push_notification", **asked())
        assert answer["error"]["code"] == 108
        assert "online_first: " in answer["error"]["message"]
        assert "engine.type redis" in answer["error"]["message"]


def as_message(request: dict[str, Any]) -> api_pb2.SendPushNotificationRequest:
    """The request of HTTP as gRPC has it: JSON fields are bytes there."""
    first = dict(request["online_first"])
    if "data" in first:
        first["data"] = json.dumps(first["data"]).encode()
    message = json.dumps(MESSAGE["fcm"]["message"]).encode()
    return api_pb2.SendPushNotificationRequest(
        **{
            **request,
            "notification": {"fcm": {"message": message}},
            "online_first": first,
        }
    )
