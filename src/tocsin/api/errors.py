"""API room: turns core errors into replies, gRPC statuses and HTTP statuses.

A caller sees nothing but the codes and texts of the published table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

import grpc
from google.protobuf import any_pb2
from google.rpc import status_pb2

from tocsin.core.errors import ApiError, QueueFull, RateLimited
from tocsin.protocol import api_pb2
from tocsin.protocol.json_codec import SERVER

STATUS_DETAILS_KEY = "grpc-status-details-bin"

_GRPC: Mapping[int, grpc.StatusCode] = {
    100: grpc.StatusCode.INTERNAL,
    102: grpc.StatusCode.NOT_FOUND,
    103: grpc.StatusCode.PERMISSION_DENIED,
    104: grpc.StatusCode.NOT_FOUND,
    107: grpc.StatusCode.INVALID_ARGUMENT,
    108: grpc.StatusCode.INVALID_ARGUMENT,
    112: grpc.StatusCode.OUT_OF_RANGE,
    113: grpc.StatusCode.ALREADY_EXISTS,
}
HTTP_STATUSES: Mapping[int, HTTPStatus] = {
    100: HTTPStatus.INTERNAL_SERVER_ERROR,
    102: HTTPStatus.NOT_FOUND,
    103: HTTPStatus.FORBIDDEN,
    104: HTTPStatus.NOT_FOUND,
    107: HTTPStatus.BAD_REQUEST,
    108: HTTPStatus.BAD_REQUEST,
    112: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    113: HTTPStatus.CONFLICT,
}

_OVERLOADS = (QueueFull, RateLimited)


def fill_error(reply: api_pb2.Error, error: ApiError) -> None:
    """Write an error into the `error` field of a reply."""
    reply.code = error.code
    reply.message = error.message


def write_error(error: ApiError) -> bytes:
    """An error as JSON: `{"code", "message"}`."""
    return SERVER.write(api_pb2.Error(code=error.code, message=error.message))


def grpc_status(error: ApiError) -> grpc.StatusCode:
    """The gRPC status of transport error mode."""
    # Before the table: its code is that of `NotAvailable`, but a retry makes sense.
    if isinstance(error, _OVERLOADS):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    return _GRPC.get(error.code, grpc.StatusCode.INTERNAL)


def http_status(error: ApiError) -> HTTPStatus:
    """The HTTP status of transport error mode."""
    if isinstance(error, _OVERLOADS):  # as in `grpc_status`
        return HTTPStatus.TOO_MANY_REQUESTS
    return HTTP_STATUSES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)


def http_headers(error: ApiError) -> dict[str, str]:
    """Headers that go with `http_status`."""
    if isinstance(error, RateLimited):
        return {"Retry-After": str(math.ceil(error.retry_after_s))}
    return {}


def grpc_trailers(error: ApiError) -> tuple[tuple[str, bytes], ...]:
    """Trailers of transport error mode: a `google.rpc.Status` with our `Error`."""
    packed = any_pb2.Any()
    packed.Pack(api_pb2.Error(code=error.code, message=error.message))
    status = status_pb2.Status(
        code=grpc_status(error).value[0], message=error.message, details=[packed]
    )
    return ((STATUS_DETAILS_KEY, status.SerializeToString()),)
