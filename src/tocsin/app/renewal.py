"""New credentials for adapters at work; running sends end with the old credential.

Composition room. It decides nothing about sending, and reads no configuration file.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import structlog

from tocsin.app.faults import Unusable
from tocsin.config import Config
from tocsin.config.fields import Section, file_keys
from tocsin.config.integrations import Credential, Item
from tocsin.core.outcome import Outcome
from tocsin.core.ports.providers import Batch, Pace, PushProvider, Report
from tocsin.core.ports.receipts import ReceiptSource

_log = structlog.get_logger(__name__)

Build = Callable[[Credential], PushProvider]
"""The adapter of a credential; raises `ProviderSetupError` and connects to nothing."""


class RenewableProvider:
    """An adapter whose place a new one can take; see `PushProvider`."""

    def __init__(self, current: PushProvider) -> None:
        self.name = current.name
        self.integration = current.integration
        self.batch_size = current.batch_size
        self._current = current
        self._uses: dict[PushProvider, int] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says."""
        provider = self._take()
        try:
            await provider.send(batch, report, pace)
        finally:
            self._give_back(provider)

    def renew(self, provider: PushProvider) -> None:
        """Send with this one from now on; the old one is closed after its last use."""
        # No await here or in `_take`, so each send uses one adapter to its end.
        old, self._current = self._current, provider
        if not self._uses.get(old):
            self.close_other(old)

    async def close(self) -> None:
        """As the port says."""
        if self._closing:
            await asyncio.wait(set(self._closing))
        await self._current.close()

    def _take(self) -> PushProvider:
        provider = self._current
        self._uses[provider] = self._uses.get(provider, 0) + 1
        return provider

    def _give_back(self, provider: PushProvider) -> None:
        self._uses[provider] -= 1
        if not self._uses[provider]:
            del self._uses[provider]
            if provider is not self._current:
                self.close_other(provider)

    def close_other(self, provider: PushProvider) -> None:
        """Close, beside all that goes on, one that is not in use."""
        task = asyncio.create_task(_close(provider))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class RenewableReceiptSource(RenewableProvider):
    """A `RenewableProvider` for a service with receipts; see `ReceiptSource`."""

    def __init__(self, current: PushProvider) -> None:
        super().__init__(current)
        source = cast("ReceiptSource", current)
        self.receipt_delay_s = source.receipt_delay_s
        self.receipt_batch_size = source.receipt_batch_size

    async def fetch_receipts(
        self, ids: Sequence[str]
    ) -> Mapping[str, Outcome] | Outcome:
        """See `ReceiptSource`."""
        provider = self._take()
        try:
            return await cast("ReceiptSource", provider).fetch_receipts(ids)
        finally:
            self._give_back(provider)


async def _close(provider: PushProvider) -> None:
    try:
        await provider.close()
    except Exception:  # noqa: BLE001 - a border: the new credential is at work already
        _log.exception("a replaced credential was not closed", provider=provider.name)


@dataclass(frozen=True, slots=True)
class _Fresh:
    credential: Credential
    fingerprint: str
    provider: PushProvider


class Renewal:
    """Adapters that are built and not yet in use: call `apply` or `discard`, once."""

    def __init__(self, owner: ProviderSet, fresh: Sequence[_Fresh]) -> None:
        self._owner = owner
        self._fresh = fresh

    def apply(self) -> list[str]:
        """Put them in place of the old ones; returns their integrations."""
        for each in self._fresh:
            self._owner.replace(each)
        return [each.credential.identifier for each in self._fresh]

    def discard(self) -> None:
        """Close them; the old ones stay."""
        for each in self._fresh:
            self._owner.drop(each)


