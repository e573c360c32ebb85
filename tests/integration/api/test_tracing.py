"""Calls that are traced, at both doors; what they are about is in no span."""

from __future__ import annotations

import pytest
import structlog
from tests.support.api import KEY, WITH_KEY, World, calling, serving
from tests.support.http_api import serving_http
from tests.support.traces import RecordedTracer, parent_of, told, trace_of

from tocsin.core.errors import QueueUnavailable
from tocsin.core.traces import span_id_of, trace_id_of
from tocsin.protocol import api_pb2

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACED = {"X-API-Key": KEY, "Traceparent": PARENT}
SERVICE = "centrifugal.centrifugo.api.CentrifugoApi"


def send_request() -> api_pb2.SendPushNotificationRequest:
    return api_pb2.SendPushNotificationRequest(
        uid="u",
        recipient=api_pb2.PushRecipient(fcm_tokens=["secret-token"]),
        notification=api_pb2.PushNotification(
            fcm=api_pb2.FcmPushNotification(message=b'{"data":{"a":"secret"}}')
        ),
    )


async def test_a_grpc_call_continues_the_trace_of_its_caller() -> None:
    """The job carries the call's own span on."""
    tracer, world = RecordedTracer(), World()
    headers = (*WITH_KEY, ("traceparent", PARENT), ("x-request-id", "order-7"))
    async with serving(world, tracer=tracer) as server, calling(server) as stub:
        answer = await stub.SendPushNotification(send_request(), metadata=headers)
    assert answer.result.uid == "u"
    span = tracer.take_one()
    assert span.name == f"{SERVICE}/SendPushNotification"
    assert span.kind.name == "SERVER"
    assert (trace_of(span), parent_of(span)) == (
        trace_id_of(PARENT),
        span_id_of(PARENT),
    )
    assert told(span) == {
        "rpc.system": "grpc",
        "rpc.service": SERVICE,
        "rpc.method": "SendPushNotification",
        "tocsin.request_id": "order-7",
    }
    (_, jobs), *_ = world.queue.accepted
    assert trace_id_of(jobs[0].traceparent) == trace_id_of(PARENT)
    assert span_id_of(jobs[0].traceparent) != span_id_of(PARENT)
    assert "secret" not in span.to_json()


async def test_an_http_call_is_named_by_its_route() -> None:
    """A caller's own fault fails no span; each command of a batch has one."""
    tracer, world = RecordedTracer(), World()
    device = {"provider": "fcm", "token": "t", "platform": "android"}
    async with serving_http(world, tracer=tracer) as http:
        bad = await http.send("/api/device_register", {}, headers=TRACED)
        assert bad.json["error"]["code"] == 107
        span = tracer.take_one()
        await http.send(
            "/api/batch",
            {"commands": [{"device_register": device}] * 2},
            headers=TRACED,
        )
        both = tracer.take()
    assert span.name == "POST /api/device_register"
    assert told(span)["http.route"] == "/api/device_register"
    assert told(span)["tocsin.error_code"] == 107
    assert span.status.status_code.name == "UNSET"
    assert {trace_of(each) for each in (span, *both)} == {trace_id_of(PARENT)}
    assert [each.name for each in both] == ["POST /api/device_register"] * 2


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (RuntimeError("dsn=secret"), "InternalError"),
        (QueueUnavailable("dsn=secret"), "QueueUnavailable"),
    ],
)
async def test_an_error_of_this_server_fails_its_span(
    failure: Exception, kind: str
) -> None:
    """By the name of its kind; what it was stands in the log, with the trace."""
    tracer, world = RecordedTracer(), World()
    world.queue.failure = failure
    headers = (*WITH_KEY, ("traceparent", PARENT))
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as lines:
        async with serving(world, tracer=tracer) as server, calling(server) as stub:
            answer = await stub.SendPushNotification(send_request(), metadata=headers)
    assert answer.error.code == 100
    span = tracer.take_one()
    assert span.status.status_code.name == "ERROR"
    assert told(span)["error.type"] == kind
    assert "secret" not in span.to_json()
    (line,) = [each for each in lines if each["event"] == "call failed"]
    assert line["trace_id"] == trace_id_of(PARENT)


@pytest.mark.parametrize("sent", ["", "rubbish", f"{PARENT}-x"])
async def test_rubbish_begins_a_trace(sent: str) -> None:
    """The call is served, and its trace is new."""
    tracer, world = RecordedTracer(), World()
    headers = (*WITH_KEY, ("traceparent", sent))
    async with serving(world, tracer=tracer) as server, calling(server) as stub:
        await stub.SendPushNotification(send_request(), metadata=headers)
    assert parent_of(tracer.take_one()) == ""


async def test_without_tracing_nothing_of_it_is_read() -> None:
    """The jobs carry no context, whatever the caller sent."""
    world = World()
    headers = (*WITH_KEY, ("traceparent", PARENT))
    async with serving(world) as server, calling(server) as stub:
        await stub.SendPushNotification(send_request(), metadata=headers)
    (_, jobs), *_ = world.queue.accepted
    assert jobs[0].traceparent == ""
