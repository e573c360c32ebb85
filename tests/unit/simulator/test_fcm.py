from __future__ import annotations

import json
import urllib.parse
from pathlib import Path
from typing import Any

import jwt
import pytest

from tocsin.simulator.exchange import Ending, Reply, Request
from tocsin.simulator.faults import FaultPlan
from tocsin.simulator.fcm import Fcm
from tocsin.simulator.ledger import Ledger
from tocsin.simulator.service_account import prepare_service_account

NOW_S = 1_800_000_000
URI = "https://127.0.0.1:9443/token"
SEND = "/v1/projects/tocsin-simulated/messages:send"


class World:
    """The service with its account file, without sockets."""

    def __init__(self, directory: Path) -> None:
        file = directory / "sa.json"
        account = prepare_service_account(file, URI)
        self.account = json.loads(file.read_text())
        self.ledger, self.faults = Ledger(), FaultPlan()
        self.now_s = float(NOW_S)
        self.fcm = Fcm(account, self.ledger, self.faults, clock=lambda: self.now_s)

    def assertion(self, **other: Any) -> str:
        claims = {
            "iss": self.account["client_email"],
            "scope": "https://www.googleapis.com/auth/firebase.messaging",
            "aud": URI,
            "iat": NOW_S,
            "exp": NOW_S + 3600,
            **other,
        }
        return jwt.encode(claims, self.account["private_key"], algorithm="RS256")

    def grant(self, assertion: str) -> Reply:
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion,
        }
        return self._ask("/token", urllib.parse.urlencode(form).encode(), {})

    def token(self) -> str:
        reply = self.grant(self.assertion())
        assert reply.status == 200
        token: str = json.loads(reply.body)["access_token"]
        return token

    def send(self, body: Any, token: str | None = None) -> Reply:
        token = self.token() if token is None else token
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask(SEND, raw, {"authorization": f"Bearer {token}"})

    def _ask(self, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        reply = self.fcm.answer(Request("POST", path, "", headers, body))
        assert reply is not None
        return reply


@pytest.fixture(scope="module")
def known_account(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An account file whose key is kept, since making one takes a while."""
    directory = tmp_path_factory.mktemp("account")
    prepare_service_account(directory / "sa.json", URI)
    return (directory / "sa.json").read_bytes()


@pytest.fixture
def world(tmp_path: Path, known_account: bytes) -> World:
    (tmp_path / "sa.json").write_bytes(known_account)
    return World(tmp_path)


def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(reply.body)["error"]
    return error


def code_of(reply: Reply) -> str:
    """The FcmError code, looked up by its exact type as the SDKs do."""
    for detail in error_of(reply).get("details", []):
        if detail["@type"] == "type.googleapis.com/google.firebase.fcm.v1.FcmError":
            return str(detail["errorCode"])
    return ""


def test_a_signed_assertion_buys_a_token(world: World) -> None:
    """The reply has what OAuth clients read."""
    answer = json.loads(world.grant(world.assertion()).body)
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 3599
    assert world.send({"message": {"token": "a"}}, answer["access_token"]).status == 200


@pytest.mark.parametrize(
    "other",
    [
        {"aud": "https://elsewhere/token"},
        {"iss": "somebody@else"},
        {"iat": NOW_S - 9000, "exp": NOW_S - 5400},
        {"iat": NOW_S, "exp": NOW_S + 7200},
        {"scope": "https://www.googleapis.com/auth/calendar"},
    ],
)
def test_a_wrong_claim_is_an_invalid_grant(world: World, other: dict[str, Any]) -> None:
    """Audience, issuer, times and scope are checked."""
    reply = world.grant(world.assertion(**other))
    assert reply.status == 400
    assert json.loads(reply.body)["error"] == "invalid_grant"


def test_a_foreign_signature_is_an_invalid_grant(world: World, tmp_path: Path) -> None:
    """A key that the simulator did not give out buys nothing."""
    other = tmp_path / "other"
    other.mkdir()
    reply = world.grant(World(other).assertion())
    assert json.loads(reply.body)["error"] == "invalid_grant"


@pytest.mark.parametrize("assertion", ["", "a.b", "a.b.c", "!.!.!"])
def test_rubbish_is_an_invalid_grant(world: World, assertion: str) -> None:
    """Nothing that can be posted breaks the token endpoint."""
    assert json.loads(world.grant(assertion).body)["error"] == "invalid_grant"


def test_a_send_needs_a_living_access_token(world: World) -> None:
    """Unknown, expired and revoked tokens are UNAUTHENTICATED without FcmError."""
    message = {"message": {"token": "a"}}
    token = world.token()
    assert error_of(world.send(message, "made-up"))["status"] == "UNAUTHENTICATED"
    world.now_s += 3600
    reply = world.send(message, token)
    assert (reply.status, code_of(reply)) == (401, "")
    token = world.token()
    assert world.fcm.expire_access_tokens() == 2
    assert world.send(message, token).status == 401


def test_the_service_account_keeps_its_key(tmp_path: Path) -> None:
    """A restart in the same folder still takes what an earlier file signed."""
    first = World(tmp_path)
    assertion = first.assertion()
    assert World(tmp_path).grant(assertion).status == 200


@pytest.mark.parametrize("kind", ["token", "topic", "condition", "fid"])
def test_success_names_the_message(world: World, kind: str) -> None:
    """A message with one target is accepted and counted by that target."""
    reply = world.send({"message": {kind: "x", "data": {"k": "v"}}})
    name = json.loads(reply.body)["name"]
    assert name.startswith("projects/tocsin-simulated/messages/0:")
    assert world.ledger.delivered == {"x": 1}


def test_validate_only_delivers_nothing(world: World) -> None:
    """A dry run has the id that the real service gives it."""
    reply = world.send({"validate_only": True, "message": {"token": "x"}})
    assert json.loads(reply.body)["name"].endswith("/fake_message_id")
    assert world.ledger.delivered == {}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        {},
        {"message": {}},
        {"message": {"token": "a", "topic": "b"}},
        {"message": {"token": 5}},
        {"message": {"token": "a", "notifiction": {}}},
        {"message": {"token": "a"}, "mesage": {}},
        {"message": {"token": "a", "data": {"k": 1}}},
        {"message": {"token": "a", "data": {"from": "x"}}},
        {"message": {"token": "a", "data": {"google.x": "x"}}},
        {"message": {"token": "a", "data": {"k": "x" * 4096}}},
        {"message": {"topic": "a", "data": {"k": "x" * 2048}}},
    ],
)
def test_what_fcm_would_not_take_is_refused(world: World, body: Any) -> None:
    """Wrong messages are INVALID_ARGUMENT and reach nobody."""
    reply = world.send(body)
    assert (reply.status, code_of(reply)) == (400, "INVALID_ARGUMENT")
    assert world.ledger.delivered == {}


@pytest.mark.parametrize(
    ("word", "status", "code"),
    [
        ("dead", 404, "UNREGISTERED"),
        ("badtoken", 400, "INVALID_ARGUMENT"),
        ("badfield", 400, "INVALID_ARGUMENT"),
        ("badpayload", 400, "INVALID_ARGUMENT"),
        ("toobig", 400, ""),
        ("mismatch", 403, "SENDER_ID_MISMATCH"),
        ("thirdparty", 401, "THIRD_PARTY_AUTH_ERROR"),
        ("denied", 403, ""),
        ("lost", 404, ""),
        ("quota", 429, "QUOTA_EXCEEDED"),
        ("projectquota", 429, ""),
        ("unavailable", 503, "UNAVAILABLE"),
        ("internal", 500, "INTERNAL"),
        ("expired", 401, ""),
        ("flaky", 503, "UNAVAILABLE"),
    ],
)
def test_a_fault_reads_as_google_writes_it(
    world: World, word: str, status: int, code: str
) -> None:
    """Status, body code and FcmError of each word."""
    reply = world.send({"message": {"token": f"{word}-1"}})
    assert (reply.status, error_of(reply)["code"], code_of(reply)) == (
        status,
        status,
        code,
    )
    assert world.ledger.delivered == {}


def test_retry_after_comes_in_both_forms(world: World) -> None:
    """Seconds for one word, an HTTP date for the other, none for the third."""
    waits = [
        dict(world.send({"message": {"token": f"{word}-1"}}).headers)
        for word in ("quotasec", "quotadate", "quota")
    ]
    assert waits == [
        {"retry-after": "7"},
        {"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"},
        {},
    ]


@pytest.mark.parametrize(("word", "status"), [("html", 502), ("gateway", 504)])
def test_gateways_answer_in_html(world: World, word: str, status: int) -> None:
    """A body that is no JSON, as load balancers send it."""
    reply = world.send({"message": {"token": f"{word}-1"}})
    assert (reply.status, reply.body[:15]) == (status, b"<!DOCTYPE html>")


def test_drop_accepts_first(world: World) -> None:
    """The message counts as accepted, so a resend shows as a duplicate."""
    message = {"message": {"token": "drop-1"}}
    assert world.send(message).ending is Ending.DROP
    assert world.send(message).status == 200
    assert world.ledger.stats()["duplicates"] == 1


def test_latency_and_slow_add_up(world: World) -> None:
    """Both are waits before the answer, in seconds."""
    world.faults.change({"latency_ms": 20})
    assert world.send({"message": {"token": "a"}}).delay_s == pytest.approx(0.02)
    assert world.send({"message": {"token": "slow30-1"}}).delay_s == pytest.approx(0.05)


def test_another_project_is_a_bare_404(world: World) -> None:
    """Sending to a project of somebody else says nothing about tokens."""
    path = "/v1/projects/other/messages:send"
    reply = world.fcm.answer(Request("POST", path, "", {}, b"{}"))
    assert reply is not None
    assert (reply.status, code_of(reply)) == (404, "")


def test_other_paths_are_left_to_others(world: World) -> None:
    """FCM does not answer for its neighbours."""
    assert world.fcm.answer(Request("GET", "/3/device/1", "", {}, b"")) is None
