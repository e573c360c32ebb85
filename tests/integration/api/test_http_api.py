from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import structlog
from tests.support.api import KEY, World
from tests.support.http_api import WITH_KEY, serving_http

from tocsin.api.auth import KeyRing
from tocsin.api.methods.table import COMMANDS, SERVICE
from tocsin.core.api_methods import snake_case
from tocsin.core.errors import InternalError, QueueFull, QueueUnavailable

DEVICE = {"provider": "fcm", "token": "t", "platform": "android"}
SEND = {
    "recipient": {"fcm_tokens": ["t"]},
    "notification": {"fcm": {"message": {"a": 1}}},
}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a method that has a bug."""

    async def fail(*_args: Any) -> None:
        raise RuntimeError("secret detail")

    name = "device_list"
    broken = dataclasses.replace(COMMANDS[name], method=fail)
    monkeypatch.setitem(COMMANDS, name, broken)
    return name


async def test_every_rpc_has_its_route() -> None:
    """Each RPC of the schema answers JSON at its own path."""
    async with serving_http(World()) as http:
        for rpc in SERVICE.methods:
            answer = await http.send(f"/api/{snake_case(rpc.name)}")
            assert (answer.status, answer.content_type) == (200, "application/json")
            assert len(answer.json) <= 1


async def test_a_success() -> None:
    """Success is 200 with `result`, compact and without a newline at its end."""
    async with serving_http(World()) as http:
        answer = await http.send("/api/device_register", DEVICE)
        assert answer.status == 200
        assert answer.content_type == "application/json"
        device_id = answer.json["result"]["id"]
        assert answer.text == f'{{"result":{{"id":"{device_id}"}}}}'
        answer = await http.send("/api/device_remove", {"ids": [device_id]})
        assert answer.text == '{"result":{}}'
        answer = await http.send("/api/device_list")
        assert answer.text == '{"result":{"items":[],"has_more":false}}'


async def test_the_content_type_is_never_looked_at() -> None:
    """Any content type will do, and none as well."""
    async with serving_http(World()) as http:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "nonsense", ""):
            headers = {**WITH_KEY, "Content-Type": kind}
            answer = await http.send("/api/device_list", headers=headers)
            assert answer.status == 200


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
async def test_the_verb_comes_before_the_key(verb: str) -> None:
    """Any verb but POST is 405 with an empty body, key or not."""
    async with serving_http(World()) as http:
        for path in ("/api", "/api/info", "/api/batch"):
            for headers in ({}, WITH_KEY):
                answer = await http.send(path, None, verb=verb, headers=headers)
                assert (answer.status, answer.body) == (405, b"")
                assert answer.headers["Allow"] == "POST"


async def test_unknown_paths() -> None:
    """What is no method is 404 as text, whoever asks and however."""
    async with serving_http(World()) as http:
        for path in (
            "/api/nope",
            "/api/",
            "/api/device_list/",
            "/api/a/b",
            "/api/Info",
        ):
            for verb in ("POST", "GET"):
                answer = await http.send(path, verb=verb, headers={})
                assert (answer.status, answer.text) == (404, "404 page not found\n")
                assert answer.content_type.startswith("text/plain")


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"X-API-Key": KEY}, ""),
        ({"x-api-key": KEY, "Authorization": "apikey wrong"}, ""),
        ({"Authorization": f"apikey {KEY}"}, ""),
        ({"Authorization": f"  ApiKey \t {KEY} "}, ""),
        ({}, f"?api_key={KEY}"),
        ({"X-API-Key": "wrong"}, f"?a=b&api_key={KEY}"),
        ({"Authorization": "Bearer x"}, f"?api_key={KEY}"),
    ],
)
async def test_the_three_forms_of_the_key(headers: dict[str, str], query: str) -> None:
    """The key passes in each form, and in the last one whatever stands before."""
    async with serving_http(World()) as http:
        answer = await http.send(f"/api/device_list{query}", headers=headers)
        assert answer.status == 200


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, ""),
        ({"X-API-Key": "wrong"}, ""),
        ({"X-API-Key": f"{KEY} "[:-2]}, ""),
        ({"X-API-Key": "wrong", "Authorization": f"apikey {KEY}"}, ""),
        ({"Authorization": KEY}, ""),
        ({"Authorization": f"Bearer {KEY}"}, ""),
        ({"Authorization": f"apikey {KEY} more"}, ""),
        ({"Authorization": "apikey"}, ""),
        ({}, "?api_key="),
        ({}, "?api_key=wrong"),
        ({}, f"?api_key=wrong&api_key={KEY}"),
        ({}, f"?API_KEY={KEY}"),
        ({}, "?" + "&".join(["a=b"] * 500)),
        ({"X-API-Key": "\u00fc"}, "?api_key=%ff%zz"),
    ],
)
async def test_without_the_key(headers: dict[str, str], query: str) -> None:
    """Anything else is 401 with an empty body, before the request is looked at."""
    world = World()
    async with serving_http(world) as http:
        for path in ("/api", "/api/device_list", "/api/batch"):
            answer = await http.send(f"{path}{query}", b"not json", headers=headers)
            assert (answer.status, answer.body) == (401, b"")
    assert world.observed.commands == []


async def test_a_refused_call_is_logged_without_the_key() -> None:
    """The line tells the path, not what was given as a key."""
    async with serving_http(World()) as http:
        with structlog.testing.capture_logs() as logs:
            await http.send("/api/info?api_key=guess", headers={"X-API-Key": "try"})
    (line,) = logs
    assert (line["path"], line["peer"]) == ("/api/info", "127.0.0.1")
    words = "call refused: the request does not carry the configured key"
    assert line["event"] == words
    assert "guess" not in str(logs)
    assert "try" not in str(logs)


async def test_no_key_configured() -> None:
    """Without a key nobody passes, not even with an empty one."""
    async with serving_http(World(), keys=KeyRing()) as http:
        for headers in ({}, {"X-API-Key": ""}, {"Authorization": "apikey "}):
            assert (await http.send("/api/info", headers=headers)).status == 401
        assert (await http.send("/api/info?api_key=", headers={})).status == 401
        with structlog.testing.capture_logs() as logs:
            http.api.log_access(http.port)
    assert "set http_api.key" in logs[0]["event"]


async def test_insecure() -> None:
    """Insecure needs no key and says so at start."""
    async with serving_http(World(), keys=KeyRing(insecure=True)) as http:
        assert (await http.send("/api/device_list", headers={})).status == 200
        with structlog.testing.capture_logs() as logs:
            http.api.log_access(http.port)
    assert "insecure" in logs[0]["event"]


@pytest.mark.parametrize("prefix", ["/x/y", "", "/"])
async def test_another_prefix(prefix: str) -> None:
    """Every path moves with the prefix; health stays where it is."""
    base = prefix.rstrip("/")
    async with serving_http(World(), prefix=prefix) as http:
        assert (await http.send(f"{base}/device_list")).status == 200
        command = {"method": "device_list", "params": {}}
        assert (await http.send(base or "/", command)).status == 200
        assert (await http.send(f"{base}/batch")).text == "{}"
        assert (await http.send(f"{base}/nope")).status == 404
        assert (await http.send("/api/device_list")).status == 404
        assert (await http.send("/health", None, verb="GET")).status == 200


async def test_errors_are_in_band() -> None:
    """By default an application error is 200 with `error` alone."""
    async with serving_http(World()) as http:
        answer = await http.send("/api/device_register", {**DEVICE, "provider": ""})
    assert answer.status == 200
    assert list(answer.json) == ["error"]
    assert answer.json["error"]["code"] == 107
    assert answer.json["error"]["message"].startswith("bad request: provider: ")


@pytest.mark.parametrize(
    ("method", "body", "status", "code"),
    [
        ("device_register", {}, 400, 107),
        ("device_topic_update", {"device_id": "x", "op": "add"}, 404, 104),
        (
            "send_push_notification",
            {
                **SEND,
                "recipient": {"topics": ["t"]},
                "online_first": {"channel": "c"},
            },
            400,
            108,
        ),
    ],
)
async def test_transport_error_mode(
    method: str, body: dict[str, Any], status: int, code: int
) -> None:
    """By header or configuration the status tells, and the body is the bare error."""
    headers = {**WITH_KEY, "X-Centrifugo-Error-Mode": "transport"}
    async with serving_http(World()) as http:
        by_header = await http.send(f"/api/{method}", body, headers=headers)
        headers["X-Centrifugo-Error-Mode"] = "Transport"
        assert (await http.send(f"/api/{method}", body, headers=headers)).status == 200
    async with serving_http(World(), transport_errors=True) as http:
        by_configuration = await http.send(f"/api/{method}", body)
    for answer in (by_header, by_configuration):
        assert (answer.status, answer.content_type) == (status, "application/json")
        assert set(answer.json) == {"code", "message"}
        assert answer.json["code"] == code


async def test_overload() -> None:
    """A full queue is 108, or 429 in transport error mode."""
    world = World()
    world.queue.failure = QueueFull()
    headers = {**WITH_KEY, "X-Centrifugo-Error-Mode": "transport"}
    async with serving_http(world) as http:
        answer = await http.send("/api/send_push_notification", SEND)
        assert answer.json["error"] == {
            "code": 108,
            "message": "not available: queue is full",
        }
        answer = await http.send("/api/send_push_notification", SEND, headers=headers)
        assert answer.status == 429


async def test_what_is_not_built() -> None:
    """Every form names the method that this release has not."""
    unbuilt = "map_publish"
    error = {"code": 108, "message": f"not available: {unbuilt}"}
    async with serving_http(World()) as http:
        assert (await http.send(f"/api/{unbuilt}")).json == {"error": error}
        command = {"method": unbuilt, "params": {}}
        assert (await http.send("/api", command)).json == {"error": error}
        batch: dict[str, Any] = {"commands": [{unbuilt: {}}]}
        answer = await http.send("/api/batch", batch)
        assert answer.json == {"replies": [{"error": error}]}


async def test_a_bug_leaks_nothing(failing: str) -> None:
    """An unexpected failure is 100 on every form, its cause in the log alone."""
    error = {"code": 100, "message": "internal server error"}
    world = World()
    async with serving_http(world) as http:
        with structlog.testing.capture_logs() as logs:
            answers = [
                (await http.send(f"/api/{failing}")).json,
                (await http.send("/api", {"method": failing, "params": {}})).json,
                (await http.send("/api/batch", {"commands": [{failing: {}}]})).json,
            ]
    assert answers == [
        {"error": error},
        {"error": error},
        {"replies": [{"error": error}]},
    ]
    causes = [line["exc_info"] for line in logs if line.get("exc_info")]
    assert [str(cause) for cause in causes] == ["secret detail"] * 3


async def test_the_reason_of_a_failure_is_for_the_log() -> None:
    """A driver's words stand in the line of the call, and not in its answer."""
    world = World()
    world.queue.failure = InternalError("is away", "disk /x: I/O error")
    async with serving_http(world) as http:
        with structlog.testing.capture_logs() as logs:
            answer = await http.send(
                "/api/send_push_notification", SEND, headers=WITH_KEY
            )
    assert [line["reason"] for line in logs] == ["disk /x: I/O error"]
    assert "disk" not in str(answer)


