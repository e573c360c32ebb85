"""Results of a whole server, as a stream and as pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc.aio import EOF  # type: ignore[attr-defined] # not in the stubs
from tests.support.simulated_fcm import running_simulator
from tests.support.whole_server import Tocsin, serving

from tocsin.protocol import admin_pb2, admin_pb2_grpc
from tocsin.simulator.server import Simulator

KEY = {"X-API-Key": "operators"}
AS_OPERATOR = (("authorization", "apikey operators"),)


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    directory = tmp_path / "fcm"
    directory.mkdir()
    async with running_simulator(directory) as simulator:
        yield simulator


@asynccontextmanager
async def telling(
    simulator: Simulator, folder: Path, detail: str = "recipient"
) -> AsyncIterator[Tocsin]:
    async with serving(
        simulator,
        folder,
        push={"results": {"detail": detail}},
        admin={"key": "operators"},
        grpc_api={"address": "127.0.0.1", "port": 0, "insecure": True},
    ) as server:
        yield server


@asynccontextmanager
async def watching(server: Tocsin, **request: Any) -> AsyncIterator[Any]:
    """A stream of `WatchResults`."""
    address = f"127.0.0.1:{server.listening.grpc_port}"
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = admin_pb2_grpc.AdminApiStub(channel)
        yield stub.WatchResults(
            admin_pb2.WatchResultsRequest(**request), metadata=AS_OPERATOR
        )


async def read(stream: Any, count: int) -> list[Any]:
    """So many events of a stream."""
    events: list[Any] = []
    async with asyncio.timeout(20):
        async for page in stream:
            events += page.results
            if len(events) >= count:
                return events
    raise AssertionError(f"the stream ended after {len(events)} events")


async def admin(server: Tocsin, method: str, **request: Any) -> Any:
    url = f"{server.origin}/admin/api/{method}"
    async with server.session.post(url, json=request, headers=KEY) as answer:
        assert answer.status == 200
        return json.loads(await answer.text())


async def test_a_stream_tells_of_every_recipient_and_of_the_send(
    simulator: Simulator, tmp_path: Path
) -> None:
    """And of nothing that FCM or a person could send to."""
    async with telling(simulator, tmp_path) as server, watching(server) as stream:
        ids = await server.register()
        uid = await server.send()
        events = await read(stream, 6)
        recipients = {e.device_id: e for e in events if e.detail == "recipient"}
        assert set(recipients) == set(ids)
        outcomes = [recipients[id].outcome for id in ids]
        assert outcomes[:4] == ["delivered"] * 3 + ["removed"]
        assert outcomes[4] == "dead_lettered"
        first = recipients[ids[0]]
        assert first.message_id
        assert (first.uid, first.provider, first.attempt) == (uid, "fcm", 1)
        assert 0 < first.accepted_at_ms <= first.answered_at_ms
        assert recipients[ids[3]].provider_code == "UNREGISTERED"
        (whole,) = (e for e in events if e.detail == "send")
        assert (whole.uid, whole.outcome) == (uid, "finished")
        counts = {"delivered": 3, "removed": 1, "dead_lettered": 1, "matched": 5}
        assert dict(whole.counts) == counts
        assert "good-" not in str(events)
        assert "Goal" not in str(events)
        # Once more from the middle, and by pages: the same, in the same order.
        async with watching(server, position=events[2].position) as rest:
            assert await read(rest, 3) == events[3:6]
        answer = await admin(server, "list_results", filter={"outcomes": ["removed"]})
        (gone,) = answer["result"]["results"]
        assert gone["device_id"] == ids[3]


async def test_a_page_waits_over_http(simulator: Simulator, tmp_path: Path) -> None:
    """With `detail: send` nothing is told of recipients."""
    async with telling(simulator, tmp_path, "send") as server:
        await server.register()
        asked = asyncio.create_task(admin(server, "list_results", wait_s=20))
        uid = await server.send()
        async with asyncio.timeout(15):
            (event,) = (await asked)["result"]["results"]
        assert (event["detail"], event["uid"]) == ("send", uid)


async def test_streams_end_when_the_server_does(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Cleanly, so that a client goes on elsewhere; the server waits for none."""
    async with (
        telling(simulator, tmp_path) as server,
        watching(server) as stream,
        asyncio.timeout(20),
    ):
        page = await stream.read()
        assert not page.results
        server.listening.services.operators.results.close()
        assert await stream.read() is EOF
        assert await stream.code() == grpc.StatusCode.OK


async def test_a_stream_without_the_key_or_with_nonsense_is_refused(
    simulator: Simulator, tmp_path: Path
) -> None:
    """By a status that says why."""
    async with telling(simulator, tmp_path) as server:
        address = f"127.0.0.1:{server.listening.grpc_port}"
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = admin_pb2_grpc.AdminApiStub(channel)
            for metadata, position, code, words in (
                ((), 0, grpc.StatusCode.UNAUTHENTICATED, "unauthenticated"),
                (
                    AS_OPERATOR,
                    7,
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "position: is after the newest result",
                ),
            ):
                call = stub.WatchResults(
                    admin_pb2.WatchResultsRequest(position=position),
                    metadata=metadata,
                )
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert caught.value.code() is code
                assert words in (caught.value.details() or "")


async def test_where_results_are_off_both_doors_say_so(
    simulator: Simulator, tmp_path: Path
) -> None:
    """And name the key."""
    async with telling(simulator, tmp_path, "off") as server:
        answer = await admin(server, "list_results")
        assert answer["error"]["code"] == 108
        assert "push_notifications.results.detail" in answer["error"]["message"]
        async with watching(server) as stream:
            with pytest.raises(grpc.aio.AioRpcError, match=r"results\.detail is off"):
                await stream.read()
