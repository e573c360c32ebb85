from __future__ import annotations

import asyncio
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.utils import base64url_decode
from tests.support.clock import MovedClock

from tocsin.core.ports.providers import SharedToken
from tocsin.providers.apns_jwt import ApnsTokens, SigningKey
from tocsin.providers.process_tokens import ProcessTokenStore

MINUTE_MS = 60_000


class Rig:
    """One key, one clock, one store, and processes that share them."""

    def __init__(self) -> None:
        self.clock = MovedClock()
        self.key = SigningKey("TEAM", "KEY", ec.generate_private_key(ec.SECP256R1()))
        self.store = ProcessTokenStore(self.clock)

    def now_s(self) -> float:
        return self.clock.now_ms() / 1000

    def process(self, store: object = None) -> ApnsTokens:
        chosen = store or self.store
        return ApnsTokens(self.key, chosen, clock=self.now_s)  # type: ignore[arg-type] # some stores here are broken

    def pass_minutes(self, minutes: float) -> None:
        self.clock.move_ms(int(minutes * MINUTE_MS))


class Away:
    """A store that cannot be reached."""

    asked = 0

    async def agree(self, *_: object, **__: object) -> SharedToken:
        self.asked += 1
        raise OSError("no route")


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_token_is_what_apple_asks_for(rig: Rig) -> None:
    """ES256, kid in the head, iss and iat in the claims, and the signature is good."""
    token = await rig.process().fetch()
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": "KEY"}
    public = rig.key.private.public_key()
    claims = jwt.decode(
        token, public, algorithms=["ES256"], options={"verify_iat": False}
    )
    assert claims == {"iss": "TEAM", "iat": int(rig.now_s())}


async def test_a_token_letter_for_letter(rig: Rig) -> None:
    """Head and claims as in Apple's example: no `typ`, no blanks, in this order."""
    head, claims, signature = (await rig.process().fetch()).split(".")
    assert base64url_decode(head) == b'{"alg":"ES256","kid":"KEY"}'
    made_at_s = int(rig.now_s())
    assert base64url_decode(claims) == b'{"iss":"TEAM","iat":%d}' % made_at_s
    assert len(base64url_decode(signature)) == 64


async def test_all_processes_use_one_token(rig: Rig) -> None:
    """Whoever comes first makes it, and everybody at once gets the same."""
    processes = [rig.process() for _ in range(5)]
    tokens = await asyncio.gather(*(one.fetch() for one in processes * 4))
    assert len(set(tokens)) == 1


async def test_a_token_lives_45_minutes(rig: Rig) -> None:
    """Not a moment less, and the next one is shared as well."""
    first, second = rig.process(), rig.process()
    old = await first.fetch()
    rig.pass_minutes(44)
    assert await first.fetch() == await second.fetch() == old
    rig.pass_minutes(2)
    fresh = await second.fetch()
    assert fresh != old
    assert await first.fetch() == fresh


async def test_an_expired_token_is_replaced_once_for_all(rig: Rig) -> None:
    """Two processes that hear of it agree on one new token."""
    first, second = rig.process(), rig.process()
    old = await first.fetch()
    assert await second.fetch() == old
    rig.pass_minutes(25)
    fresh = await first.renew(old)
    assert fresh not in (None, old)
    assert await second.renew(old) == fresh
    assert await first.renew(old) == fresh


async def test_a_young_token_is_never_replaced(rig: Rig) -> None:
    """Under 20 minutes Apple would only say "too many"."""
    process = rig.process()
    token = await process.fetch()
    rig.pass_minutes(19)
    assert await process.renew(token) is None
    assert await process.fetch() == token


async def test_too_many_tokens_bring_the_old_one_back(rig: Rig) -> None:
    """The one before is used again, until the newest has its 20 minutes."""
    process = rig.process()
    old = await process.fetch()
    rig.pass_minutes(25)
    fresh = await process.renew(old)
    assert fresh is not None
    process.keep_old(fresh)
    assert await process.fetch() == old
    rig.pass_minutes(19)
    assert await process.fetch() == old
    rig.pass_minutes(2)
    assert await process.fetch() == fresh