async def test_calls_are_observed_and_failures_logged() -> None:
    """Each call is counted by method and code; each failed one has one line."""
    world = World()
    world.queue.failure = QueueUnavailable("redis: refused")
    headers = {**WITH_KEY, "X-Request-Id": "req-1"}
    async with serving_http(world) as http:
        with structlog.testing.capture_logs() as logs:
            await http.send("/api/device_list")
            await http.send("/api/device_register", {})
            await http.send("/api/send_push_notification", SEND, headers=headers)
    assert world.observed.commands == [
        ("device_list", "http", 0),
        ("device_register", "http", 107),
        ("send_push_notification", "http", 100),
    ]
    register, send = logs
    assert (register["log_level"], register["protocol"]) == ("info", "http")
    assert (send["log_level"], send["reason"]) == ("error", "redis: refused")
    assert send["request_id"] == "req-1"


@pytest.mark.parametrize("body", [{}, {"limit": "no"}, b"no json"])
async def test_an_answer_names_its_request(body: Any) -> None:
    """A caller's own id comes back, of whatever kind the answer is."""
    headers = {**WITH_KEY, "X-Request-Id": "req-1"}
    async with serving_http(World()) as http:
        answer = await http.send("/api/device_list", body, headers=headers)
        assert answer.headers["X-Request-Id"] == "req-1"


@pytest.mark.parametrize("given", [None, "", "with space", "x" * 200])
async def test_an_id_that_was_not_taken_does_not_come_back(given: str | None) -> None:
    """What is unfit for a log line is replaced, and the caller is told nothing."""
    headers = WITH_KEY if given is None else {**WITH_KEY, "X-Request-Id": given}
    async with serving_http(World()) as http:
        answer = await http.send("/api/device_list", {}, headers=headers)
    assert "X-Request-Id" not in answer.headers
