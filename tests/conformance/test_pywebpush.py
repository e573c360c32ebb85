"""pywebpush as its users use it, against the simulator; and as the judge of ours."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from pywebpush import WebPushException, webpush, webpush_async
from tests.support.browsers import PRIVATE_KEY, PUBLIC_KEY, SUBJECT
from tests.support.simulated_fcm import running_simulator, simulator_in_thread

from tocsin.simulator.server import Simulator
from tocsin.simulator.webpush import WebPush, make_vapid_keys


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    with simulator_in_thread(tmp_path) as simulator:
        yield simulator


@pytest.fixture
def session(simulator: Simulator) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = simulator.ca_file
        yield session


def push(
    subscription: dict[str, Any], session: requests.Session, **options: Any
) -> requests.Response:
    settings: dict[str, Any] = {
        "data": json.dumps({"title": "It rings"}),
        "vapid_private_key": PRIVATE_KEY,
        "vapid_claims": {"sub": SUBJECT},
        "ttl": 60,
        "timeout": 10,
        **options,
    }
    answer = webpush(subscription, requests_session=session, **settings)
    assert isinstance(answer, requests.Response)
    return answer


def test_send_succeeds(simulator: Simulator, session: requests.Session) -> None:
    """201 with a message resource, and the browser has the plaintext."""
    make = simulator.of(WebPush).new_subscription
    subscription = make("a", application_server_key=PUBLIC_KEY)
    answer = push(subscription, session, headers={"Urgency": "high", "Topic": "t"})
    assert answer.status_code == 201
    assert answer.headers["Location"].startswith(f"{simulator.origin}/m/")
    received = simulator.of(WebPush).received("a")
    assert received is not None
    assert json.loads(received.plaintext) == {"title": "It rings"}
    assert (received.headers["urgency"], received.headers["topic"]) == ("high", "t")


def test_a_loop_over_one_connection(
    simulator: Simulator, session: requests.Session
) -> None:
    """Many browsers, one session, one signer."""
    claims: dict[str, str | int] = {"sub": SUBJECT}
    for number in range(20):
        subscription = simulator.of(WebPush).new_subscription(f"t{number}")
        push(subscription, session, vapid_claims=claims, data=f"{number}")
    assert simulator.ledger.stats()["distinct"] == 20
    assert simulator.ledger.connections == 1
    last = simulator.of(WebPush).received("t19")
    assert last is not None
    assert last.plaintext == b"19"


@pytest.mark.parametrize(
    ("word", "status"),
    [("dead", 410), ("lost", 404), ("quota", 429), ("toobig", 413), ("denied", 401)],
)
def test_errors_reach_the_user(
    simulator: Simulator, session: requests.Session, word: str, status: int
) -> None:
    """Any status over 202 is its exception, with the response inside."""
    with pytest.raises(WebPushException) as caught:
        push(simulator.of(WebPush).new_subscription(f"{word}-1"), session)
    assert caught.value.response is not None
    assert caught.value.response.status_code == status


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"vapid_claims": None}, 401),
        ({"vapid_claims": {"sub": SUBJECT, "aud": "https://a.example"}}, 401),
        ({"vapid_claims": {"sub": SUBJECT, "exp": 9_999_999_999}}, 401),
        ({"vapid_private_key": make_vapid_keys()[1]}, 403),
        ({"content_encoding": "aesgcm"}, 415),
    ],
    ids=["no vapid", "audience", "end", "other key", "old encoding"],
)
def test_a_strict_service(
    simulator: Simulator,
    session: requests.Session,
    change: dict[str, Any],
    status: int,
) -> None:
    """What the standards forbid is refused to everybody."""
    make = simulator.of(WebPush).new_subscription
    subscription = make("a", application_server_key=PUBLIC_KEY)
    with pytest.raises(WebPushException) as caught:
        push(subscription, session, **change)
    assert caught.value.response is not None
    assert caught.value.response.status_code == status
    assert simulator.ledger.delivered == {}


async def test_the_async_way(tmp_path: Path) -> None:
    """Over aiohttp."""
    async with running_simulator(tmp_path) as simulator:
        context = ssl.create_default_context(cafile=simulator.ca_file)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            answer = await webpush_async(
                simulator.of(WebPush).new_subscription("a"),
                data="hello",
                vapid_private_key=PRIVATE_KEY,
                vapid_claims={"sub": SUBJECT},
                ttl=60,
                aiohttp_session=session,
            )
            assert answer.status == 201
        received = simulator.of(WebPush).received("a")
    assert received is not None
    assert received.plaintext == b"hello"
