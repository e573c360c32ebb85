"""`AdminApi` on both doors: who comes in, and that it answers as the API does."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.support.admin import bury
from tests.support.api import (
    ADMIN_KEY,
    AS_OPERATOR,
    KEY,
    WITH_KEY,
    World,
    operators_key,
    serving,
)
from tests.support.http_api import serving_admin_http
from tests.support.jobs import make_payload, make_send_job, make_walk_job

from tocsin.api.auth import AccessKey, KeyRing, digest_of
from tocsin.api.methods.table import ADMIN_COMMANDS
from tocsin.core.breaker import Cause, credential_name, open_breaker
from tocsin.core.device import DeadToken, DeviceFilter, ProviderTokens
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.push import Body, Expand, Job
from tocsin.core.removals import RemovalGuard, RemovalLimit
from tocsin.core.send_log import Accepting, SendRecord
from tocsin.protocol import admin_pb2, admin_pb2_grpc, api_pb2, api_pb2_grpc

_LIST = admin_pb2.ListDeadLettersRequest()


async def _refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


def _unknown(channel: grpc.aio.Channel) -> Any:
    return channel.unary_unary("/tocsin.admin.v1.AdminApi/Nothing", bytes, bytes)


REFUSED = (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")


@pytest.mark.parametrize("metadata", [(), WITH_KEY], ids=["no key", "the API's key"])
@pytest.mark.parametrize("operators", ["", ADMIN_KEY])
async def test_nobody_without_its_key_reaches_the_service_on_grpc(
    operators: str, metadata: Any
) -> None:
    """Neither the API's key opens it, nor an API that needs none."""
    async with (
        serving(
            World(), keys=KeyRing(insecure=True), operators=operators_key(operators)
        ) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub: Any = admin_pb2_grpc.AdminApiStub(channel)
        call = stub.ListDeadLetters(_LIST, metadata=metadata)
        assert await _refusal(call) == REFUSED
        unknown = _unknown(channel)
        assert await _refusal(unknown(b"", metadata=metadata)) == REFUSED


async def test_without_a_configured_key_no_key_fits() -> None:
    """An empty key in the call is none."""
    async with (
        serving(World()) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub: Any = admin_pb2_grpc.AdminApiStub(channel)
        for given in ("apikey ", f"apikey {ADMIN_KEY}"):
            call = stub.ListDeadLetters(_LIST, metadata=(("authorization", given),))
            assert await _refusal(call) == REFUSED


async def test_the_key_opens_the_service_and_nothing_else_on_grpc() -> None:
    """Calls are counted by their names; the API stays behind its own key."""
    world = World()
    async with (
        serving(world, operators=operators_key()) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub: Any = admin_pb2_grpc.AdminApiStub(channel)
        answer = await stub.ListDeadLetters(_LIST, metadata=AS_OPERATOR)
        assert answer.HasField("result")
        wrong = admin_pb2.ListDeadLettersRequest(limit=-1)
        answer = await stub.ListDeadLetters(wrong, metadata=AS_OPERATOR)
        assert (answer.error.code, answer.error.message) == (
            107,
            "bad request: limit: must not be negative",
        )
        transport = (*AS_OPERATOR, ("x-centrifugo-error-mode", "transport"))
        code, _ = await _refusal(stub.ListDeadLetters(wrong, metadata=transport))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        unknown = _unknown(channel)
        code, _ = await _refusal(unknown(b"", metadata=AS_OPERATOR))
        assert code == grpc.StatusCode.UNIMPLEMENTED
        api: Any = api_pb2_grpc.CentrifugoApiStub(channel)
        call = api.Info(api_pb2.InfoRequest(), metadata=AS_OPERATOR)
        assert await _refusal(call) == REFUSED
    assert world.observed.commands == [
        ("list_dead_letters", "grpc", 0),
        ("list_dead_letters", "grpc", 107),
        ("list_dead_letters", "grpc", 107),
    ]


async def test_a_named_key_with_the_right_opens_the_service() -> None:
    """It is counted by its name; a right for another method is none for this."""
    right = frozenset({"admin.list_dead_letters", "info"})
    ring = KeyRing(
        [
            AccessKey("anna", digest_of("key-of-anna"), right),
            AccessKey("ben", digest_of("key-of-ben"), frozenset({"admin.other"})),
        ]
    )
    world = World()
    async with (
        serving(world, operators=ring) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub: Any = admin_pb2_grpc.AdminApiStub(channel)
        anna = (("authorization", "apikey key-of-anna"),)
        assert (await stub.ListDeadLetters(_LIST, metadata=anna)).HasField("result")
        ben = (("authorization", "apikey key-of-ben"),)
        assert (await stub.ListDeadLetters(_LIST, metadata=ben)).error.code == 103
    async with serving_admin_http(world, keys=ring) as http:
        for name, answers in (("anna", "result"), ("ben", "error")):
            headers = {"X-API-Key": f"key-of-{name}"}
            answer = await http.send("/admin/api/list_dead_letters", headers=headers)
            assert list(answer.json) == [answers]
    assert world.observed.keys == [
        ("anna", "grpc", "admitted"),
        ("ben", "grpc", "denied"),
        ("anna", "http", "admitted"),
        ("ben", "http", "denied"),
    ]


@pytest.mark.parametrize("metadata", [WITH_KEY, AS_OPERATOR], ids=["API", "admin"])
async def test_reflection_tells_of_both_services_to_either_key(metadata: Any) -> None:
    """So grpcurl works for operators with the key that they have."""
    async with (
        serving(World(), operators=operators_key()) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)

        async def asking() -> Any:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            yield reflection_pb2.ServerReflectionRequest(
                file_containing_symbol="tocsin.admin.v1.AdminApi"
            )

        replies = [
            reply
            async for reply in stub.ServerReflectionInfo(asking(), metadata=metadata)
        ]
    names = [each.name for each in replies[0].list_services_response.service]
    assert "tocsin.admin.v1.AdminApi" in names
    assert "centrifugal.centrifugo.api.CentrifugoApi" in names
    assert replies[1].HasField("file_descriptor_response")


async def test_the_service_over_http() -> None:
    """A route per method, the same JSON, and the key in any of its forms."""
    world = World()
    async with serving_admin_http(world) as http:
        answer = await http.send("/admin/api/list_dead_letters", {"limit": 5})
        assert answer.json == {"result": {"items": [], "has_more": False}}
        answer = await http.send("/admin/api/list_dead_letters", {"limit": -5})
        assert answer.json["error"]["code"] == 107
        answer = await http.send("/admin/api/list_dead_letters", {"limit": "no"})
        assert answer.status == 400
        path = f"/admin/api/list_dead_letters?api_key={ADMIN_KEY}"
        assert (await http.send(path, headers={})).status == 200
        assert (await http.send(path, verb="GET")).status == 405
        assert (await http.send("/admin/api/nothing")).status == 404
    assert world.observed.commands[0] == ("list_dead_letters", "http", 0)


@pytest.mark.parametrize("configured", [ADMIN_KEY, ""])
@pytest.mark.parametrize("given", ["", KEY, " "])
async def test_nobody_without_its_key_reaches_the_service_over_http(
    configured: str, given: str
) -> None:
    """Every method answers 401 with an empty body."""
    async with serving_admin_http(World(), key=configured) as http:
        for name in ADMIN_COMMANDS:
            headers = {"X-API-Key": given}
            answer = await http.send(f"/admin/api/{name}", b"", headers=headers)
            assert (answer.status, answer.body) == (401, b"")


async def test_letters_are_listed_without_their_recipients() -> None:
    """No token of a letter is in any answer."""
    world = World()
    bury(world.queue, "payload_rejected: too big", make_send_job(attempt=2))
    async with serving_admin_http(world) as http:
        answer = await http.send("/admin/api/list_dead_letters", b"{}")
    assert answer.json["result"]["items"] == [
        {
            "id": "1",
            "reason": "payload_rejected",
            "detail": "payload_rejected: too big",
            "at_ms": 1000,
            "uid": "u1",
            "push_id": "p1",
            "stage": "send",
            "provider": "fcm",
            "integration": "fcm",
            "attempt": 2,
            "recipients": 3,
        }
    ]
    assert "token-0" not in json.dumps(answer.json)


def _bury(world: World, *reasons: str) -> None:
    for reason in reasons:
        bury(world.queue, reason, make_send_job(push_id="p1"))


async def test_a_letter_s_life_over_http() -> None:
    """Counted, looked at with masked tokens, mended, and gone; and who did it."""
    world = World(enabled=("fcm", "apns"))
    _bury(world, "invalid_argument: title", "internal")
    async with serving_admin_http(world) as http:

        async def call(name: str, request: object) -> Any:
            answer = await http.send(f"/admin/api/{name}", request)
            assert answer.status == 200
            assert "token-" not in answer.text
            return answer.json

        groups = (await call("list_dead_letter_groups", {}))["result"]
        assert groups["letters"] == 2
        assert groups["groups"][0] == {
            "reason": "invalid_argument",
            "provider": "fcm",
            "integration": "fcm",
            "letters": 1,
            "recipients": 3,
            "first_ms": 1000,
            "last_ms": 1000,
            "example_id": "1",
        }
        found = (await call("get_dead_letter", {"id": "1"}))["result"]
        assert found["summary"]["push_id"] == "p1"
        assert found["recipients"][0]["device_id"] == "device-0"
        assert found["recipients"][0]["target"].startswith("… (7 characters, sha256")
        assert "body" not in found
        found = (await call("get_dead_letter", {"id": "1", "with_body": True}))[
            "result"
        ]
        assert found["body"] == {"provider": "fcm", "message": {"data": {}}}
        wrong = {"ids": ["1"], "body": {"provider": "fcm", "message": [1]}}
        error = (await call("replay_dead_letters", wrong))["error"]
        assert error["message"].startswith("bad request: body.message: must be a JSON")
        body = {"provider": "fcm", "message": {"a": 1}, "headers": {"b": "c"}}
        request = {"filter": {"reasons": ["invalid_argument"]}, "body": body}
        done = (await call("replay_dead_letters", request))["result"]
        assert done == {"replayed": 1, "matched": 1}
        (job,) = world.queue.jobs
        assert job.body == Body(b'{"a":1}', {"b": "c"})
        assert (await call("purge_dead_letters", {}))["error"]["code"] == 107
        done = (await call("purge_dead_letters", {"ids": ["1", "2"]}))["result"]
        assert done == {"purged": 1, "matched": 1, "unknown_ids": ["1"]}
        log = (await call("list_audit_log", {"limit": 2}))["result"]
    assert [(each["method"], each["count"]) for each in log["items"]] == [
        ("purge_dead_letters", 1),
        ("replay_dead_letters", 1),
    ]
    entry = log["items"][1]
    assert (entry["actor"], entry["door"], entry["result"]) == (
        "admin.key",
        "http",
        "done",
    )
    assert entry["address"] == "127.0.0.1"
    assert log["has_more"]
    assert json.loads(entry["subject"])["with_body"] is True


async def test_a_walk_is_shown_without_its_tokens_on_grpc() -> None:
    """What it looked for, and how many tokens it named."""
    world = World()
    filter = DeviceFilter(
        topics=("news",), provider_tokens=(ProviderTokens("fcm", ("secret-token",)),)
    )
    bury(world.queue, "internal", make_walk_job(Expand(filter, "cursor", 3)))
    async with (
        serving(world, operators=operators_key()) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub: Any = admin_pb2_grpc.AdminApiStub(channel)
        request = admin_pb2.GetDeadLetterRequest(id="1")
        answer = await stub.GetDeadLetter(request, metadata=AS_OPERATOR)
        assert answer.result.walk == admin_pb2.DeadLetterWalk(
            topics=["news"], provider_tokens=1, cursor="cursor", page=3
        )
        assert b"secret-token" not in answer.SerializeToString()
        missing = admin_pb2.GetDeadLetterRequest(id="7")
        answer = await stub.GetDeadLetter(missing, metadata=AS_OPERATOR)
        assert answer.error.code == 104
        purge = admin_pb2.PurgeDeadLettersRequest(all=True)
        answer = await stub.PurgeDeadLetters(purge, metadata=AS_OPERATOR)
        assert answer.result.purged == 1
        log = await stub.ListAuditLog(
            admin_pb2.ListAuditLogRequest(methods=["purge_dead_letters"]),
            metadata=AS_OPERATOR,
        )
    (entry,) = log.result.items
    assert (entry.actor, entry.address, entry.door) == (
        "admin.key",
        "127.0.0.1",
        "grpc",
    )


async def test_a_send_is_told_of_at_both_doors() -> None:
    """With its account by the names of the documents, and its walks."""
    world = World()
    job = make_walk_job(unit="0")
    await _accept(world, "p1", job)
    async with serving_admin_http(world) as http:
        answer = await http.send("/admin/api/get_send", {"uid": "uid of p1"})
        send = answer.json["result"]["send"]
        assert (send["push_id"], send["state"]) == ("p1", "sending")
        assert answer.json["result"]["walks"][0]["provider"] == "fcm"
        answer = await http.send("/admin/api/get_send", {"uid": "unknown"})
        assert answer.json["error"]["code"] == 104
        answer = await http.send("/admin/api/list_sends", {"states": ["sending"]})
        assert [each["uid"] for each in answer.json["result"]["items"]] == ["uid of p1"]
        answer = await http.send("/admin/api/list_sends", {"states": ["open"]})
        assert answer.json["error"]["code"] == 107
        assert "states[0]" in answer.json["error"]["message"]
    world.queue.data.accounts["p1"].matched = 5
    async with (
        serving(world, operators=operators_key()) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub: Any = admin_pb2_grpc.AdminApiStub(channel)
        told = await stub.AuditSends(
            admin_pb2.AuditSendsRequest(), metadata=AS_OPERATOR
        )
        (finding,) = told.result.findings
        assert (finding.push_id, finding.kind) == ("p1", "broken")
        assert (told.result.checked, told.result.open) == (1, 1)
        told = await stub.GetSend(
            admin_pb2.GetSendRequest(push_id="p1"), metadata=AS_OPERATOR
        )
        assert told.result.send.account.matched == 5
        assert "not accounted for" in told.result.send.fault


async def test_without_a_database_sends_are_in_the_queue_alone() -> None:
    """By push id, for a while."""
    world = World(database=False)
    await _accept(world, "p1", make_walk_job(unit="0"))
    async with serving_admin_http(world) as http:
        answer = await http.send("/admin/api/get_send", {"push_id": "p1"})
        assert answer.json["result"]["send"]["state"] == "sending"
        for method in ("list_sends", "audit_sends"):
            answer = await http.send(f"/admin/api/{method}", {})
            assert answer.json["error"]["code"] == 108
            assert "there is no send log" in answer.text


async def _accept(world: World, push_id: str, job: Job) -> None:
    payload = make_payload(push_id)
    record = SendRecord(push_id, f"uid of {push_id}", accepted_at_ms=1)
    await world.send_log.accept(Accepting(record, payload, [job]))
    await world.queue.enqueue(payload, [job])


async def test_without_a_database_the_audit_log_is_the_log() -> None:
    """The answer says so."""
    async with serving_admin_http(World(database=False)) as http:
        answer = await http.send("/admin/api/list_audit_log", {})
    assert answer.json["error"]["code"] == 108
    assert "administrative calls are in the log alone" in answer.text


async def test_credentials_are_seen_and_closed_over_http() -> None:
    """What stops one, in the provider's words; and a name that is none."""
    world = World()
    refused = Outcome(Verdict.MISCONFIGURED, "not_found", "404 none", slow_down=True)
    breaker = open_breaker(Cause.FAULT, refused, 1_000, push_id="p1")
    name = credential_name("fcm", "fcm", "d1")
    assert await world.breakers.swap(name, None, breaker.to_text())
    async with serving_admin_http(world) as http:
        listed = (await http.send("/admin/api/list_credentials", {})).json["result"]
        assert listed["items"] == [
            {
                "provider": "fcm",
                "integration": "fcm",
                "state": "half-open",
                "code": "not_found",
                "detail": "404 none",
                "push_id": "p1",
                "opened_at_ms": 1_000,
                "until_ms": 11_000,
                "is_configured": True,
            }
        ]
        one = {"integration": "fcm"}
        for method, changed in (
            ("probe_credential", True),
            ("close_credential", True),
            ("close_credential", False),
        ):
            done = (await http.send(f"/admin/api/{method}", one)).json["result"]
            assert done.get("changed", False) is changed
        wrong = await http.send("/admin/api/probe_credential", {"integration": "x"})
        assert wrong.json["error"]["message"] == (
            "bad request: integration: is none of fcm"
        )
    methods = [entry.method for entry in world.audit.entries.values()]
    assert methods == ["probe_credential", *["close_credential"] * 2]


async def test_held_removals_are_decided_on_grpc() -> None:
    """Counted, approved in part, and the others restored."""
    world = World()
    ids = world.devices.fill(3, integration="shop")
    said = [
        DeadToken(id, f"token-{n}", 2**50, "fcm: unregistered")
        for n, id in enumerate(ids)
    ]
    guard = RemovalGuard("fcm", "shop", RemovalLimit(max_share=0.0, least=0))
    assert len((await world.devices.remove_dead(said, guard=guard)).held) == 3
    async with (
        serving(world, operators=operators_key()) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub: Any = admin_pb2_grpc.AdminApiStub(channel)
        answer = await stub.ListRemovals(
            admin_pb2.ListRemovalsRequest(), metadata=AS_OPERATOR
        )
        assert answer.result == admin_pb2.ListRemovalsResult(
            groups=[
                admin_pb2.RemovalGroup(
                    provider="fcm",
                    integration="shop",
                    reason="fcm: unregistered",
                    devices=3,
                )
            ],
            devices=3,
        )
        nothing = admin_pb2.ApproveRemovalsRequest()
        answer = await stub.ApproveRemovals(nothing, metadata=AS_OPERATOR)
        assert answer.error.code == 107
        some = admin_pb2.ApproveRemovalsRequest(filter={"ids": ids[:1]})
        answer = await stub.ApproveRemovals(some, metadata=AS_OPERATOR)
        assert answer.result.removed == 1
        rest = admin_pb2.RestoreRemovalsRequest(all=True)
        answer = await stub.RestoreRemovals(rest, metadata=AS_OPERATOR)
        assert answer.result.restored == 2
    assert sorted(world.devices.rows) == sorted(ids[1:])


@pytest.mark.parametrize("method", ["list_credentials", "list_removals"])
async def test_without_a_database_there_is_nothing_to_decide(method: str) -> None:
    """The answer says so."""
    async with serving_admin_http(World(database=False)) as http:
        answer = await http.send(f"/admin/api/{method}", {})
    assert answer.json["error"]["code"] == 108
