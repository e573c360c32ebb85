from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from tests.support.realtime import build_context

from tocsin.sessions.settings import SessionSettings
from tocsin.transports.init import InitEndpoint

PAGE = "http://app.example"


@pytest.mark.parametrize("origin", ["", PAGE, "http://other.example"])
async def test_anybody_is_answered(origin: str) -> None:
    """Pages of allowed origins may read the answer, others may not."""
    context = build_context(SessionSettings(allowed_origins=(PAGE,)))
    headers = {"Origin": origin} if origin else {}
    asked = make_mocked_request("GET", "/connection/init", headers=headers)
    answer = await InitEndpoint(context).handle(asked)
    assert (answer.status, answer.text) == (200, "{}")
    found = answer.headers.get("Access-Control-Allow-Origin", "")
    assert found == (PAGE if origin == PAGE else "")
    context.wheel.close()


@pytest.mark.parametrize("verb", ["POST", "HEAD", "OPTIONS"])
async def test_another_verb(verb: str) -> None:
    """405 without a body."""
    context = build_context()
    asked = make_mocked_request(verb, "/connection/init")
    answer = await InitEndpoint(context).handle(asked)
    assert (answer.status, answer.body) == (405, None)
    context.wheel.close()
