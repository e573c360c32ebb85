"""API room: runs one gRPC call, from the check of its key to its reply.

What does not depend on the call is made once, at start, and nothing is found by
reflection while a call runs. It opens no port.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
import structlog
from google.protobuf.message_factory import GetMessageClass

from tocsin.admin.actor import NOBODY, Actor
from tocsin.api.auth import CALLER, REFUSED_CALL, Caller, KeyGuard, Metadata
from tocsin.api.batch import MAX_COMMANDS, run_batch
from tocsin.api.call import (
    Call,
    Command,
    CommandObserver,
    CommandRunner,
    Services,
    correlation_id_from,
)
from tocsin.api.errors import fill_error, grpc_status, grpc_trailers
from tocsin.api.methods.table import (
    ADMIN_COMMANDS,
    ADMIN_SERVICE,
    ADMIN_STREAMS,
    COMMANDS,
    SERVICE,
)
from tocsin.api.pace import AnswerPace
from tocsin.api.tracing import TRACEPARENT_KEY, CallTracer
from tocsin.core.api_methods import ADMIN_PREFIX, snake_case
from tocsin.core.errors import ApiError, BadRequest, InternalError
from tocsin.core.traces import read_traceparent
from tocsin.protocol import api_pb2
from tocsin.protocol.unreadable import reading
from tocsin.telemetry.spans import Tracer
from tocsin.telemetry.throttle import LineThrottle

_HEALTH_PREFIX = "/grpc.health.v1.Health/"
_REFLECTION_PREFIX = "/grpc.reflection."
_ADMIN_PREFIX = f"/{ADMIN_SERVICE.full_name}/"
ERROR_MODE_KEY = "x-centrifugo-error-mode"
REQUEST_ID_KEY = "x-request-id"

_LOGGED_METHOD_LENGTH = 128

_log = structlog.get_logger(__name__)
_refusals = LineThrottle(_log)

Context = grpc.aio.ServicerContext[Any, Any]
Answer = Callable[[Any, Context], Awaitable[Any]]


class ApiCalls:
    """Makes the handlers of the RPCs of both services."""

    def __init__(
        self,
        services: Services,
        *,
        transport_errors: bool,
        observer: CommandObserver | None,
        tracer: Tracer | None = None,
    ) -> None:
        tracing = CallTracer(tracer, protocol="grpc") if tracer else None
        self._runner = CommandRunner(
            services, observer, protocol="grpc", tracing=tracing
        )
        self._transport_errors = transport_errors
        self._services = services

    def handlers(self) -> dict[str, Any]:
        """Path of every RPC of both services → its gRPC handler."""
        api = {
            f"/{SERVICE.full_name}/{rpc.name}": self._handler(rpc.name)
            for rpc in SERVICE.methods
        }
        admin = {
            f"{_ADMIN_PREFIX}{command.rpc}": _unary(
                command, self._answer(command, _operator)
            )
            for command in ADMIN_COMMANDS.values()
        }
        streams = {
            f"{_ADMIN_PREFIX}{rpc.name}": self._stream(rpc)
            for rpc in ADMIN_SERVICE.methods
            if rpc.name in ADMIN_STREAMS
        }
        return api | admin | streams

    def _handler(self, rpc: str) -> Any:
        if rpc == "Batch":
            return grpc.unary_unary_rpc_method_handler(
                self._answer_batch,
                request_deserializer=reading(api_pb2.BatchRequest),
                response_serializer=api_pb2.BatchResponse.SerializeToString,
            )
        command = COMMANDS[snake_case(rpc)]
        return _unary(command, self._answer(command))

    def _answer(
        self, command: Command, find_actor: Callable[[Context], Actor] | None = None
    ) -> Answer:
        """The function that answers one RPC."""
        runner, response_class = self._runner, command.response_class

        async def answer(request: Any, context: Context) -> Any:
            actor = find_actor(context) if find_actor else NOBODY
            by_transport, call = self._read_metadata(context, actor)
            if request is None:
                await self._refuse_body(command.name, call, context)
            response = response_class()
            error = await runner.run(command, request, response.result, call)
            if error is None:
                response.result.SetInParent()  # an empty result is a result too
                return response
            if by_transport:
                await _abort(context, error)
            response.Clear()  # a half-filled result must not go out
            fill_error(response.error, error)
            return response

        return answer

    def _stream(self, rpc: Any) -> Any:
        """The handler of an RPC that answers with a stream; errors are statuses."""
        name = snake_case(rpc.name)
        method = ADMIN_STREAMS[rpc.name]
        response_class = GetMessageClass(rpc.output_type)

        async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
            _, call = self._read_metadata(context, _operator(context))
            if request is None:
                await self._refuse_body(name, call, context)
            error = self._runner.admit(ADMIN_PREFIX + name, call)
            cause: Exception | None = None
            try:
                if error is None:
                    async for message in method(self._services, request, call):
                        yield message
            except ApiError as raised:
                error = raised
            except Exception as raised:  # noqa: BLE001 - the border of a call
                error, cause = InternalError(), raised
            # How long a stream was open says nothing of this server.
            self._runner.note(name, call, 0.0, error, cause)
            if error is not None:
                await _abort(context, error)

        return grpc.unary_stream_rpc_method_handler(
            answer,
            request_deserializer=reading(GetMessageClass(rpc.input_type)),
            response_serializer=response_class.SerializeToString,
        )

    async def _answer_batch(
        self, request: api_pb2.BatchRequest | None, context: Context
    ) -> api_pb2.BatchResponse:
        """Errors of commands are in their replies, also in transport error mode."""
        _, call = self._read_metadata(context)
        if request is None:
            await self._refuse_body("batch", call, context)
        if len(request.commands) > MAX_COMMANDS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"bad request: commands: must be at most {MAX_COMMANDS}",
            )
        return await run_batch(
            self._runner, request.commands, call, parallel=request.parallel
        )

    async def _refuse_body(self, name: str, call: Call, context: Context) -> NoReturn:
        """End the call with a status: without a request there is no response type."""
        error = BadRequest("body", "is no message of this method")
        self._runner.note(name, call, 0.0, error)
        await _abort(context, error)

    def _read_metadata(
        self, context: Context, actor: Actor = NOBODY
    ) -> tuple[bool, Call]:
        """Whether errors become gRPC statuses, and the call."""
        mode = request_id = parent = ""
        for key, value in context.invocation_metadata() or ():
            # If a key comes twice, the first value counts.
            if key == ERROR_MODE_KEY:
                mode = mode or str(value)
            elif key == REQUEST_ID_KEY:
                request_id = request_id or str(value)
            elif key == TRACEPARENT_KEY and self._runner.is_traced:
                parent = parent or read_traceparent(str(value))
        by_transport = self._transport_errors or mode == "transport"
        call = Call(correlation_id_from(request_id), CALLER.get(), actor, parent)
        return by_transport, call


def _operator(context: Context) -> Actor:
    return Actor(CALLER.get().name, address_of(context.peer()), "grpc")


def _unary(command: Command, answer: Answer) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=reading(command.request_class),
        response_serializer=command.response_class.SerializeToString,
    )


async def _abort(context: Context, error: ApiError) -> NoReturn:
    await context.abort(grpc_status(error), error.message, grpc_trailers(error))


def refuse(
    status: grpc.StatusCode,
    details: str,
    *,
    before: Callable[[Context], Awaitable[None]] | None = None,
) -> Any:
    """A handler that ends any call with this status, whatever its shape.

    `before` is awaited first. It is a stream handler, because those start before a
    message has arrived: else a caller without the key could keep a call open by sending
    nothing.
    """

    async def end(_requests: Any, context: Context) -> AsyncIterator[bytes]:
        if before is not None:
            await before(context)
        await context.abort(status, details)
        yield b""  # pragma: no cover - makes this a stream; abort has raised

    return grpc.stream_stream_rpc_method_handler(end)


class Switchboard(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs only
    """The only way to a handler: the key is checked before the path is looked up.

    `operators` guards `AdminApi`, and `guard` all else; reflection tells of both
    services to whoever has either key. Handlers are not registered with the server by
    name: gRPC would find those without asking here.
    """

    def __init__(
        self,
        guard: KeyGuard,
        operators: KeyGuard,
        handlers: Mapping[str, Any],
        pace: AnswerPace,
    ) -> None:
        self._guard = guard
        self._operators = operators
        self._handlers = handlers
        self._pace = pace

    def service(self, handler_call_details: Any) -> Any:
        """The handler, one that refuses, or `None` for an unknown path."""
        path = handler_call_details.method
        caller = self._find_caller(path, handler_call_details.invocation_metadata)
        if caller is not None:
            # gRPC runs the handler in the task that asks here.
            CALLER.set(caller)
        # Health needs no key: balancers and orchestrators ask it.
        elif not path.startswith(_HEALTH_PREFIX):
            return refuse(
                grpc.StatusCode.UNAUTHENTICATED,
                "unauthenticated",
                before=partial(self._note_refused, path),
            )
        return self._handlers.get(path)

    def _find_caller(self, path: str, metadata: Metadata | None) -> Caller | None:
        if path.startswith(_ADMIN_PREFIX):
            return self._operators.identify(metadata)
        caller = self._guard.identify(metadata)
        if caller is None and path.startswith(_REFLECTION_PREFIX):
            return self._operators.identify(metadata)
        return caller

    async def _note_refused(self, path: str, context: Context) -> None:
        peer = address_of(context.peer())
        _refusals.warning(
            REFUSED_CALL, kind="grpc", method=path[:_LOGGED_METHOD_LENGTH], peer=peer
        )
        await self._pace.keep(peer)


def address_of(peer: str) -> str:
    """The address in what gRPC calls a peer (`ipv6:%5B::1%5D:4711`), without a port."""
    family, _, place = unquote(peer).partition(":")
    if family not in {"ipv4", "ipv6"}:
        return family  # a socket file has no address
    return place.rpartition(":")[0].strip("[]")
