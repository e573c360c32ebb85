"""API room: how one gRPC call is run, from its key to its reply.

Everything that does not depend on the call is made once; no call is looked into by
reflection. It opens no port.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.message_factory import GetMessageClass

from tocsin.api.auth import KeyGuard
from tocsin.api.call import (
    Call,
    CommandObserver,
    Method,
    Services,
    correlation_id_from,
)
from tocsin.api.errors import fill_error, grpc_status, grpc_trailers
from tocsin.api.methods.table import BUILT
from tocsin.core.errors import ApiError, InternalError, QueueUnavailable
from tocsin.protocol import api_pb2

SERVICE = api_pb2.DESCRIPTOR.services_by_name["CentrifugoApi"]
_HEALTH_PREFIX = "/grpc.health.v1.Health/"
ERROR_MODE_KEY = "x-centrifugo-error-mode"
REQUEST_ID_KEY = "x-request-id"

_LOGGED_METHOD_LENGTH = 128
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


def snake_case(rpc: str) -> str:
    """`DeviceRegister` → `device_register`, `RPC` → `rpc`."""
    return _WORD.sub("_", rpc).lower()


class ApiCalls:
    """Makes the handlers of the API service's RPCs."""

    def __init__(
        self,
        services: Services,
        *,
        transport_errors: bool,
        observer: CommandObserver | None,
    ) -> None:
        self._services = services
        self._transport_errors = transport_errors
        self._observer = observer

    def handlers(self) -> dict[str, Any]:
        """Path of every RPC of the schema → its gRPC handler."""
        return {
            f"/{SERVICE.full_name}/{rpc.name}": self._handler(rpc)
            for rpc in SERVICE.methods
        }

    def _handler(self, rpc: Any) -> Any:
        method = BUILT.get(rpc.name)
        if method is None:
            return refuse(
                grpc.StatusCode.UNIMPLEMENTED, f"method {rpc.name} not implemented"
            )
        response_class = GetMessageClass(rpc.output_type)
        return grpc.unary_unary_rpc_method_handler(
            self._answer(snake_case(rpc.name), method, response_class),
            request_deserializer=GetMessageClass(rpc.input_type).FromString,
            response_serializer=response_class.SerializeToString,
        )

    def _answer(
        self, name: str, method: Method, response_class: Callable[[], Any]
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        """The behaviour of one RPC; the third border at which errors end."""
        services, observer = self._services, self._observer

        async def answer(request: Any, context: Context) -> Any:
            started = time.perf_counter()
            by_transport, correlation_id = self._read_metadata(context)
            response = response_class()
            error: ApiError | None = None
            try:
                await method(services, request, response.result, Call(correlation_id))
                response.result.SetInParent()
            except ApiError as raised:
                error = raised
                _log_failure(name, correlation_id, error, None)
            except Exception as raised:  # noqa: BLE001 - the border of a call
                error = InternalError()
                _log_failure(name, correlation_id, error, raised)
            if observer is not None:
                seconds = time.perf_counter() - started
                observer.observe_command(
                    name, "grpc", seconds, 0 if error is None else error.code
                )
            if error is None:
                return response
            if by_transport:
                await _abort(context, error)
            response.Clear()  # a half-filled result must not go out
            fill_error(response.error, error)
            return response

        return answer

    def _read_metadata(self, context: Context) -> tuple[bool, str]:
        """Whether errors go by transport, and the call's correlation id."""
        mode = request_id = ""
        for key, value in context.invocation_metadata() or ():
            # Of a doubled key only the first value counts.
            if key == ERROR_MODE_KEY:
                mode = mode or str(value)
            elif key == REQUEST_ID_KEY:
                request_id = request_id or str(value)
        by_transport = self._transport_errors or mode == "transport"
        return by_transport, correlation_id_from(request_id)


async def _abort(context: Context, error: ApiError) -> NoReturn:
    await context.abort(grpc_status(error), error.message, grpc_trailers(error))


def _log_failure(
    method: str, correlation_id: str, error: ApiError, cause: Exception | None
) -> None:
    """One line per failed call; what the caller did wrong is worth an info only."""
    write = _log.error if error.code == InternalError.code else _log.info
    more = {"reason": error.reason} if isinstance(error, QueueUnavailable) else {}
    write(
        "call failed",
        method=method,
        protocol="grpc",
        code=error.code,
        error=error.message,
        correlation_id=correlation_id,
        exc_info=cause,
        **more,
    )


def refuse(status: grpc.StatusCode, details: str) -> Any:
    """A handler that ends any call with this status, whatever its shape.

    It is a stream handler, because those start before a message has arrived: a
    caller without the key cannot keep a call open by sending nothing.
    """

    async def end(_requests: Any, context: Context) -> AsyncIterator[bytes]:
        await context.abort(status, details)
        yield b""  # pragma: no cover - makes this a stream; abort has raised

    return grpc.stream_stream_rpc_method_handler(end)


class Switchboard(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs only
    """The only way to a handler: the key is checked before any path is known.

    Handlers are not registered with the server by name, since those would be
    found without passing here.
    """

    def __init__(self, guard: KeyGuard, handlers: Mapping[str, Any]) -> None:
        self._guard = guard
        self._handlers = handlers
        self._refused = refuse(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")

    def service(self, handler_call_details: Any) -> Any:
        """The handler, one that refuses, or `None` for an unknown path."""
        path = handler_call_details.method
        if not self._guard.allows(
            handler_call_details.invocation_metadata
        ) and not path.startswith(_HEALTH_PREFIX):
            _log.warning(
                "call refused: the authorization metadata is not the configured key",
                method=path[:_LOGGED_METHOD_LENGTH],
            )
            return self._refused
        return self._handlers.get(path)
