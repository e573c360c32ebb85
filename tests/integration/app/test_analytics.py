"""Analytics in a whole server with a worker inside: from the send to the funnel."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.clickhouse_server import never, plain, scripted
from tests.support.simulated_fcm import running_simulator
from tests.support.whole_server import TOKENS, serving, until

from tocsin.app.faults import CannotOpen
from tocsin.simulator.server import Simulator


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    directory = tmp_path / "fcm"
    directory.mkdir()
    async with running_simulator(directory) as simulator:
        yield simulator


def clickhouse(origin: str, **more: Any) -> dict[str, Any]:
    export = {"enabled": True, "flush_interval": "100ms", "flush_size": 2}
    return {
        "enabled": True,
        "clickhouse_dsn": [origin],
        "export": {"notifications": export},
        **more,
    }


async def test_funnel_of_a_send(simulator: Simulator, tmp_path: Path) -> None:
    """Results of workers and reports of apps meet under the analytics_uid."""
    async with serving(simulator, tmp_path) as tocsin:
        ids = await tocsin.register()
        await tocsin.send(analytics_uid="campaign")
        for id in ids[:2]:
            answer = await tocsin.call(
                "update_push_status",
                analytics_uid="campaign",
                status="delivered",
                device_id=id,
            )
            assert answer == {"result": {}}
        await tocsin.call(
            "update_push_status", uid="campaign", status="interacted", device_id=ids[0]
        )
        expected = {
            "uid": "campaign",
            "sent": 3,
            "delivered": 2,
            "interacted": 1,
            "failed": {"invalid_argument": 1, "unregistered": 1},
        }

        async def complete() -> bool:
            found = await tocsin.funnel("campaign")
            counts = found["result"]
            return (counts["sent"], counts["interacted"]) == (3, 1)

        await until(complete)
        assert await tocsin.funnel("campaign") == {"result": expected}


async def test_uid_of_the_answer_leads_to_the_funnel(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Without an analytics_uid the uid that the send answered is the one."""
    async with serving(simulator, tmp_path) as tocsin:
        await tocsin.register(("good-1",))
        uid = await tocsin.send()

        async def sent() -> bool:
            return bool((await tocsin.funnel(uid))["result"]["sent"] == 1)

        await until(sent)


async def test_funnel_of_a_send_that_reached_nobody(
    simulator: Simulator, tmp_path: Path
) -> None:
    """A known send without a device says why there are no numbers."""
    async with serving(simulator, tmp_path) as tocsin:
        uid = await tocsin.send()

        async def known() -> bool:
            return "state" in (await tocsin.funnel(uid))["result"]

        await until(known)
        result = (await tocsin.funnel(uid))["result"]
    assert (result["state"], result["sent"]) == ("unmatched", 0)
    assert result["note"] == "reached nobody: the filter matched no device of fcm"


async def test_funnel_of_a_scheduled_send(simulator: Simulator, tmp_path: Path) -> None:
    """Its hour while it waits, and that it was taken back."""
    send_at = int(time.time()) + 3600
    async with serving(simulator, tmp_path) as tocsin:
        uid = await tocsin.send(send_at=send_at, analytics_uid="campaign")

        async def says(state: str) -> bool:
            result = (await tocsin.funnel("campaign"))["result"]
            return bool(result.get("state") == state)

        await until(lambda: says("scheduled"))
        assert (await tocsin.funnel("campaign"))["result"]["due_at"] == send_at
        assert await tocsin.call("cancel_push", uid=uid) == {"result": {}}
        await until(lambda: says("cancelled"))


async def test_rows_of_the_last_moment_are_stored_by_the_drain(
    simulator: Simulator, tmp_path: Path
) -> None:
    """What was recorded before the stop is there after the next start."""
    async with serving(simulator, tmp_path) as tocsin:
        (id,) = await tocsin.register(("good-1",))
        for status in ("delivered", "interacted"):
            await tocsin.call(
                "update_push_status", uid="u", status=status, device_id=id
            )
    async with serving(simulator, tmp_path) as tocsin:
        result = (await tocsin.funnel("u"))["result"]
    assert (result["delivered"], result["interacted"]) == (1, 1)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"status": "sent"}, 107, "status: must be one of delivered, interacted"),
        ({"device_id": "x"}, 107, "device_id: "),
        ({"analytics_uid": ""}, 107, "analytics_uid: must not be empty"),
        ({"uid": "other"}, 107, "uid: must equal analytics_uid"),
    ],
)
async def test_wrong_reports(
    simulator: Simulator,
    tmp_path: Path,
    change: dict[str, str],
    code: int,
    says: str,
) -> None:
    """The error names the field."""
    async with serving(simulator, tmp_path) as tocsin:
        (id,) = await tocsin.register(("good-1",))
        request = {"analytics_uid": "u", "status": "delivered", "device_id": id}
        answer = await tocsin.call("update_push_status", **{**request, **change})
        assert answer["error"]["code"] == code
        assert says in answer["error"]["message"]


