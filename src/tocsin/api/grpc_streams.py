"""API room: health and reflection, the gRPC services that hold streams open.

Their streams end when the server begins to shut down: it would wait for open ones for
its whole grace period. They tell nothing about devices or pushes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION
from grpc_reflection.v1alpha.reflection import aio as reflection_aio  # type: ignore[attr-defined] # not in the stubs

from tocsin.protocol.unreadable import reading

HEALTH = "grpc.health.v1.Health"

_States = health_pb2.HealthCheckResponse
Context = grpc.aio.ServicerContext[Any, Any]


class Drain:
    """Tells streams that the server is shutting down."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def has_begun(self) -> bool:
        """Whether the server is shutting down."""
        return self._begun.is_set()

    def begin(self) -> None:
        """End the streams: the server begins to shut down."""
        self._begun.set()

    async def wait(self) -> None:
        """Wait until the server begins to shut down."""
        await self._begun.wait()


class HealthService:
    """`grpc.health.v1` for the whole server and for the named services.

    It needs no key. `before_check` is awaited before each answer, with gRPC's name of
    the caller's connection.
    """

    def __init__(
        self,
        drain: Drain,
        *services: str,
        before_check: Callable[[str], Awaitable[None]],
    ) -> None:
        self._drain = drain
        self._before_check = before_check
        self._services = {"", *services}

    def handlers(self) -> dict[str, Any]:
        """Path → handler."""
        request = reading(health_pb2.HealthCheckRequest)
        response = _States.SerializeToString
        return {
            f"/{HEALTH}/Check": grpc.unary_unary_rpc_method_handler(
                self._check, request_deserializer=request, response_serializer=response
            ),
            f"/{HEALTH}/Watch": grpc.unary_stream_rpc_method_handler(
                self._watch, request_deserializer=request, response_serializer=response
            ),
        }

    def _state(self, service: str) -> Any:
        if service not in self._services:
            return _States.SERVICE_UNKNOWN
        return _States.NOT_SERVING if self._drain.has_begun else _States.SERVING

    async def _check(
        self, request: health_pb2.HealthCheckRequest | None, context: Context
    ) -> health_pb2.HealthCheckResponse:
        await self._before_check(context.peer())
        if request is None:
            await _refuse_body(context)
        state = self._state(request.service)
        if state == _States.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return _States(status=state)

    async def _watch(
        self, request: health_pb2.HealthCheckRequest | None, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        await self._before_check(context.peer())
        if request is None:
            await _refuse_body(context)
        yield _States(status=self._state(request.service))
        if not self._drain.has_begun:
            await self._drain.wait()
            yield _States(status=self._state(request.service))


async def _refuse_body(context: Context) -> NoReturn:
    """End the call and log nothing: callers without the key may send such bytes."""
    await context.abort(
        grpc.StatusCode.INVALID_ARGUMENT, "bad request: body: is no message"
    )


def reflection_handlers(drain: Drain, *services: str) -> dict[str, Any]:
    """Path → handler of server reflection over the named services."""
    servicer: Any = reflection_aio.ReflectionServicer((*services, HEALTH, REFLECTION))  # type: ignore[attr-defined] # not in the stubs

    async def reflect(
        requests: AsyncIterator[Any], context: Context
    ) -> AsyncIterator[Any]:
        asked = _until(drain, requests)
        async for reply in servicer.ServerReflectionInfo(asked, context):
            yield reply

    handler = grpc.stream_stream_rpc_method_handler(
        reflect,
        request_deserializer=reading(reflection_pb2.ServerReflectionRequest),
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    # v1 has the messages of v1alpha under another name; newer tools ask it first.
    return {
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": handler
        for version in ("v1", "v1alpha")
    }


async def _until(drain: Drain, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The requests until the drain begins; then it looks as if the client had ended."""
    iterator = aiter(requests)
    drained = asyncio.ensure_future(drain.wait())
    try:
        while True:
            following = asyncio.ensure_future(anext(iterator, None))
            await asyncio.wait(
                {following, drained}, return_when=asyncio.FIRST_COMPLETED
            )
            if not following.done():
                following.cancel()
                return
            request = following.result()
            if request is None:  # the end, or bytes that are not a request
                return
            yield request
    finally:
        drained.cancel()
