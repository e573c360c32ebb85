from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.expo import ACCESS_TOKEN, Expo
from tocsin.simulator.faults import FaultPlan
from tocsin.simulator.ledger import Ledger


class World:
    """The service without sockets."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.expo = Expo(self.ledger, FaultPlan())

    def ask(self, path: str, body: Any, **headers: str) -> Reply:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = f"/--/api/v2/push/{path}"
        reply = self.expo.answer(Request("POST", path, "", headers, raw))
        assert reply is not None
        return reply

    def send(self, body: Any) -> Any:
        reply = self.ask("send", body)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)["data"]

    def refusal(self, body: Any, path: str = "send") -> str:
        reply = self.ask(path, body)
        assert reply.status == 400
        code: str = json.loads(reply.body)["errors"][0]["code"]
        return code


@pytest.fixture
def world() -> World:
    return World()


def test_an_object_is_answered_by_an_object(world: World) -> None:
    """And a list by a list, in order, a ticket for each recipient."""
    assert world.send({"to": "a"})["status"] == "ok"
    assert len(world.send([{"to": "a"}])) == 1
    tickets = world.send([{"to": ["a", "badtoken-1"]}, {"to": "b"}])
    assert [ticket["status"] for ticket in tickets] == ["ok", "error", "ok"]
    assert tickets[1]["details"]["error"] == "DeviceNotRegistered"


def test_words_count_inside_the_brackets(world: World) -> None:
    """Tokens look like Expo's."""
    (ticket,) = world.send([{"to": ["ExponentPushToken[toobig-1]"]}])
    assert ticket["details"]["error"] == "MessageTooBig"


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ("dead-1", "DeviceNotRegistered"),
        ("quota-1", "MessageRateExceeded"),
        ("mismatch-1", "MismatchSenderId"),
        ("thirdparty-1", "InvalidCredentials"),
    ],
)
def test_some_errors_come_only_in_receipts(
    world: World, token: str, error: str
) -> None:
    """Their ticket is fine; unknown ids are left out."""
    ticket = world.send({"to": token})
    answer = world.ask("getReceipts", {"ids": [ticket["id"], "other"]})
    receipts = json.loads(answer.body)["data"]
    assert receipts.keys() == {ticket["id"]}
    assert receipts[ticket["id"]]["details"]["error"] == error


def test_receipts_can_be_late(world: World) -> None:
    """As with Expo, where they take a quarter of an hour."""
    ticket = world.send({"to": "a"})
    world.expo.withhold_receipts = True
    answer = world.ask("getReceipts", {"ids": [ticket["id"]]})
    assert json.loads(answer.body) == {"data": {}}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([{"to": [f"t{i}" for i in range(101)]}], "PUSH_TOO_MANY_NOTIFICATIONS"),
        ([{"to": "a@one"}, {"to": "b@two"}], "PUSH_TOO_MANY_EXPERIENCE_IDS"),
        ([], "VALIDATION_ERROR"),
        ([{"title": "t"}], "VALIDATION_ERROR"),
        ([{"to": [1]}], "VALIDATION_ERROR"),
        (b"{", "VALIDATION_ERROR"),
        ("text", "VALIDATION_ERROR"),
    ],
)
def test_what_expo_refuses(world: World, body: Any, code: str) -> None:
    """The whole request, with a code."""
    assert world.refusal(body) == code
    assert world.ledger.delivered == {}


def test_receipts_have_a_limit(world: World) -> None:
    """A thousand ids at once."""
    ids = [str(i) for i in range(1001)]
    assert world.refusal({"ids": ids}, "getReceipts") == "PUSH_TOO_MANY_RECEIPTS"
    assert world.refusal({"ids": 1}, "getReceipts") == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 200),
        ({"authorization": f"Bearer {ACCESS_TOKEN}"}, 200),
        ({"authorization": "Bearer other"}, 401),
    ],
)
def test_an_access_token_is_checked_if_given(
    world: World, header: dict[str, str], status: int
) -> None:
    """Expo takes anybody by default."""
    assert world.ask("send", {"to": "a"}, **header).status == status
