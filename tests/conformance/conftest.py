"""The JavaScript SDK and the server that it is tried on.

A server serves a module of tests, so channels and users have names of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.support.centrifuge_js import FORMS, Form, JsSession, js_session, run_driver
from tests.support.cut_line import Line, open_line
from tests.support.npm_packages import why_no_packages
from tests.support.whole_node import WholeNode, whole_node

KEPT = {"history_size": 100, "history_ttl": "300s"}
OPEN = {
    "allow_subscribe_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_client": True,
    "allow_publish_for_anonymous": True,
    "allow_history_for_client": True,
    "allow_history_for_anonymous": True,
    "allow_presence_for_client": True,
    "allow_presence_for_anonymous": True,
}
NAMESPACES = [
    {"name": "open", **OPEN, **KEPT, "presence": True, "allow_positioning": True}
    | {"allow_recovery": True, "allow_tags_filter": True}
    | {"allowed_delta_types": ["fossil"]},
    {"name": "room", **OPEN, "presence": True, "join_leave": True},
    {"name": "bare", **OPEN},
    {"name": "closed"},
    {"name": "short", **OPEN, "history_size": 2, "history_ttl": "300s"}
    | {"force_recovery": True},
    {"name": "cache", **OPEN, **KEPT, "force_recovery": True}
    | {"force_recovery_mode": "cache"},
    {"name": "mine", **KEPT, "force_recovery": True},
]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def driver() -> Iterator[int]:
    """The node process; its packages are installed before."""
    if reason := why_no_packages():
        pytest.skip(reason)
    with run_driver() as port:
        yield port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(
    driver: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WholeNode]:
    async with whole_node(
        tmp_path_factory.mktemp("node"),
        client={
            "allow_anonymous_connect_without_token": True,
            "presence_update_interval": "200ms",
            "expired_close_delay": "3s",
            "expired_sub_close_delay": "3s",
        },
        channel={"namespaces": NAMESPACES},
    ) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def line(node: WholeNode) -> AsyncIterator[Line]:
    async with open_line(node.port) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def js(driver: int) -> AsyncIterator[JsSession]:
    async with js_session(driver) as session:
        yield session


@pytest.fixture(params=FORMS, ids=str)
def form(request: pytest.FixtureRequest) -> Form:
    chosen: Form = request.param
    return chosen


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return f"open:{next(_numbers)}"


@pytest.fixture
def user() -> str:
    """A user that no other test is."""
    return f"user-{next(_numbers)}"
