from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.credential import RENEW_EARLY_S, RenewedCredential
from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.google_token import (
    TokenFailure,
    load_service_account,
    renewed_by,
    share_access_tokens,
)
from tocsin.simulator.service_account import prepare_service_account

LIFE_S = 3600.0
KEY = "push_notifications.fcm.credentials_file"


class Exchange:
    """A token endpoint that answers when it is let, and counts."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.calls = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.failure: TokenFailure | None = None

    def __call__(self) -> tuple[str, float]:
        self.calls += 1
        number = self.calls
        assert self.may_answer.wait(10)
        if self.failure is not None:
            raise self.failure
        return f"token-{number}", self.now_s + LIFE_S

    def tokens(self) -> RenewedCredential:
        return renewed_by(self, clock=lambda: self.now_s)


REFUSED = TokenFailure(Outcome(Verdict.MISCONFIGURED, "invalid_grant"))


async def test_one_exchange_serves_everybody() -> None:
    """Callers at the same time share one, callers after it need none."""
    exchange = Exchange()
    tokens = exchange.tokens()
    exchange.may_answer.clear()
    waiting = [asyncio.ensure_future(tokens.fetch()) for _ in range(5)]
    await asyncio.sleep(0)
    exchange.may_answer.set()
    assert set(await asyncio.gather(*waiting)) == {"token-1"}
    assert await tokens.fetch() == "token-1"
    assert exchange.calls == 1


async def test_renewal_begins_early_and_keeps_nobody_waiting() -> None:
    """In the last minutes the old token is given out while the next one comes."""
    exchange = Exchange()
    tokens = exchange.tokens()
    await tokens.fetch()
    exchange.now_s += LIFE_S - RENEW_EARLY_S - 1
    assert await tokens.fetch() == "token-1"
    assert exchange.calls == 1
    exchange.now_s += 2
    exchange.may_answer.clear()
    assert [await tokens.fetch() for _ in range(3)] == ["token-1"] * 3
    exchange.may_answer.set()
    await _until(lambda: tokens.current == "token-2")
    assert exchange.calls == 2


async def test_an_ended_token_is_never_given_out() -> None:
    """Near the very end everybody waits for the next one."""
    exchange = Exchange()
    tokens = exchange.tokens()
    await tokens.fetch()
    exchange.now_s += LIFE_S - 10
    assert await tokens.fetch() == "token-2"


async def test_a_refused_token_is_exchanged_once_for_all_who_held_it() -> None:
    """Late complaints about the old token get the new one."""
    exchange = Exchange()
    tokens = exchange.tokens()
    old = await tokens.fetch()
    renewed = await asyncio.gather(*(tokens.renew(old) for _ in range(4)))
    assert set(renewed) == {"token-2"}
    assert await tokens.renew(old) == "token-2"
    assert exchange.calls == 2


async def test_a_failure_holds_for_a_moment() -> None:
    """A thousand waiting batches do not become a thousand exchanges."""
    exchange = Exchange()
    tokens = exchange.tokens()
    exchange.failure = REFUSED
    for _ in range(3):
        with pytest.raises(TokenFailure) as caught:
            await tokens.fetch()
        assert caught.value.outcome.code == "invalid_grant"
    assert exchange.calls == 1
    exchange.failure = None
    exchange.now_s += 3
    assert await tokens.fetch() == "token-2"


async def test_a_failed_early_renewal_does_no_harm() -> None:
    """While the old token is good, an outage of the endpoint is nobody's problem."""
    exchange = Exchange()
    tokens = exchange.tokens()
    await tokens.fetch()
    exchange.now_s += LIFE_S - RENEW_EARLY_S + 1
    exchange.failure = REFUSED
    assert await tokens.fetch() == "token-1"
    await _until(lambda: exchange.calls == 2)
    assert await tokens.fetch() == "token-1"
    exchange.failure = None
    exchange.now_s += 3
    await tokens.fetch()
    await _until(lambda: tokens.current == "token-3")


async def test_an_unforeseen_fault_reaches_who_waits() -> None:
    """A bug in the exchange becomes a retry, not a hang."""

    def broken() -> tuple[str, float]:
        raise RuntimeError("secret")

    with pytest.raises(TokenFailure) as caught:
        await renewed_by(broken).fetch()
    assert caught.value.outcome.verdict is Verdict.RETRY
    assert "secret" not in caught.value.outcome.detail


@pytest.fixture(scope="module")
def account_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("account") / "sa.json"
    prepare_service_account(file, "https://127.0.0.1:1/token")
    return file


def test_the_process_shares_tokens_by_file_content(
    account_file: Path, tmp_path: Path
) -> None:
    """Two providers of one account have one source; another trust is another."""
    copy = tmp_path / "copy.json"
    copy.write_bytes(account_file.read_bytes())
    first = share_access_tokens(load_service_account(str(account_file), KEY), "")
    second = share_access_tokens(load_service_account(str(copy), KEY), "")
    other = share_access_tokens(load_service_account(str(copy), KEY), "ca.pem")
    assert first is second
    assert other is not first


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token_uri": "http://example.com/token"}, "token_uri must be https"),
        ({"token_uri": "ftp://127.0.0.1/token"}, "token_uri must be https"),
        ({"project_id": None}, "lacks project_id"),
        ({"private_key": "rubbish"}, "private_key that is no PEM"),
        ({"type": "authorized_user"}, "not a service account with a key"),
    ],
)
def test_a_wrong_file_names_the_key_and_the_fault(
    account_file: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """Whoever starts a worker reads what to set, and no secret."""
    content = json.loads(account_file.read_bytes())
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({**content, **change}))
    with pytest.raises(ProviderSetupError) as caught:
        load_service_account(str(file), KEY)
    assert str(caught.value).startswith(f"{KEY}: ")
    assert said in str(caught.value)
    assert content["private_key"][60:90] not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:1/t", "http://[::1]:1/t", "http://localhost/t"]
)
def test_plain_http_is_fine_on_loopback(
    account_file: Path, tmp_path: Path, uri: str
) -> None:
    """A local stand-in needs no certificate for its token endpoint."""
    content = json.loads(account_file.read_bytes())
    file = tmp_path / "local.json"
    file.write_text(json.dumps({**content, "token_uri": uri}))
    assert load_service_account(str(file), KEY).token_uri == uri


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot read"), ("{", "not JSON"), ("[]", "no service")],
)
def test_a_missing_or_broken_file_is_named(
    tmp_path: Path, content: str | None, said: str
) -> None:
    """The path stands in the message."""
    file = tmp_path / "sa.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ProviderSetupError, match=said) as caught:
        load_service_account(str(file), KEY)
    assert str(file) in str(caught.value)


def test_no_file_at_all_says_what_to_set() -> None:
    """An empty setting is the most frequent mistake."""
    with pytest.raises(ProviderSetupError, match="set it to the path"):
        load_service_account("", KEY)


async def _until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - a thread's work has no event to await
            await asyncio.sleep(0.005)
