"""Dead letters of a whole server: from a refused body to what everybody got."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.admin import ACTOR
from tests.support.simulated_fcm import running_simulator
from tests.support.whole_server import Tocsin, serving, until

from tocsin.admin.letter_choice import LetterChoice
from tocsin.app import letter_watching
from tocsin.app.admin import build_admin
from tocsin.simulator.server import Simulator

TOKENS = tuple(f"good-{number}" for number in range(12))
REFUSED = {"data": {"goals": 1}}  # FCM takes text alone
GOOD = {"data": {"goals": "1"}}
KEY = {"X-API-Key": "operators"}


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    directory = tmp_path / "fcm"
    directory.mkdir()
    async with running_simulator(directory) as simulator:
        yield simulator


@pytest.fixture
async def server(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Tocsin]:
    monkeypatch.setattr(letter_watching, "INTERVAL_S", 0.05)
    async with serving(simulator, tmp_path, admin={"key": "operators"}) as server:
        yield server


async def admin(server: Tocsin, method: str, **request: Any) -> Any:
    url = f"{server.origin}/admin/api/{method}"
    async with server.session.post(url, json=request, headers=KEY) as answer:
        assert answer.status == 200
        return json.loads(await answer.text())["result"]


async def kept(server: Tocsin) -> float:
    families = text_string_to_metric_families(await server.metrics())
    return sum(
        sample.value
        for family in families
        if family.name == "centrifugo_push_dead_letters_kept"
        for sample in family.samples
    )


async def test_a_refused_body_is_mended_and_everybody_gets_it(
    server: Tocsin, simulator: Simulator
) -> None:
    """Once each; another send of the same server keeps its own body."""
    await server.register(TOKENS)
    answer = await server.call(
        "send_push_notification",
        recipient={"filter": {"topics": ["derby"]}},
        notification={"fcm": {"message": REFUSED}},
    )
    uid = answer["result"]["uid"]

    async def all_dead() -> bool:
        groups = await admin(server, "list_dead_letter_groups", filter={"uids": [uid]})
        return sum(int(each["recipients"]) for each in groups["groups"]) == len(TOKENS)

    await until(all_dead)
    assert simulator.ledger.delivered == {}

    async def told() -> bool:
        return await kept(server) > 0

    await until(told)
    letters = (await admin(server, "list_dead_letters"))["items"]
    assert {each["uid"] for each in letters} == {uid}
    found = await admin(server, "get_dead_letter", id=letters[0]["id"], with_body=True)
    assert found["body"]["message"] == REFUSED
    done = await admin(
        server,
        "replay_dead_letters",
        filter={"uids": [uid]},
        body={"provider": "fcm", "message": GOOD},
    )
    assert done["replayed"] == len(letters)

    async def all_got_it() -> bool:
        return len(simulator.ledger.delivered) == len(TOKENS)

    await until(all_got_it)
    assert set(simulator.ledger.delivered.values()) == {1}

    async def none_kept() -> bool:
        return await kept(server) == 0

    await until(none_kept)
    log = (await admin(server, "list_audit_log"))["items"]
    assert [each["method"] for each in log] == [
        "replay_dead_letters",
        "get_dead_letter",
    ]


async def test_commands_write_to_the_same_audit_log(server: Tocsin) -> None:
    """They use the same services."""
    services = build_admin(server.listening.resources)
    await services.dead_letters.purge(LetterChoice(all=True), actor=ACTOR)
    (entry,) = (await admin(server, "list_audit_log"))["items"]
    assert (entry["method"], entry["address"]) == ("purge_dead_letters", "192.0.2.7")


async def test_letters_do_not_touch_readiness(server: Tocsin) -> None:
    """They wait for a person, not for a worker."""
    await server.register(("toobig-1",))
    await server.send()

    async def dead() -> bool:
        return bool((await admin(server, "list_dead_letters"))["items"])

    await until(dead)
    async with server.session.get(f"{server.origin}/ready") as answer:
        assert answer.status == 200
