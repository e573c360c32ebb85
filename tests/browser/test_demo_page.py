"""The demo page in a headless Chromium, against a whole server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.chromium import Page, find_browser, open_page
from tests.support.whole_node import WholeNode, client_token, whole_node

pytestmark = [
    pytest.mark.skipif(not find_browser(), reason="no Chromium is on PATH"),
    pytest.mark.xdist_group("browser"),  # one at a time
    pytest.mark.timeout(240),
]

OPEN = {
    "allow_subscribe_for_client": True,
    "allow_publish_for_client": True,
    "history_size": 10,
    "history_ttl": "60s",
}
SECTIONS = {
    "demo": {"enabled": True},
    "channel": {"namespaces": [{"name": "open", **OPEN}]},
}
ANY_PORT = {"allowed_origins": ["http://127.0.0.1:*"]}
TRANSPORTS = ("websocket", "http_stream", "sse")
TOKEN = client_token(sub="ann")


async def visit(page: Page, node: WholeNode) -> None:
    await page.open(f"{node.origin}/demo")
    await wait_line(page, "ready", "connect, subscribe, publish")


async def fill(page: Page, name: str, value: str) -> None:
    await page.run(f"document.getElementById({name!r}).value = {json.dumps(value)}")


async def click(page: Page, name: str) -> None:
    await page.run(f"document.getElementById({name!r}).click()")


async def wait_shown(page: Page, name: str, state: str) -> None:
    await page.wait(f"document.getElementById({name!r}).textContent === {state!r}")


async def wait_line(page: Page, kind: str, text: str) -> None:
    """Wait until the page tells of something."""
    lines = f"[...document.querySelectorAll('#log .{kind} span')]"
    await page.wait(f"{lines}.some((line) => line.textContent === {json.dumps(text)})")


async def connect(page: Page, transport: str, token: str = TOKEN) -> None:
    await fill(page, "token", token)
    await fill(page, "transport", transport)
    await click(page, "connect")


async def test_a_publication_of_the_api_is_shown(tmp_path: Path) -> None:
    """Over every transport that is on; what the page publishes comes back too."""
    async with (
        whole_node(tmp_path, client=ANY_PORT, **SECTIONS) as node,
        open_page(find_browser()) as page,
    ):
        await visit(page, node)
        offered = "[...document.getElementById('transport').options]"
        names = await page.run(f"{offered}.map((each) => each.text)")
        assert names == list(TRANSPORTS)
        for transport in TRANSPORTS:
            channel = f"open:{transport}"
            await connect(page, transport)
            await wait_shown(page, "state", "connected")
            found = await node.call("connections", user="ann")
            (told,) = found["connections"].values()
            assert told["transport"] == transport
            await fill(page, "channel", channel)
            await click(page, "subscribe")
            await wait_shown(page, "subscription", "subscribed")
            await node.publish(channel, {"from": "the API", "over": transport})
            sent = {"from": "the page", "over": transport}
            await fill(page, "message", json.dumps(sent))
            await click(page, "publish")
            for sender in ("the API", "the page"):
                text = f'{{"from":"{sender}","over":"{transport}"}}'
                await wait_line(page, "publication", text)
            kept = await node.call("history", channel=channel, limit=5)
            assert [each["data"] for each in kept["publications"]][1:] == [sent]
            await click(page, "unsubscribe")
            await wait_shown(page, "subscription", "unsubscribed")
            await click(page, "disconnect")
            await wait_shown(page, "state", "disconnected")
        assert page.complaints == []


async def test_what_is_published_stays_text(tmp_path: Path) -> None:
    """Markup in a publication is shown, and the policy stops scripts in the page."""
    async with (
        whole_node(tmp_path, client=ANY_PORT, **SECTIONS) as node,
        open_page(find_browser()) as page,
    ):
        await visit(page, node)
        await connect(page, "websocket")
        await fill(page, "channel", "open:markup")
        await click(page, "subscribe")
        await wait_shown(page, "subscription", "subscribed")
        markup = "<img src=x onerror='window.reached = true'>"
        await node.publish("open:markup", markup)
        await wait_line(page, "publication", json.dumps(markup))
        assert await page.run("document.querySelectorAll('#log img').length") == 0
        assert page.complaints == []
        await page.run(
            "document.body.insertAdjacentHTML('beforeend', "
            "\"<img src='icon.svg' onload='window.reached = true' id='probe'>\")"
        )
        await page.wait("document.getElementById('probe').complete")
        await page.run(
            "fetch('https://other.invalid/').catch(() => window.refused = true); 0"
        )
        await page.wait("window.refused")
        assert await page.run("window.reached") is None
        blocked = [each for each in page.complaints if "Content Security" in each]
        assert len(blocked) >= 2, page.complaints


async def test_refusals_are_told_with_what_to_do(tmp_path: Path) -> None:
    """A bad token, no token, a channel that is closed, a message that is no JSON."""
    async with (
        whole_node(tmp_path, client=ANY_PORT, **SECTIONS) as node,
        open_page(find_browser()) as page,
    ):
        await visit(page, node)
        await click(page, "publish")
        await wait_line(page, "hint", "connect first")
        await connect(page, "websocket", "broken")
        await wait_line(page, "disconnected", "3500 invalid token")
        await wait_shown(page, "state", "disconnected")
        await connect(page, "websocket", "")
        await wait_line(page, "disconnected", "3501 bad request")
        hint = "a token is needed, unless client.allow_anonymous_connect_without_token"
        await wait_line(page, "hint", f"{hint} is on")
        await connect(page, "websocket")
        await wait_shown(page, "state", "connected")
        await fill(page, "channel", "closed")
        await click(page, "subscribe")
        await wait_line(page, "unsubscribed", "103 permission denied")
        await click(page, "publish")
        await wait_line(page, "error", "not published: 103 permission denied")
        await fill(page, "message", "{")
        await click(page, "publish")
        told = "[...document.querySelectorAll('#log .error span')]"
        await page.wait(
            f"{told}.some((each) => each.textContent.startsWith('not JSON'))"
        )


async def test_an_origin_that_may_not_connect(tmp_path: Path) -> None:
    """The page names the key that keeps it out."""
    async with (
        whole_node(tmp_path, **SECTIONS) as node,
        open_page(find_browser()) as page,
    ):
        await visit(page, node)
        await connect(page, "websocket")
        hint = f"does client.allowed_origins let in {node.origin}?"
        await wait_line(page, "hint", hint)
