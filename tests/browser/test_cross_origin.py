"""The official SDK on a page of another origin, as applications have it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.chromium import find_browser, open_page
from tests.support.whole_node import client_token, whole_node

pytestmark = [
    pytest.mark.skipif(not find_browser(), reason="no Chromium is on PATH"),
    pytest.mark.xdist_group("browser"),  # one at a time
    pytest.mark.timeout(240),
]

TRANSPORTS = ("websocket", "http_stream", "sse")
CONNECT = """
(() => {
  window.told = [];
  const client = new Centrifuge(
    [{ transport: TRANSPORT, endpoint: ENDPOINT }],
    { token: TOKEN, emulationEndpoint: EMULATION },
  );
  client.on("error", ({ type }) => told.push(`error ${type}`));
  client.on("connected", () => told.push("connected"));
  const subscription = client.newSubscription("open:1");
  subscription.on("publication", ({ data }) => told.push(data));
  subscription.on("subscribed", async () => {
    const stats = await subscription.presenceStats();
    told.push(`clients ${stats.numClients}`);
  });
  subscription.subscribe();
  client.connect();
})()
"""


@asynccontextmanager
async def application(node_origin: str) -> AsyncIterator[str]:
    """The origin of a page that loads the SDK from the node."""

    async def serve(_request: web.Request) -> web.Response:
        script = f'<script src="{node_origin}/demo/centrifuge.js"></script>'
        icon = '<link rel="icon" href="data:,">'
        text = f"<!doctype html><title>an application</title>{icon}{script}"
        return web.Response(text=text, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def script(node_origin: str, transport: str) -> str:
    endpoint = f"{node_origin}/connection/{transport}"
    if transport == "websocket":
        endpoint = endpoint.replace("http", "ws", 1)
    return (
        CONNECT.replace("TRANSPORT", repr(transport))
        .replace("ENDPOINT", repr(endpoint), 1)
        .replace("TOKEN", repr(client_token(sub="ann")))
        .replace("EMULATION", repr(f"{node_origin}/emulation"))
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("is_allowed", [True, False], ids=["allowed", "refused"])
async def test_a_page_of_another_origin(
    tmp_path: Path, transport: str, is_allowed: bool
) -> None:
    """It may connect, and send commands, exactly where its origin is let in."""
    let_in = "http://localhost:*" if is_allowed else "http://other.example"
    access = {"allow_subscribe_for_client": True, "allow_presence_for_client": True}
    async with (
        whole_node(
            tmp_path,
            client={"allowed_origins": [let_in]},
            demo={"enabled": True},
            channel={"namespaces": [{"name": "open", "presence": True, **access}]},
        ) as node,
        application(node.origin) as origin,
        open_page(find_browser()) as page,
    ):
        await page.open(origin)
        await page.wait("typeof Centrifuge === 'function'")
        await page.run(script(node.origin, transport))
        if not is_allowed:
            await page.wait("told.includes('error transport')")
            assert "connected" not in await page.run("told")
            assert node.realtime.hub.describe().num_clients == 0
            return
        await page.wait("told.includes('clients 1')")
        await node.publish("open:1", "heard")
        await page.wait("told.includes('heard')")
        assert page.complaints == []