class ProviderSet:
    """The adapters of one worker, by integration, and what they were made of."""

    def __init__(
        self,
        credentials: Sequence[Credential],
        build: Build,
        *,
        on_use: Callable[[PushProvider], None] = lambda _: None,
    ) -> None:
        """Build all; `on_use` hears of each adapter that begins to be used.

        Call it in the event loop that will send. Raises `ProviderSetupError`.
        """
        self._build = build
        self._listeners = [on_use]
        self._made_of: dict[str, tuple[Credential, str]] = {}
        self._renewable: dict[str, RenewableProvider] = {}
        for each in credentials:
            self._made_of[each.identifier] = (each, _fingerprint(each))
            provider = build(each)
            on_use(provider)
            wrap = (
                RenewableReceiptSource
                if isinstance(provider, ReceiptSource)
                else RenewableProvider
            )
            self._renewable[each.identifier] = wrap(provider)

    @property
    def providers(self) -> Mapping[str, PushProvider]:
        """Each by its integration; the objects stay when credentials change."""
        return self._renewable

    def digest(self, integration: str) -> str:
        """A short name for the key of this integration, see `digest_of`."""
        found = self._made_of.get(integration)
        return "" if found is None else digest_of(found[0])

    def listen(self, on_use: Callable[[PushProvider], None]) -> None:
        """Let it hear of each adapter that replaces another from now on."""
        self._listeners.append(on_use)

    async def close(self) -> None:
        """Close all, with no send under way."""
        for provider in self._renewable.values():
            await provider.close()

    def prepare(self, config: Config) -> Renewal:
        """Build anew what another configuration, or a file, has changed.

        Raises `Unusable` with all faults, for missing files too; nothing has changed
        then.
        """
        fresh: list[_Fresh] = []
        faults: list[str] = []
        try:
            for wanted in config.push_notifications.active_credentials:
                running, fingerprint = self._made_of.get(wanted.identifier, (None, ""))
                if running is None or running.provider != wanted.provider:
                    continue
                credential = _merge(running, wanted)
                found = _fingerprint(credential)
                if found == fingerprint:
                    continue
                try:
                    fresh.append(_Fresh(credential, found, self._build(credential)))
                except ValueError as error:
                    faults.append(str(error))
        except BaseException:
            Renewal(self, fresh).discard()
            # Also when cancelled: what was built here is nobody else's to
            # close.
            raise
        renewal = Renewal(self, fresh)
        if faults:
            renewal.discard()
            raise Unusable(faults)
        return renewal

    def replace(self, fresh: _Fresh) -> None:
        """Send through this one from now on."""
        name = fresh.credential.identifier
        self._made_of[name] = (fresh.credential, fresh.fingerprint)
        self._renewable[name].renew(fresh.provider)
        for listener in self._listeners:
            listener(fresh.provider)

    def drop(self, fresh: _Fresh) -> None:
        """Close an adapter that was built and will not be used."""
        self._renewable[fresh.credential.identifier].close_other(fresh.provider)


def find_other_keys(running: Config, fresh: Config) -> list[str]:
    """Keys of the credentials that differ and that `ProviderSet` does not take."""
    found: list[str] = []
    known = {each.identifier: each for each in running.push_notifications.credentials}
    for each in fresh.push_notifications.credentials:
        old = known.pop(each.identifier, None)
        if old is None or old.provider != each.provider:
            found.append(each.path)
            continue
        found += [
            f"{each.path}.{key}"
            for key in _kept(each)
            if getattr(old.settings, key) != getattr(each.settings, key)
        ]
    return [*found, *(each.path for each in known.values())]


def _kept(credential: Credential) -> list[str]:
    """Its keys that other parts of the process hold since its start."""
    settings = type(credential.settings)
    kept = settings.KEPT.union(Item.model_fields, ("provider",))
    return [key for key in settings.model_fields if key in kept]


def _merge(running: Credential, wanted: Credential) -> Credential:
    """The running one with all keys of the other that may change."""
    settings = wanted.settings.model_copy(
        update={key: getattr(running.settings, key) for key in _kept(wanted)}
    )
    return replace(running, settings=settings, path=wanted.path)


def _fingerprint(credential: Credential) -> str:
    """A hash over all keys of a credential and the content of the files they name."""
    digest = hashlib.sha256()
    for key in sorted(type(credential.settings).model_fields):
        digest.update(f"{key}={_plain(credential.settings, key)!r}\0".encode())
    # By content: files are often replaced under the same name.
    for key in file_keys(type(credential.settings)):
        if name := getattr(credential.settings, key):
            digest.update(_content(str(name)))
    return digest.hexdigest()


def digest_of(credential: Credential) -> str:
    """Tells a credential from a changed one; the same on every machine that has it.

    Of files the content counts, wherever they are.
    """
    digest, settings = hashlib.sha256(), credential.settings
    files = set(file_keys(type(settings)))
    for key in sorted(type(settings).model_fields):
        if key not in files:
            digest.update(f"{key}={_plain(settings, key)!r}\0".encode())
        elif name := getattr(settings, key):
            digest.update(_content(str(name)))
    return digest.hexdigest()[:16]


def _plain(settings: Section, key: str) -> object:
    value = getattr(settings, key)
    reveal = getattr(value, "get_secret_value", None)
    return value if reveal is None else reveal()


def _content(name: str) -> bytes:
    try:
        return hashlib.sha256(Path(name).read_bytes()).digest()
    except OSError as error:
        return f"{type(error).__name__}".encode()
