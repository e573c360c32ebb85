"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import IO, Any

import aiohttp

DEADLINE_S = 60.0
NAMES = (
    "chromium-headless-shell",
    "headless_shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)
FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "--window-size=900,800",
)


def find_browser() -> str:
    """The path of a Chromium on PATH, or nothing."""
    return next(filter(None, map(shutil.which, NAMES)), "")


class Page:
    """One tab; `complaints` are errors of scripts, loads and policies so far."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.complaints: list[str] = []

    async def read(self) -> None:
        """Take answers and events until the browser ends."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif told["method"] == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["params"]["exceptionDetails"]))
            elif told["method"] == "Log.entryAdded":
                entry = told["params"]["entry"]
                if entry["level"] == "error":
                    self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    async def ask(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(DEADLINE_S):
            told = await answer
        assert "error" not in told, told
        return told["result"]

    async def open(self, url: str) -> None:
        told = await self.ask("Page.navigate", url=url)
        assert not told.get("errorText"), told

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = await self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def wait(self, script: str) -> Any:
        """The value of an expression, once it is true."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not (value := await self.run(script)):  # noqa: ASYNC110 - no event says it
                    await asyncio.sleep(0.02)
        except TimeoutError:
            shown = await self.run("document.body.innerText")
            told = f"not true: {script}\n{shown}\n{self.complaints}"
            raise AssertionError(told) from None
        return value


@asynccontextmanager
async def open_page(browser: str) -> AsyncIterator[Page]:
    """A tab in a browser of its own, which ends with the block."""
    async with AsyncExitStack() as stack:
        # The browser may still write while it ends, hence the leniency.
        folder = stack.enter_context(
            tempfile.TemporaryDirectory("-chromium", ignore_cleanup_errors=True)
        )
        said = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - is closed
        child = await asyncio.create_subprocess_exec(
            browser,
            *FLAGS,
            f"--user-data-dir={folder}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        stack.push_async_callback(_end, child)
        port = await _find_port(said, child)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            tabs = [tab for tab in await answer.json() if tab["type"] == "page"]
        socket = await stack.enter_async_context(
            session.ws_connect(tabs[0]["webSocketDebuggerUrl"], max_msg_size=2**26)
        )
        page = Page(socket)
        reading = asyncio.create_task(page.read())
        stack.callback(reading.cancel)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.ask(f"{domain}.enable")
        yield page


async def _find_port(said: IO[bytes], child: asyncio.subprocess.Process) -> int:
    """The browser says where it listens."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            text = os.pread(said.fileno(), 65_536, 0)
            if found := re.search(rb"DevTools listening on ws://[^/]*:(\d+)/", text):
                return int(found[1])
            assert child.returncode is None, f"the browser ended at once: {text!r}"
            await asyncio.sleep(0.02)


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kill the browser with the processes that it started."""
    if child.returncode is None:
        os.killpg(child.pid, 9)
    await child.wait()
