from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest

from tocsin.simulator.apns import REASONS, Apns, Peer
from tocsin.simulator.apns_keys import (
    BUNDLE_ID,
    KEY_ID,
    OTHER_KEY_ID,
    TEAM_ID,
    ApnsFiles,
    prepare_apns,
)
from tocsin.simulator.certificates import prepare_certificates
from tocsin.simulator.exchange import Ending, Reply, Request
from tocsin.simulator.faults import FaultPlan
from tocsin.simulator.ledger import Ledger

NOW_S = 1_800_000_000
ALERT = b'{"aps":{"alert":"x"}}'


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ApnsFiles:
    directory = tmp_path_factory.mktemp("apns")
    prepare_certificates(directory)
    return prepare_apns(directory)[0]


class World:
    """The service with its keys, without sockets."""

    def __init__(self, files: ApnsFiles) -> None:
        self.files = files
        self.ledger, self.faults = Ledger(), FaultPlan()
        self.now_s = float(NOW_S)
        judge = prepare_apns(files.key_file.parent)[1]
        self.apns = Apns(judge, self.ledger, self.faults, clock=lambda: self.now_s)
        self.peer = Peer()
        self.used = self.token()

    def token(self, key_id: str = KEY_ID, **other: Any) -> str:
        file = self.files.key_file if key_id == KEY_ID else self.files.other_key_file
        claims = {"iss": TEAM_ID, "iat": int(self.now_s), **other}
        head = {"kid": key_id}
        return jwt.encode(claims, file.read_text(), algorithm="ES256", headers=head)

    def push(
        self,
        name: str = "a",
        body: bytes = ALERT,
        *,
        token: str | None = None,
        peer: Peer | None = None,
        path: str = "",
        method: str = "POST",
        **headers: str | None,
    ) -> Reply:
        used = self.used if token is None else token
        given: dict[str, str | None] = {
            "authorization": f"bearer {used}",
            "apns-topic": BUNDLE_ID,
        }
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        present = {name: value for name, value in given.items() if value is not None}
        where = path or f"/3/device/{name.encode().hex()}"
        request = Request(method, where, "", present, body)
        return self.apns.answer(request, peer or self.peer)

    def reason(self, *args: Any, **options: Any) -> str:
        reply = self.push(*args, **options)
        if reply.status == 200:
            return ""
        reason: str = json.loads(reply.body)["reason"]
        assert REASONS[reason] == reply.status
        return reason


@pytest.fixture
def world(files: ApnsFiles) -> World:
    return World(files)


def test_a_push_is_taken(world: World) -> None:
    """200 without a body; the id is given back, or made where there is none."""
    message_id = str(uuid.uuid4())
    reply = world.push(apns_id=message_id)
    assert (reply.status, reply.body) == (200, b"")
    assert ("apns-id", message_id) in reply.headers
    uuid.UUID(dict(world.push().headers)["apns-id"])  # raises where it is none
    assert world.ledger.delivered == {"a": 2}


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_can_be_had(world: World, reason: str) -> None:
    """By a token that spells it, with its status, its id, and JSON alone."""
    reply = world.push(f"{reason.lower()}-1")
    body = json.loads(reply.body)
    assert (reply.status, body.pop("reason")) == (REASONS[reason], reason)
    gone = REASONS[reason] == 410
    assert body == ({"timestamp": NOW_S * 1000} if gone else {})
    assert dict(reply.headers)["apns-id"]


def test_a_reason_may_pass(world: World) -> None:
    """With a number it is met so often only; of a death it is its age."""
    found = [world.reason("idletimeout2-x") for _ in range(3)]
    assert found == ["IdleTimeout", "IdleTimeout", ""]
    dead = json.loads(world.push("unregistered60-x").body)
    assert dead["timestamp"] == (NOW_S - 60) * 1000


