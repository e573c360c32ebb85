"""What an operator sees of credentials that wait, and does about them.

It works on what workers share, so it reaches all of them, and it contacts no provider:
a probe is made by a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from tocsin.admin.actor import Actor
from tocsin.admin.audit import AuditTrail
from tocsin.core.breaker import (
    Breaker,
    BreakerState,
    credential_name,
    parse_credential_name,
    read_breaker,
)
from tocsin.core.errors import BadRequest, Conflict, NotAvailable
from tocsin.core.lanes import batch_queues
from tocsin.core.ports.breakers import BreakerStore
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import Backlog

_TRIES = 20
"""Workers may change a breaker at the same time, a few times in a row at most."""


@dataclass(frozen=True, slots=True)
class CredentialName:
    """A configured credential; `digest` tells its key from another one."""

    provider: str
    integration: str
    digest: str


@dataclass(frozen=True, slots=True)
class CredentialStatus:
    """How a credential is.

    `breaker` is `None` where nothing waits for it. `waiting` are jobs of its provider
    that wait, those of other integrations included. Not `is_configured` is a breaker
    that workers with another key, or another configuration, have.
    """

    provider: str
    integration: str
    state: BreakerState
    breaker: Breaker | None
    waiting: int
    is_configured: bool = True


class CredentialService:
    """Lists the credentials of a configuration, and changes their breakers by hand."""

    def __init__(
        self,
        store: BreakerStore | None,
        credentials: Sequence[CredentialName],
        *,
        clock: Clock,
        backlog: Backlog | None,
        audit: AuditTrail,
    ) -> None:
        """Without `store`, where workers share nothing, every call answers 108."""
        self._audit = audit
        self._shared = store
        self._credentials = credentials
        self._clock = clock
        self._backlog = backlog

    @property
    def _store(self) -> BreakerStore:
        if self._shared is None:
            raise NotAvailable(
                "without a database or Redis each worker knows for itself which"
                " credentials are refused"
            )
        return self._shared

    async def list(self) -> list[CredentialStatus]:
        """All that are configured, in their order, then breakers of other keys."""
        texts = await self._store.fetch()
        found = {
            CredentialName(*parts): breaker
            for name, text in texts.items()
            if (parts := parse_credential_name(name)) is not None
            and (breaker := read_breaker(text)) is not None
        }
        others = sorted(
            (each for each in found if each not in self._credentials),
            key=lambda each: (each.provider, each.integration, each.digest),
        )
        providers = {each.provider for each in [*self._credentials, *others]}
        names = {each: batch_queues(each) for each in sorted(providers)}
        queues = [*chain(*names.values())]
        waiting = {} if self._backlog is None else await self._backlog.waiting(queues)
        now_ms = self._clock.now_ms()
        return [
            CredentialStatus(
                each.provider,
                each.integration,
                _state(found.get(each), now_ms),
                found.get(each),
                sum(waiting.get(queue, 0) for queue in names[each.provider]),
                is_configured=each in self._credentials,
            )
            for each in [*self._credentials, *others]
        ]

    async def stopped(self) -> dict[tuple[str, str], Breaker]:
        """Those configured whose sends wait now, by provider and integration."""
        texts, now_ms = await self._store.fetch(), self._clock.now_ms()
        found = {}
        for each in self._credentials:
            text = texts.get(_name(each))
            breaker = None if text is None else read_breaker(text)
            if breaker is not None and breaker.stops(now_ms):
                found[each.provider, each.integration] = breaker
        return found

    async def reason(self, provider: str, integration: str) -> str:
        """Why sends through it wait now, or an empty text."""
        texts, now_ms = await self._store.fetch(), self._clock.now_ms()
        for each in self._credentials:
            if (each.provider, each.integration) == (provider, integration):
                text = texts.get(_name(each))
                breaker = None if text is None else read_breaker(text)
                if breaker is not None and breaker.stops(now_ms):
                    return breaker.reason()
        return ""

    async def probe(self, integration: str, *, actor: Actor) -> bool:
        """Let a worker try it with the next batch; `False` where nothing waits for it.

        Raises `BadRequest` for an integration that is not configured.
        """
        known = self._find(integration)
        subject = {"integration": integration}
        async with self._audit.entry(actor, "probe_credential", subject) as outcome:
            outcome.count = int(await self._change(known, closes=False))
        return bool(outcome.count)

    async def close(self, integration: str, *, actor: Actor) -> bool:
        """Let everything that waits for it go on; `False` where nothing did.

        Raises `BadRequest` as `probe` does.
        """
        known = self._find(integration)
        subject = {"integration": integration}
        async with self._audit.entry(actor, "close_credential", subject) as outcome:
            outcome.count = int(await self._change(known, closes=True))
        return bool(outcome.count)

    def _find(self, integration: str) -> CredentialName:
        for each in self._credentials:
            if each.integration == integration:
                return each
        names = ", ".join(sorted({each.integration for each in self._credentials}))
        raise BadRequest("integration", f"is none of {names or 'those configured'}")

    async def _change(self, known: CredentialName, *, closes: bool) -> bool:
        name = _name(known)
        for _ in range(_TRIES):
            text = (await self._store.fetch()).get(name)
            breaker = None if text is None else read_breaker(text)
            if text is None or breaker is None:
                return False
            now_ms = self._clock.now_ms()
            after = replace(breaker, prober="", until_ms=now_ms)
            if await self._store.swap(name, text, None if closes else after.to_text()):
                return True
        raise Conflict("workers change the state of this credential; try again")


def _name(each: CredentialName) -> str:
    return credential_name(each.provider, each.integration, each.digest)


def _state(breaker: Breaker | None, now_ms: int) -> BreakerState:
    return BreakerState.CLOSED if breaker is None else breaker.state(now_ms)
