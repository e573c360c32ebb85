"""A process that sends to the simulator's APNs with a token that it shares.

Run as `python -m tests.support.apns_process JSON`; it prints how each target went.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from tests.support.apns_devices import token_of
from tests.support.sends import FreePace, Reports, batch_of

from tocsin.core.ports.providers import TokenStore
from tocsin.providers.apns import ApnsProvider
from tocsin.providers.apns_setup import TokenAuth


async def open_tokens(kind: str, address: str, stack: AsyncExitStack) -> TokenStore:
    """The store of a queue of that kind."""
    from tocsin.queue.tokens import RedisTokenStore, SqlTokenStore

    if kind == "redis":
        from tocsin.queue.redis_connection import connect

        client = connect(address)
        stack.push_async_callback(client.aclose)
        return RedisTokenStore(client)
    from tocsin.queue.sql import SqlJobQueue
    from tocsin.storage.engine import open_sqlite

    database = open_sqlite(address)
    stack.push_async_callback(database.close)
    await SqlJobQueue(database.engine, owner="test").start()
    return SqlTokenStore(database.engine)


async def run(plan: dict[str, Any]) -> dict[str, int]:
    """Send to all names of the plan, a batch each; counts by code."""
    async with AsyncExitStack() as stack:
        tokens = await open_tokens(plan["store"], plan["address"], stack)
        provider = ApnsProvider(
            auth=TokenAuth(**plan["auth"]), tokens=tokens, **plan["options"]
        )
        stack.push_async_callback(provider.close)
        codes: Counter[str] = Counter()
        for name in plan["names"]:
            reports = Reports()
            batch = batch_of([token_of(name)], message=b'{"aps":{"alert":"x"}}')
            await provider.send(batch, reports, FreePace())
            codes += reports.codes()
        return dict(codes)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
