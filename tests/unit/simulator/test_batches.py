"""The services that say their faults by status: what they check, what they accept."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any

import pytest

from tocsin.simulator import one_signal, push_webhook, pusher_beams, pushpad
from tocsin.simulator.exchange import Ending, Reply, Request
from tocsin.simulator.faults import FaultPlan
from tocsin.simulator.ledger import Ledger

BEAMS = f"/publish_api/v1/instances/{pusher_beams.INSTANCE_ID}/publishes/users"
PUSHPAD = f"/api/v1/projects/{pushpad.PROJECT_ID}/notifications"
KEYS = {
    "/notifications": f"Basic {one_signal.API_KEY}",
    "/api/v1/notifications": f"Key {one_signal.API_KEY}",
    BEAMS: f"Bearer {pusher_beams.SECRET_KEY}",
    PUSHPAD: f'Token token="{pushpad.AUTH_TOKEN}"',
}


class World:
    """All four services, asked in turn like the simulator does."""

    def __init__(self) -> None:
        self.ledger, faults = Ledger(), FaultPlan()
        kinds = (
            one_signal.OneSignal,
            push_webhook.PushWebhook,
            pusher_beams.PusherBeams,
            pushpad.Pushpad,
        )
        self.services: list[Any] = [
            kind(self.ledger, faults, lambda: 1_800_000_000) for kind in kinds
        ]

    def ask(self, path: str, body: Any, key: str | None = None) -> Reply:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"authorization": KEYS.get(path, "") if key is None else key}
        if path == push_webhook.PATH:
            secret = (key or push_webhook.SECRET).encode()
            digest = hmac.new(secret, raw, hashlib.sha256).hexdigest()
            headers = {"x-novu-signature": digest}
        request = Request("POST", path, "", headers, raw)
        replies: list[Reply | None] = [each.answer(request) for each in self.services]
        (reply,) = [one for one in replies if one is not None]
        return reply


@pytest.fixture
def world() -> World:
    return World()


def aimed(path: str, targets: list[str]) -> dict[str, Any]:
    """A good body for these targets, as the service at that path wants it."""
    app = {"app_id": one_signal.APP_ID}
    by_alias = {"include_aliases": {"external_id": targets}, "target_channel": "push"}
    bodies: dict[str, dict[str, Any]] = {
        "/notifications": {**app, **by_alias},
        "/api/v1/notifications": {**app, "include_player_ids": targets},
        BEAMS: {"users": targets},
        PUSHPAD: {"notification": {"body": "b"}, "uids": targets},
        push_webhook.PATH: {"target": targets},
    }
    return bodies[path]


PATHS = ["/notifications", push_webhook.PATH, BEAMS, PUSHPAD]


@pytest.mark.parametrize("path", PATHS)
def test_good_requests_are_counted_by_target(world: World, path: str) -> None:
    """Each target once, each service with its own success."""
    reply = world.ask(path, aimed(path, ["a", "b"]))
    assert reply.status == (201 if path == PUSHPAD else 200)
    assert world.ledger.delivered == {"a": 1, "b": 1}


@pytest.mark.parametrize("path", PATHS)
def test_wrong_keys_are_refused(world: World, path: str) -> None:
    """Before anything else."""
    reply = world.ask(path, aimed(path, ["a"]), key="wrong")
    assert reply.status in (401, 403)
    assert world.ledger.answers == {"unauthenticated": 1}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'"x"'])
def test_senseless_bodies_are_refused(world: World, path: str, body: bytes) -> None:
    """By a 4xx, never a crash."""
    assert 400 <= world.ask(path, body).status < 500
    assert world.ledger.delivered == {}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("word", "status", "wait"),
    [
        ("badpayload", 422, None),
        ("toobig", 413, None),
        ("denied", 403, None),
        ("expired", 401, None),
        ("lost", 404, None),
        ("quota", 429, None),
        ("quotasec", 429, "7"),
        ("quotadate", 429, "Fri, 15 Jan 2027 08:00:30 GMT"),
        ("unavailable", 503, "2"),
        ("internal", 500, None),
        ("html", 502, None),
        ("gateway", 504, None),
    ],
)
def test_faults_are_statuses(
    world: World, path: str, word: str, status: int, wait: str | None
) -> None:
    """One target's word decides for its request."""
    reply = world.ask(path, aimed(path, ["a", f"{word}-1"]))
    assert (reply.status, dict(reply.headers).get("retry-after")) == (status, wait)
    assert world.ledger.delivered == {}


@pytest.mark.parametrize("path", PATHS)
def test_connections_can_be_lost(world: World, path: str) -> None:
    """After the message was accepted, or without a word."""
    assert world.ask(path, aimed(path, ["drop-1"])).ending is Ending.DROP
    assert world.ledger.delivered == {"drop-1": 1}
    assert world.ask(path, aimed(path, ["silent-1"])).ending is Ending.SILENCE


def test_slow_answers_wait_for_the_slowest(world: World) -> None:
    """And are successes."""
    reply = world.ask(BEAMS, aimed(BEAMS, ["slow20-1", "a", "slow70-1"]))
    assert (reply.status, reply.delay_s) == (200, 0.07)


def test_one_signal_names_unknown_ids(world: World) -> None:
    """In a 200, by the kind of id; all unknown means no notification."""
    answer = json.loads(
        world.ask("/notifications", aimed("/notifications", ["a", "dead-1"])).body
    )
    assert answer["id"]
    assert answer["errors"] == {"invalid_aliases": {"external_id": ["dead-1"]}}
    path = "/notifications"
    assert json.loads(world.ask(path, aimed(path, ["dead-1"])).body)["id"] == ""


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"app_id": "other"}, 400),
        ({"included_segments": ["All"]}, 400),
        ({"include_player_ids": []}, 400),
        ({"include_player_ids": ["no-uuid"]}, 400),
        ({}, 200),
    ],
)
def test_one_signal_checks_subscription_ids(
    world: World, change: dict[str, Any], status: int
) -> None:
    """One that is no UUID fails the request, as does a second kind of targeting."""
    path = "/api/v1/notifications"
    body = {**aimed(path, [str(uuid.uuid4())]), **change}
    assert world.ask(path, body).status == status


@pytest.mark.parametrize(
    "users", [[], ["x" * 165], [1], [f"u{i}" for i in range(1001)]]
)
def test_beams_limits(world: World, users: list[Any]) -> None:
    """422, as Beams says it."""
    assert world.ask(BEAMS, {"users": users}).status == 422


def test_pushpad_without_users_is_a_broadcast(world: World) -> None:
    """The ledger shows it, so that a test can say it never happens."""
    world.ask(PUSHPAD, {"notification": {"body": "b"}})
    assert world.ledger.delivered == {pushpad.EVERYBODY: 1}
    world.ask(PUSHPAD, {"notification": {"body": "b"}, "uids": []})
    assert len(world.ledger.delivered) == 1


def test_a_webhook_calls_unknown_targets_gone(world: World) -> None:
    """What ours makes of it is our business."""
    path = push_webhook.PATH
    assert world.ask(path, aimed(path, ["dead-1"])).status == 410
