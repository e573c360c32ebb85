"""Two Firebase projects behind one server: whose devices go through which."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.simulated_fcm import running_simulator
from tests.support.whole_server import Tocsin, serving, until

from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator

NO_INTEGRATION = "no integration of that name is configured"
BODY = {"fcm": {"message": {"notification": {"title": "Goal"}}}}


@dataclass
class House:
    """A server, and the two places that it can send to."""

    tocsin: Tocsin
    section: Simulator
    shop: Simulator

    async def register(self, token: str, **more: Any) -> Any:
        return await self.tocsin.call(
            "device_register",
            provider="fcm",
            token=token,
            platform="android",
            topics=["derby"],
            **more,
        )

    async def send(self, recipient: Any = None, **more: Any) -> Any:
        return await self.tocsin.call(
            "send_push_notification",
            recipient=recipient or {"topics": ["derby"]},
            notification=BODY,
            **more,
        )

    async def reached(self, section: set[str], shop: set[str]) -> None:
        """Wait for exactly these tokens at the two places."""
        wanted = (section, shop)

        async def all_there() -> bool:
            found = self.tokens()
            assert found[0] <= section, found
            assert found[1] <= shop, found
            return found == wanted

        await until(all_there)
        assert {*self.section.ledger.delivered.values()} <= {1}
        assert {*self.shop.ledger.delivered.values()} <= {1}

    def tokens(self) -> tuple[set[str], set[str]]:
        return set(self.section.ledger.delivered), set(self.shop.ledger.delivered)


def keys(simulator: Simulator) -> dict[str, Any]:
    return {
        "credentials_file": str(simulator.of(Fcm).account_file),
        "endpoint": simulator.origin,
        "ca_file": str(simulator.ca_file),
    }


@asynccontextmanager
async def house_of(
    tmp_path: Path, section: Simulator, shop: Simulator, **changes: Any
) -> AsyncIterator[House]:
    item = {"identifier": "shop", "provider": "fcm", **keys(shop), **changes}
    off = {"identifier": "off", "provider": "fcm", "active": False}
    push = {
        "enabled_providers": ["fcm"],
        "fcm": keys(section),
        "integrations": [item, off],
    }
    async with serving(section, tmp_path, push_notifications=push) as tocsin:
        yield House(tocsin, section, shop)


@pytest.fixture
async def places(tmp_path: Path) -> AsyncIterator[tuple[Simulator, Simulator]]:
    (tmp_path / "shop").mkdir()
    async with (
        running_simulator(tmp_path) as section,
        running_simulator(tmp_path / "shop") as shop,
    ):
        yield section, shop


@pytest.fixture
async def house(
    tmp_path: Path, places: tuple[Simulator, Simulator]
) -> AsyncIterator[House]:
    async with house_of(tmp_path, *places) as house:
        yield house


async def test_each_device_goes_through_its_own_integration(house: House) -> None:
    """One send, one batch for each project; an inactive one's devices stay out."""
    await house.register("a", integration="fcm")
    await house.register("b", integration="shop")
    await house.register("c", integration="off")
    await house.register("d")  # the one that was created last: the list's
    await house.send()
    await house.reached({"a"}, {"b", "d"})
    listed = await house.tocsin.call("device_list")
    assert [each.get("integration") for each in listed["result"]["items"]] == [
        "fcm",
        "shop",
        "off",
        "shop",
    ]


async def test_a_send_through_one_integration_passes_others_over(house: House) -> None:
    """By the request's field, and by the filter's."""
    await house.register("a", integration="fcm")
    await house.register("b", integration="shop")
    await house.send(integration="shop")
    await house.reached(set(), {"b"})
    filter = {"topics": ["derby"], "integrations": ["fcm"]}
    await house.send({"filter": filter})
    await house.reached({"a"}, {"b"})


async def test_raw_tokens_go_through_the_named_one_or_the_last(house: House) -> None:
    """A raw token says nothing of its project."""
    await house.send({"fcm_tokens": ["x"]}, integration="fcm")
    await house.send({"fcm_tokens": ["y"]})
    await house.reached({"x"}, {"y"})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"integration": "off"}, "integration: that integration is not active"),
        (
            {"integration": "x"},
            f"integration: {NO_INTEGRATION}",
        ),
        (
            {"recipient": {"filter": {"integrations": ["fcm", "x"]}}},
            f"recipient.filter.integrations[1]: {NO_INTEGRATION}",
        ),
    ],
)
async def test_an_integration_that_cannot_send_is_told(
    house: House, request_: dict[str, Any], message: str
) -> None:
    """Nothing is queued for nobody."""
    answer = await house.send(**request_)
    assert answer["error"] == {"code": 107, "message": f"bad request: {message}"}


async def test_adding_an_integration_moves_no_device(
    tmp_path: Path, places: tuple[Simulator, Simulator]
) -> None:
    """Tokens belong to a project: who registered before stays with the section.

    When the integration is taken out again, its devices are passed over.
    """
    async with serving(places[0], tmp_path) as tocsin:
        await House(tocsin, *places).register("old")
    async with house_of(tmp_path, *places) as house:
        await house.register("new")
        await house.send()
        await house.reached({"old"}, {"new"})
    for place in places:
        place.ledger.delivered.clear()
    async with house_of(tmp_path, *places, active=False) as house:
        await house.register("newer")
        await house.send()
        await house.reached({"old", "newer"}, set())
