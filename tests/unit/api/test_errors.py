from __future__ import annotations

from http import HTTPStatus

import grpc
import pytest
from google.rpc import status_pb2

from tocsin.api.errors import (
    fill_error,
    grpc_status,
    grpc_trailers,
    http_headers,
    http_status,
)
from tocsin.core import errors
from tocsin.core.errors import ApiError
from tocsin.protocol import api_pb2

_EXAMPLES: dict[type[ApiError], ApiError] = {
    errors.BadRequest: errors.BadRequest("token", "must not be empty"),
    errors.QueueFull: errors.QueueFull(),
    errors.RateLimited: errors.RateLimited(0.25),
}

TABLE = [
    (errors.InternalError, 100, 500, "INTERNAL"),
    (errors.QueueUnavailable, 100, 500, "INTERNAL"),
    (errors.UnknownChannel, 102, 404, "NOT_FOUND"),
    (errors.PermissionDenied, 103, 403, "PERMISSION_DENIED"),
    (errors.NotFound, 104, 404, "NOT_FOUND"),
    (errors.BadRequest, 107, 400, "INVALID_ARGUMENT"),
    (errors.NotAvailable, 108, 400, "INVALID_ARGUMENT"),
    (errors.QueueFull, 108, 429, "RESOURCE_EXHAUSTED"),
    (errors.RateLimited, 108, 429, "RESOURCE_EXHAUSTED"),
    (errors.UnrecoverablePosition, 112, 416, "OUT_OF_RANGE"),
    (errors.Conflict, 113, 409, "ALREADY_EXISTS"),
]


@pytest.mark.parametrize(("kind", "code", "http", "rpc"), TABLE)
def test_published_table(kind: type[ApiError], code: int, http: int, rpc: str) -> None:
    """Each error becomes the published code, HTTP status and gRPC status."""
    error = _EXAMPLES.get(kind) or kind()
    reply = api_pb2.Error()
    fill_error(reply, error)
    assert (reply.code, reply.message) == (code, error.message)
    assert http_status(error) == HTTPStatus(http)
    assert grpc_status(error) is grpc.StatusCode[rpc]


def test_every_error_is_in_the_table() -> None:
    """A new error fails here until its statuses are decided."""
    assert {kind for kind, *_ in TABLE} == set(errors.ERRORS)


def test_a_used_up_rate_says_when_to_come_again() -> None:
    """In whole seconds for HTTP, never before it helps."""
    assert http_headers(errors.RateLimited(0.2)) == {"Retry-After": "1"}
    assert http_headers(errors.RateLimited(2.5)) == {"Retry-After": "3"}
    assert http_headers(errors.QueueFull()) == {}
    assert errors.RateLimited(0.2501).message == (
        "not available: the rate of this key is used up; try again in 0.25 s"
    )


def test_unknown_code_is_internal() -> None:
    """A code outside the table is answered as an internal error."""

    class Odd(ApiError):
        code = 999

    assert grpc_status(Odd()) is grpc.StatusCode.INTERNAL
    assert http_status(Odd()) == HTTPStatus.INTERNAL_SERVER_ERROR


def test_trailers_hold_a_packed_error() -> None:
    """The status details are a google.rpc.Status around our Error message."""
    ((name, value),) = grpc_trailers(errors.BadRequest("token", "must not be empty"))
    assert name == "grpc-status-details-bin"
    status = status_pb2.Status.FromString(value)
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message == "bad request: token: must not be empty"
    (detail,) = status.details
    assert detail.type_url == ("type.googleapis.com/centrifugal.centrifugo.api.Error")
    error = api_pb2.Error()
    assert detail.Unpack(error)
    assert (error.code, error.message) == (107, status.message)