def test_a_goodbye_leaves_the_request_unprocessed(world: World) -> None:
    """GOAWAY with a reason, once; nothing was accepted."""
    reply = world.push("goaway-1")
    assert reply.ending is Ending.GOODBYE
    assert json.loads(reply.body) == {"reason": "Shutdown"}
    assert world.ledger.delivered == {}
    assert world.reason("goaway-1") == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"method": "GET"}, "MethodNotAllowed"),
        ({"path": "/3/devices/00"}, "BadPath"),
        ({"path": "/3/device/"}, "MissingDeviceToken"),
        ({"path": "/3/device/no-hex"}, "BadDeviceToken"),
        ({"path": "/3/device/abc"}, "BadDeviceToken"),
        ({"authorization": None}, "MissingProviderToken"),
        ({"authorization": "basic x"}, "MissingProviderToken"),
        ({"token": "x.y.z"}, "InvalidProviderToken"),
        ({"token": "x"}, "InvalidProviderToken"),
        ({"apns_topic": None}, "MissingTopic"),
        ({"apns_topic": "com.other"}, "TopicDisallowed"),
        ({"apns_topic": f"{BUNDLE_ID}.voip"}, "BadTopic"),
        ({"apns_push_type": "voip"}, "BadTopic"),
        ({"apns_push_type": "pigeon"}, "InvalidPushType"),
        ({"apns_priority": "7"}, "BadPriority"),
        ({"apns_push_type": "background", "apns_priority": "10"}, "BadPriority"),
        ({"apns_expiration": "soon"}, "BadExpirationDate"),
        ({"apns_collapse_id": "x" * 65}, "BadCollapseId"),
        ({"apns_id": "1"}, "BadMessageId"),
        ({"body": b""}, "PayloadEmpty"),
        ({"body": b"[]"}, "PayloadEmpty"),
        ({"body": b'"' + b"x" * 4096 + b'"'}, "PayloadTooLarge"),
        (
            {"apns_push_type": "voip", "apns_topic": f"{BUNDLE_ID}.voip"},
            "",
        ),
        ({"apns_push_type": "background"}, ""),
    ],
)
def test_requests_are_checked(
    world: World, change: dict[str, Any], reason: str
) -> None:
    """What Apple finds wrong, in its words; nothing of it is accepted."""
    assert world.reason(**change) == reason
    assert bool(world.ledger.delivered) == (reason == "")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, ""),
        ({"iat": NOW_S - 3599}, ""),
        ({"iat": NOW_S - 3600}, "ExpiredProviderToken"),
        ({"iat": NOW_S + 301}, "InvalidProviderToken"),
        ({"iat": "now"}, "InvalidProviderToken"),
        ({"iss": "OTHERTEAM1"}, "InvalidProviderToken"),
    ],
)
def test_claims_are_checked(world: World, claims: dict[str, Any], reason: str) -> None:
    """Team and age, as Apple does."""
    if claims.get("iat") == "now":  # no library would sign it
        head, _, sign = world.token().split(".")
        assert world.reason(token=f"{head}.eyJpYXQiOiJub3cifQ.{sign}") == reason
        return
    assert world.reason(token=world.token(**claims)) == reason


def test_a_foreign_signature_is_refused(world: World) -> None:
    """The id of one key over the signature of the other."""
    text = world.files.other_key_file.read_text()
    claims = {"iss": TEAM_ID, "iat": NOW_S}
    forged = jwt.encode(claims, text, algorithm="ES256", headers={"kid": KEY_ID})
    unknown = jwt.encode(claims, text, algorithm="ES256", headers={"kid": "OTHER"})
    for token in (forged, unknown):
        assert world.reason(token=token) == "InvalidProviderToken"


def test_tokens_may_not_change_within_twenty_minutes(world: World) -> None:
    """The old one stays good, the new one has to wait."""
    assert world.reason() == ""
    world.now_s += 1199
    fresh = world.token()
    assert world.reason(token=fresh) == "TooManyProviderTokenUpdates"
    assert world.reason() == ""
    world.now_s += 1
    assert world.reason(token=fresh) == ""
    assert world.reason() == ""
    assert world.apns.judge.accepted_count == 2


def test_a_connection_belongs_to_its_first_key(world: World) -> None:
    """Another key on it is an unrelated one; on its own connection it is good."""
    other = world.token(OTHER_KEY_ID)
    assert world.reason() == ""
    assert world.reason(token=other) == "UnrelatedKeyIdInToken"
    assert world.reason(token=other, peer=Peer()) == ""


def test_a_certificate_does_without_token_and_topic(world: World) -> None:
    """The connection has shown both."""
    peer = Peer(app=BUNDLE_ID)
    assert world.reason(peer=peer, authorization=None, apns_topic=None) == ""
    assert peer.known


def test_only_a_good_credential_makes_a_peer_known(world: World) -> None:
    """Until then its connection keeps one stream."""
    assert world.reason(token="x") == "InvalidProviderToken"
    assert not world.peer.known
    assert world.reason("badtoken-1") == "BadDeviceToken"
    assert world.peer.known


def test_keys_outlive_a_restart(tmp_path: Path) -> None:
    """A client that has read the key survives the simulator."""
    prepare_certificates(tmp_path)
    first = prepare_apns(tmp_path)[0].key_file.read_bytes()
    assert prepare_apns(tmp_path)[0].key_file.read_bytes() == first
    assert prepare_apns(tmp_path)[0].key_file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["a", 'with "quotes" and ü', ""])
def test_readable_tokens_are_known_by_their_text(world: World, name: str) -> None:
    """Others by their hex."""
    if not name:
        world.push(path="/3/device/00ff")
        assert world.ledger.delivered == {"00ff": 1}
        return
    world.push(name)
    assert world.ledger.delivered == {name: 1}
