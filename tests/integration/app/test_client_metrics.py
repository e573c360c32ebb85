"""What clients do is scraped from the server that serves them."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from tests.support.simulated_fcm import running_simulator
from tests.support.whole_server import Tocsin, serving, until

CHANNEL = {
    "without_namespace": {"allow_subscribe_for_client": True, "presence": True},
}


async def value(tocsin: Tocsin, name: str, **labels: str) -> float | None:
    """The value of the sample that has these labels among others."""
    for family in text_string_to_metric_families(await tocsin.metrics()):
        for sample in family.samples:
            if sample.name == f"centrifugo_{name}" and labels.items() <= (
                sample.labels.items()
            ):
                return sample.value
    return None


async def test_a_client_is_counted_from_connect_to_disconnect(tmp_path: Path) -> None:
    """Connections, subscriptions, commands, errors and frames, then none in flight."""
    folder = tmp_path / "fcm"
    folder.mkdir()
    client = {"insecure": True}
    async with (
        running_simulator(folder) as simulator,
        serving(simulator, tmp_path, client=client, channel=CHANNEL) as tocsin,
    ):
        url = f"{tocsin.origin}/connection/websocket"
        async with tocsin.session.ws_connect(url) as socket:
            for command in (
                {"id": 1, "connect": {"name": "js"}},
                {"id": 2, "subscribe": {"channel": "news"}},
                {"id": 3, "subscribe": {"channel": "nowhere:news"}},
            ):
                await socket.send_json(command)
                await socket.receive_json(timeout=20)
            await tocsin.call("publish", channel="news", data={})
            await socket.receive_json(timeout=20)
            await tocsin.call("channels")
            websocket = {"transport": "websocket"}
            for name, labels in (
                ("client_connections_accepted_total", websocket),
                ("client_connections_inflight", websocket),
                ("client_subscriptions_inflight", {"client_name": "unregistered"}),
                ("client_num_reply_errors_total", {"code": "102"}),
                (
                    "transport_messages_sent_total",
                    {**websocket, "frame_type": "push_publication"},
                ),
                ("node_survey_duration_seconds_count", {"op": "channels"}),
            ):
                found = await value(tocsin, name, **labels)
                bare = await value(tocsin, name.removesuffix("_total"), **labels)
                assert 1 in (found, bare), (name, found, bare)
        await until(lambda: is_zero(tocsin, "client_connections_inflight"))
        assert await is_zero(tocsin, "client_subscriptions_inflight")


async def is_zero(tocsin: Tocsin, name: str) -> bool:
    return await value(tocsin, name) == 0
