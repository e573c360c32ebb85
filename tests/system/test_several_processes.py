"""docs/howto/several-processes.md as it is written: two processes on one port."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support.ports import free_port
from tests.support.realtime_processes import Client, Node, connected, write
from tests.support.tocsin_processes import Process, Processes, fetch
from tests.support.tokens import SECRET, sign

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "several-processes.md"
CLIENTS = 32
"""So many that chance gives none to one of two processes once in a billion times."""


def _from_the_guide() -> dict[str, Any]:
    block = GUIDE.read_text().partition("```json\n")[2].partition("```")[0]
    config: dict[str, Any] = json.loads(block)
    return config


async def _subscribed(client: Client) -> None:
    await client.id()
    await client.send({"id": 2, "subscribe": {"channel": "news"}})
    assert "subscribe" in await client.next()


def _started(process: Process, path: Path, port: int, internal: int) -> Node:
    process.wait_ready(internal)
    return Node(process, port, 0, {}, path)


async def test_two_processes_act_as_one(
    processes: Processes, tmp_path: Path, redis_address: str
) -> None:
    """The kernel spreads clients; a publication at either reaches all of them."""
    config = _from_the_guide()
    port, internal = free_port(), [free_port(), free_port()]
    config["http_server"] |= {"address": "127.0.0.1", "port": port}
    config["grpc_api"] |= {"address": "127.0.0.1", "port": free_port()}
    config["engine"]["redis"]["address"] = redis_address
    config["http_api"] = {"insecure": True}
    config["client"] = {"token": {"hmac_secret_key": SECRET}}
    config["channel"] = {"without_namespace": {"allow_subscribe_for_client": True}}
    path = write(tmp_path, config)
    nodes = []
    for number in internal:
        setting = f"http_server.internal_port={number}"
        process = processes.start("serve", "--config", path, "--set", setting)
        nodes.append(_started(process, Path(path), port, number))
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connected(nodes[0], sign({"sub": "u"})))
            for _ in range(CLIENTS)
        ]
        for client in clients:
            await _subscribed(client)
        counts = [_num_clients(number) for number in internal]
        assert sum(counts) == CLIENTS
        assert all(counts), counts
        for number in internal:
            api = Node(nodes[0].process, number, 0, config, Path(path))
            await api.result("publish", channel="news", data={"from": number})
            for client in clients:
                assert (await client.push())["pub"]["data"] == {"from": number}


def _num_clients(port: int) -> int:
    status, text = fetch(f"http://127.0.0.1:{port}/metrics")
    assert status == 200
    name = "centrifugo_node_num_clients "
    lines = [line for line in text.splitlines() if line.startswith(name)]
    return int(float(lines[0].removeprefix(name)))
