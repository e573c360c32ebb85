"""docs/howto/results.md as it is written: a client that goes on where it stopped."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from tests.support.simulated_fcm import running_simulator
from tests.support.whole_server import serving

GUIDE = Path(__file__).parents[3] / "docs" / "howto" / "results.md"


class _Enough(Exception):
    """Ends the client of the guide, which follows for ever."""


def _follow() -> Any:
    names: dict[str, Any] = {}
    code = GUIDE.read_text(encoding="utf-8")
    exec(code.partition("```python\n")[2].partition("```")[0], names)
    return names["follow"]


async def test_the_client_of_the_guide_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Two runs of it see every event, in one order."""
    directory = tmp_path / "fcm"
    directory.mkdir()
    async with (
        running_simulator(directory) as simulator,
        serving(
            simulator,
            tmp_path,
            push={"results": {"detail": "recipient"}},
            admin={"key": "operators"},
            grpc_api={"address": "127.0.0.1", "port": 0, "insecure": True},
        ) as server,
    ):
        await server.register()
        await server.send()
        address = f"127.0.0.1:{server.listening.grpc_port}"
        seen: list[int] = []
        saved = [0]

        def follow_until(count: int) -> None:
            def handle(result: Any) -> None:
                seen.append(result.position)

            def save(position: int) -> None:
                saved[0] = position
                if len(seen) >= count:
                    raise _Enough

            try:
                _follow()(address, "operators", lambda: saved[0], save, handle)
            except _Enough:
                return

        for count in (1, 6):
            # A daemon, so that a client that waits for ever does not keep the test.
            thread = threading.Thread(target=follow_until, args=(count,), daemon=True)
            thread.start()
            async with asyncio.timeout(20):
                while thread.is_alive():  # noqa: ASYNC110 - a thread tells nobody
                    await asyncio.sleep(0.02)
        assert seen == [1, 2, 3, 4, 5, 6]