async def test_too_many_tokens_without_an_old_one(rig: Rig) -> None:
    """There is nothing to go back to, and still nothing new is made."""
    process = rig.process()
    token = await process.fetch()
    process.keep_old(token)
    process.keep_old("another that nobody uses")
    assert await process.fetch() == token


async def test_a_dead_old_token_is_not_brought_back(rig: Rig) -> None:
    """Over its hour it would only be refused."""
    process = rig.process()
    await process.fetch()
    rig.pass_minutes(58)
    fresh = await process.fetch()
    process.keep_old(fresh)
    assert await process.fetch() == fresh


async def test_without_its_store_a_process_keeps_its_token(rig: Rig) -> None:
    """Up to 57 minutes the old one does, then it makes one of its own."""
    store = _Failing(rig.store)
    process = rig.process(store)
    old = await process.fetch()
    store.away = True
    rig.pass_minutes(50)
    assert await process.fetch() == old
    rig.pass_minutes(8)
    assert await process.fetch() != old


async def test_a_store_that_is_away_is_not_asked_by_every_batch(rig: Rig) -> None:
    """One question in five seconds, else sends would wait for it."""
    store = _Failing(rig.store)
    process = rig.process(store)
    old = await process.fetch()
    store.away = True
    rig.pass_minutes(46)
    asked = store.asked
    for _ in range(10):
        assert await process.fetch() == old
    assert store.asked == asked + 1
    rig.pass_minutes(0.1)
    store.away = False
    assert await process.fetch() != old


async def test_a_process_starts_without_its_store(rig: Rig) -> None:
    """Sending goes on; a token of one's own is better than none."""
    assert (await rig.process(Away()).fetch()).count(".") == 2


async def test_rubbish_in_the_store_does_not_reach_a_header(rig: Rig) -> None:
    """What is no token is not sent, whoever wrote it there."""
    bad = SharedToken("x\r\nevil: 1", rig.clock.now_ms())
    await rig.store.agree(rig.key.name, bad, made_after_ms=0, ttl_s=3600)
    assert "evil" not in await rig.process().fetch()


def test_another_key_has_another_name(rig: Rig) -> None:
    """Two keys under one id, as after a mistake, never share a token."""
    other = SigningKey("TEAM", "KEY", ec.generate_private_key(ec.SECP256R1()))
    assert other.name != rig.key.name
    assert "PRIVATE" not in repr(rig.key)


class _Failing:
    """A store that can be cut off."""

    def __init__(self, inner: ProcessTokenStore) -> None:
        self._inner = inner
        self.away = False
        self.asked = 0

    async def agree(
        self, name: str, offered: SharedToken, *, made_after_ms: int, ttl_s: float
    ) -> SharedToken:
        self.asked += 1
        if self.away:
            raise OSError("no route")
        return await self._inner.agree(
            name, offered, made_after_ms=made_after_ms, ttl_s=ttl_s
        )


async def test_a_clock_that_was_set_back_makes_a_token_anew(rig: Rig) -> None:
    """One from the future would be refused for hours, and could not be replaced."""
    process = rig.process()
    wrong = await process.fetch()
    rig.pass_minutes(-120)
    right = await process.fetch()
    assert right != wrong
    assert await process.fetch() == right


async def test_who_gives_up_leaves_the_agreement_to_the_others(rig: Rig) -> None:
    """A batch that is cancelled while the store is asked takes it from nobody."""
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(_Failing):
        async def agree(self, *args: Any, **named: Any) -> SharedToken:
            asked.set()
            await answer.wait()
            return await super().agree(*args, **named)

    store = Slow(rig.store)
    process = rig.process(store)
    first, second = (asyncio.create_task(process.fetch()) for _ in range(2))
    await asked.wait()
    first.cancel()
    answer.set()
    assert await second == await process.fetch()
    assert store.asked == 1


async def test_closing_ends_an_agreement(rig: Rig) -> None:
    """No task is left behind while the store takes its time."""
    asked = asyncio.Event()

    class Silent:
        async def agree(self, *_: object, **__: object) -> SharedToken:
            asked.set()
            await asyncio.sleep(3600)
            raise AssertionError

    process = rig.process(Silent())
    waiting = asyncio.create_task(process.fetch())
    await asked.wait()
    await process.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
