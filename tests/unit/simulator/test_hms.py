from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pytest

from tocsin.simulator import hms
from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.faults import FaultPlan
from tocsin.simulator.hms import Hms
from tocsin.simulator.ledger import Ledger

V1 = f"/v1/{hms.APP_ID}/messages:send"
GOOD = {"notification": {"title": "t"}}


class World:
    """The service without sockets."""

    def __init__(self) -> None:
        self.ledger, self.faults = Ledger(), FaultPlan()
        self.now_s = 1_800_000_000.0
        self.hms = Hms(self.ledger, self.faults, clock=lambda: self.now_s)

    def ask(self, path: str, body: bytes, **headers: str) -> Reply:
        reply = self.hms.answer(Request("POST", path, "", headers, body))
        assert reply is not None
        return reply

    def grant(self, **other: str) -> Reply:
        form = {
            "grant_type": "client_credentials",
            "client_id": hms.APP_ID,
            "client_secret": hms.APP_SECRET,
            **other,
        }
        return self.ask("/oauth2/v3/token", urllib.parse.urlencode(form).encode())

    def send(self, message: Any, path: str = V1, **more: Any) -> dict[str, Any]:
        token = json.loads(self.grant().body)["access_token"]
        body = json.dumps({"message": message, **more}).encode()
        reply = self.ask(path, body, authorization=f"Bearer {token}")
        return {"status": reply.status, **json.loads(reply.body)}


@pytest.fixture
def world() -> World:
    return World()


def test_access_tokens_hold_escaped_slashes(world: World) -> None:
    """As Huawei's do: a client must decode JSON."""
    reply = world.grant()
    assert rb"\/" in reply.body
    assert "/" in json.loads(reply.body)["access_token"]


@pytest.mark.parametrize(
    "wrong", [{"client_secret": "no"}, {"client_id": "2"}, {"grant_type": "other"}]
)
def test_wrong_credentials_get_no_token(world: World, wrong: dict[str, str]) -> None:
    """400 with Huawei's error number."""
    reply = world.grant(**wrong)
    assert (reply.status, json.loads(reply.body)["error"]) == (400, 1101)


def test_without_a_token_nothing_is_sent(world: World) -> None:
    """401 with the code for it; an ended token is the same."""
    body = json.dumps({"message": {"token": ["a"]}}).encode()
    assert world.ask(V1, body).status == 401
    token = json.loads(world.grant().body)["access_token"]
    world.now_s += 4000
    reply = world.ask(V1, body, authorization=f"Bearer {token}")
    assert json.loads(reply.body)["code"] == "80200001"
    assert world.ledger.delivered == {}


def test_partial_results_are_json_inside_a_text(world: World) -> None:
    """HTTP 200, and `msg` has to be decoded once more."""
    answer = world.send({**GOOD, "token": ["a", "dead-1", "b"]})
    assert (answer["status"], answer["code"]) == (200, "80100000")
    assert json.loads(answer["msg"]) == {
        "success": 2,
        "failure": 1,
        "illegal_tokens": ["dead-1"],
    }


def test_only_illegal_tokens_have_a_code_of_their_own(world: World) -> None:
    """80300007, as for the tokens of another application."""
    assert world.send({"token": ["dead-1", "badtoken-2"]})["code"] == "80300007"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"token": [f"t{i}" for i in range(1001)]}, "80300010"),
        ({"token": "a"}, "80300010"),
        ({"token": [1]}, "80100001"),
        ({"token": ["a"], "topic": "t"}, "80100001"),
        ({}, "80100001"),
        ({"token": ["a"], "nonsense": 1}, "80100001"),
        ({"token": ["a"], "data": "x" * 5000}, "80300008"),
        ("text", "80100003"),
    ],
)
def test_what_push_kit_refuses(world: World, message: Any, code: str) -> None:
    """Limits and structure."""
    answer = world.send(message)
    assert (answer["status"], answer["code"]) == (400, code)


@pytest.mark.parametrize("path", [V1, f"/v2/{hms.PROJECT_ID}/messages:send"])
def test_both_versions_take_topics_and_conditions(world: World, path: str) -> None:
    """The ledger names the target as it came."""
    assert world.send({**GOOD, "topic": "news"}, path)["code"] == "80000000"
    assert world.send({**GOOD, "condition": "'a' in topics"}, path)["status"] == 200
    assert world.ledger.delivered == {"news": 1, "'a' in topics": 1}


def test_validate_only_delivers_nothing(world: World) -> None:
    """Checked like any other, and counted apart."""
    assert world.send({"token": ["a"]}, validate_only=True)["code"] == "80000000"
    assert world.ledger.delivered == {}


def test_other_paths_belong_to_others(world: World) -> None:
    """FCM's paths begin alike."""
    fcm = Request("POST", "/v1/projects/p/messages:send", "", {}, b"")
    assert world.hms.answer(fcm) is None