async def test_off_is_not_available(simulator: Simulator, tmp_path: Path) -> None:
    """With a retention of nothing both calls answer 108 and name what to set."""
    off = {"retention": "0s"}
    async with serving(simulator, tmp_path, analytics=off) as tocsin:
        (id,) = await tocsin.register(("good-1",))
        report = {"uid": "u", "status": "delivered", "device_id": id}
        for answer in (
            await tocsin.call("update_push_status", **report),
            await tocsin.funnel("u"),
        ):
            assert answer["error"]["code"] == 108
            assert "analytics is off" in answer["error"]["message"]


async def test_funnel_route_asks_for_the_key_and_a_uid(
    simulator: Simulator, tmp_path: Path
) -> None:
    """It is as closed as the API beside it, and counted like it."""
    async with serving(simulator, tmp_path) as tocsin:
        url = f"{tocsin.origin}/api/push_funnel"
        async with aiohttp.ClientSession() as stranger, stranger.get(url) as answer:
            assert (answer.status, await answer.text()) == (401, "")
        async with tocsin.session.post(url) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET")
        missing = await tocsin.funnel("")
        assert missing["error"]["code"] == 107
        mode = {"X-Centrifugo-Error-Mode": "transport"}
        async with tocsin.session.get(url, headers=mode) as answer:
            assert answer.status == 400
            assert (await answer.json())["code"] == 107
        assert (
            'api_command_errors_total{protocol="http",method="push_funnel",error="107"}'
            " 2" in await tocsin.metrics()
        )


async def test_results_go_to_clickhouse_where_it_is_enabled(
    simulator: Simulator, tmp_path: Path
) -> None:
    """The table is made, rows arrive there in batches, and the database has none."""
    async with scripted() as server:
        section = clickhouse(server.origin)
        async with serving(simulator, tmp_path, clickhouse_analytics=section) as tocsin:
            await tocsin.register()
            await tocsin.send(analytics_uid="campaign")

            async def arrived() -> bool:
                rows = b"".join(asked.body for asked in server.inserted)
                return rows.count(b"\n") == len(TOKENS)

            await until(arrived)
            text = await tocsin.metrics()
    first, second = (asked.statement for asked in server.asked[:2])
    assert first == "SELECT 1"
    assert second.startswith("CREATE TABLE")
    rows = b"".join(asked.body for asked in server.inserted).decode().splitlines()
    assert {row.split("\t")[0] for row in rows} == {"campaign"}
    assert not any(token in row for token in TOKENS for row in rows)
    assert 'batch_size_sum{type="notifications"} 5' in text


async def test_clickhouse_that_hangs_slows_no_send(
    simulator: Simulator, tmp_path: Path
) -> None:
    """All recipients are reached while not one row can be written."""
    async with scripted() as server:
        section = clickhouse(server.origin, skip_ping_on_start=True)
        section["export"]["notifications"]["max_buffer_size"] = 3
        server.always = never
        async with serving(simulator, tmp_path, clickhouse_analytics=section) as tocsin:
            tokens = tuple(f"good-{number}" for number in range(20))
            await tocsin.register(tokens)
            await tocsin.send()

            async def reached() -> bool:
                return len(simulator.ledger.delivered) == len(tokens)

            await until(reached)
            dropped = 'clickhouse_analytics_drop_count{type="notifications"} 17'

            async def counted() -> bool:
                return dropped in await tocsin.metrics()

            await until(counted)


async def test_start_fails_while_clickhouse_is_away(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Unless skip_ping_on_start: nobody shall learn of a typo from missing rows."""
    async with scripted() as server:
        server.always = plain(503)
        section = clickhouse(server.origin)
        with pytest.raises(CannotOpen, match="clickhouse_dsn"):
            async with serving(simulator, tmp_path, clickhouse_analytics=section):
                pass
