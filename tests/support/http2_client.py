"""What tests of the HTTP/2 engine share: a head, a pool, and many requests at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from tocsin.http2 import (
    Failure,
    FailureKind,
    Http2Pool,
    Http2RequestError,
    RequestHead,
    Response,
)

WAIT_S = 10.0
Result = Response | Failure


def head_for(origin: str, path: str = "/send") -> RequestHead:
    """A POST with one header."""
    return RequestHead.build("POST", origin, path, {"authorization": "Bearer x"})


@contextlib.asynccontextmanager
async def pool_for(
    origin: str, *, ssl_context: Any = None, **options: Any
) -> AsyncIterator[Http2Pool]:
    """A pool that is closed at the end, waiting for nothing."""
    pool = Http2Pool(origin, ssl_context=ssl_context, **options)
    try:
        yield pool
    finally:
        await pool.aclose(deadline_s=0.1)


async def send_many(
    pool: Http2Pool, head: RequestHead, count: int, body: bytes = b"body"
) -> list[Any]:  # of `Response` or `Failure`, as the test expects
    """Send them as room allows and return what came of each, in order of sending."""
    results: list[Result | None] = [None] * count
    left = count
    finished = asyncio.Event()

    def settle(at: int) -> Callable[[Result], None]:
        def done(result: Result) -> None:
            nonlocal left
            assert results[at] is None, "told twice"
            results[at] = result
            left -= 1
            if not left:
                finished.set()

        return done

    sent = 0
    while sent < count:
        await asyncio.wait_for(pool.wait_room(), WAIT_S)
        for _ in range(min(pool.room(), count - sent)):
            pool.submit(head, body, settle(sent))
            sent += 1
    await asyncio.wait_for(finished.wait(), WAIT_S)
    return [result for result in results if result is not None]


def statuses(results: list[Result]) -> list[int | str]:
    """The status of each response, the kind of each failure."""
    return [r.status if isinstance(r, Response) else r.kind.value for r in results]


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.002)


async def until_answered(pool: Http2Pool, head: RequestHead) -> None:
    """Ask until an answer comes, as long as the pool only backs off."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                assert (await pool.request(head)).status == 200
            except Http2RequestError as error:
                if error.failure.kind is not FailureKind.CONNECT:
                    raise
                await asyncio.sleep(0.02)
            else:
                return
