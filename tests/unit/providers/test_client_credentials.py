from __future__ import annotations

import asyncio
from collections import deque
from urllib.parse import parse_qs

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.client_credentials import ClientCredentials
from tocsin.providers.http1 import Answer, Http1Client, RequestFailed

URL = "https://oauth.test/oauth2/v3/token"


class Endpoint(Http1Client):
    """Answers from a list instead of a socket."""

    def __init__(self, *answers: Answer | Outcome) -> None:
        super().__init__(section="test")
        self.answers = deque(answers)
        self.bodies: list[bytes] = []
        self.now_s = 1000.0
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def post(self, url: str, body: bytes, headers: object) -> Answer:
        assert url == URL
        self.bodies.append(body)
        self.asked.set()
        await self.gate.wait()
        answer = self.answers.popleft()
        if isinstance(answer, Outcome):
            raise RequestFailed(answer)
        return answer

    def tokens(self) -> ClientCredentials:
        return ClientCredentials(self, URL, "app", "s&c", clock=lambda: self.now_s)


def granted(token: str, life_s: object = 3600) -> Answer:
    text = token.replace("/", "\\/")
    return Answer(200, f'{{"access_token":"{text}","expires_in":{life_s}}}'.encode())


async def let_background_work_end() -> None:
    """Nothing here waits for more than a turn of the loop or two."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_escaped_slashes_are_decoded() -> None:
    """The reply is JSON: what stands in it escaped is not so in the header."""
    endpoint = Endpoint(granted("a/b/c"))
    assert await endpoint.tokens().fetch() == "a/b/c"
    assert parse_qs(endpoint.bodies[0].decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["app"],
        "client_secret": ["s&c"],
    }


async def test_many_at_once_share_one_exchange() -> None:
    """Huawei refuses an app that asks too often."""
    endpoint = Endpoint(granted("t"))
    tokens = endpoint.tokens()
    assert await asyncio.gather(*(tokens.fetch() for _ in range(50))) == ["t"] * 50
    assert len(endpoint.bodies) == 1


async def test_renewal_comes_early_and_in_the_background() -> None:
    """Nobody waits for it: the old token still holds."""
    endpoint = Endpoint(granted("old"), granted("new"))
    tokens = endpoint.tokens()
    assert await tokens.fetch() == "old"
    endpoint.now_s += 3600 - 301
    assert await tokens.fetch() == "old"
    assert len(endpoint.bodies) == 1
    endpoint.now_s += 2
    assert await tokens.fetch() == "old"
    await let_background_work_end()
    assert await tokens.fetch() == "new"


async def test_a_failed_renewal_in_the_background_costs_nothing_yet() -> None:
    """The old token is used until its end, and the exchange is tried again."""
    endpoint = Endpoint(granted("old"), Answer(503, b""), granted("new"))
    tokens = endpoint.tokens()
    await tokens.fetch()
    endpoint.now_s += 3400
    for _ in range(3):
        assert await tokens.fetch() == "old"
        await let_background_work_end()
    assert len(endpoint.bodies) == 2
    endpoint.now_s += 5
    assert await tokens.fetch() == "old"
    await let_background_work_end()
    assert await tokens.fetch() == "new"


async def test_a_refused_token_is_replaced_once_for_all() -> None:
    """Everybody whose request was refused gets the same next token."""
    endpoint = Endpoint(granted("one"), granted("two"))
    tokens = endpoint.tokens()
    await tokens.fetch()
    found = await asyncio.gather(*(tokens.renew("one") for _ in range(9)))
    assert found == ["two"] * 9
    assert await tokens.renew("one") == "two"
    assert len(endpoint.bodies) == 2


async def test_whoever_gives_up_leaves_the_exchange_to_the_others() -> None:
    """A cancelled batch must not take the token away from another."""
    endpoint = Endpoint(granted("t"))
    endpoint.gate.clear()
    tokens = endpoint.tokens()
    first = asyncio.create_task(tokens.fetch())
    second = asyncio.create_task(tokens.fetch())
    await endpoint.asked.wait()
    first.cancel()
    endpoint.gate.set()
    assert await second == "t"


@pytest.mark.parametrize(
    ("answer", "verdict", "code"),
    [
        (
            Answer(400, b'{"error":1101,"error_description":"invalid client"}'),
            Verdict.MISCONFIGURED,
            "credentials_refused",
        ),
        (Answer(403, b'{"error":1}'), Verdict.MISCONFIGURED, "credentials_refused"),
        (Answer(400, b"<html>"), Verdict.RETRY, "token_unavailable"),
        (Answer(503, b""), Verdict.RETRY, "token_unavailable"),
        (Answer(429, b"{}"), Verdict.RETRY, "token_unavailable"),
        (Answer(200, b"{}"), Verdict.RETRY, "token_unavailable"),
        (granted("a b"), Verdict.RETRY, "token_unavailable"),
        (
            Outcome(Verdict.RETRY, "timeout", "t", maybe_sent=True),
            Verdict.RETRY,
            "token_unavailable",
        ),
    ],
)
async def test_failures_concern_the_whole_credential(
    answer: Answer | Outcome, verdict: Verdict, code: str
) -> None:
    """Nothing was sent, everybody would fail so, and it is asked again only later."""
    endpoint = Endpoint(answer)
    tokens = endpoint.tokens()
    for _ in range(3):
        with pytest.raises(RequestFailed) as caught:
            await tokens.fetch()
        outcome = caught.value.outcome
        assert (outcome.verdict, outcome.code) == (verdict, code)
        assert outcome.slow_down
        assert not outcome.maybe_sent
    assert len(endpoint.bodies) == 1
    endpoint.answers.append(granted("t"))
    endpoint.now_s += 3
    assert await tokens.fetch() == "t"


@pytest.mark.parametrize("life", ["null", '"soon"', "-1", "1e300"])
async def test_an_odd_lifetime_is_taken_for_the_usual_one(life: str) -> None:
    """An hour, renewed five minutes early."""
    endpoint = Endpoint(granted("t", life))
    tokens = endpoint.tokens()
    await tokens.fetch()
    endpoint.now_s += 3290
    assert await tokens.fetch() == "t"


async def test_closing_ends_an_exchange_under_way() -> None:
    """No task is left behind."""
    endpoint = Endpoint()
    endpoint.gate.clear()
    tokens = endpoint.tokens()
    waiting = asyncio.create_task(tokens.fetch())
    await endpoint.asked.wait()
    await tokens.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(
    "life_s",
    ["1e400", "1e20", "NaN", "-5", "0", "true", "null", '"soon"', "[]", "9" * 400],
)
async def test_an_absurd_life_is_the_usual_one(life_s: str) -> None:
    """The token is used, and renewed as any other."""
    endpoint = Endpoint(granted("t", life_s), granted("u"))
    tokens = endpoint.tokens()
    assert await tokens.fetch() == "t"
    endpoint.now_s += 60
    assert await tokens.fetch() == "t"
    endpoint.now_s += 7200
    assert await tokens.fetch() == "u"
