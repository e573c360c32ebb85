"""Removes devices whose tokens are dead, unless the verdicts cannot be true.

Sending goes on while the registry is away.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Sequence

import structlog

from tocsin.core.device import DeadToken, RemovedFilter
from tocsin.core.errors import ApiError
from tocsin.core.ports.devices import DeviceStore, VerdictStore
from tocsin.core.removals import Removal, RemovalGuard, RemovalLimit
from tocsin.delivery.credentials import ENOUGH, CredentialState
from tocsin.delivery.outages import DATABASE, Outages
from tocsin.telemetry.metrics import Metrics

SHARE_EVERY_MS = 100
"""Healthy answers are shared no more often. It is often enough for other workers to
know of them before the next send: a worker that knows of none would take the guarded
verdicts of two small sends for a broken credential."""
LEAST_REST = 10
"""After sharing, healthy answers wait this many times as long as it took: a registry
that is far away must not keep the journal waiting most of the time."""
PATIENCE_S = 3.0
"""How long sharing may take. The journal waits for it, and sending for the journal."""
ASK_AGAIN_AFTER_MS = 10_000
"""A registry that did not answer is not asked for this long: sending must go on."""
LOOK_AT_SUSPECTS_EVERY_MS = 10_000
MOST_SUSPECTS = 10_000
"""Marked devices of one credential that a delivery can acquit, at most: a worker
keeps their ids in memory."""

_log = structlog.get_logger(__name__)


class DeviceRemoval:
    """Applies dead tokens to the registry, if there is one, and counts them.

    `verdicts` shares answers with the other workers. Without it this worker decides
    by its own, and guarded verdicts remove nothing. The reason of a token is
    `provider: code`. What goes beyond `limit` waits for a person.
    """

    def __init__(
        self,
        devices: DeviceStore | None,
        metrics: Metrics,
        verdicts: VerdictStore | None = None,
        outages: Outages | None = None,
        limit: RemovalLimit | None = None,
    ) -> None:
        self._limit = limit or RemovalLimit()
        self._outages = outages or Outages()
        self._devices = devices
        self._metrics = metrics
        self._verdicts = verdicts

    async def share(
        self, credential: CredentialState, now_ms: int, *, at_once: bool
    ) -> bool:
        """Share new answers with the other workers, and learn theirs.

        `at_once` if something is to be decided by them; else it may do nothing, so
        that the registry is asked ten times a second at most. `False` means that the
        answers of the others could not be read.
        """
        if now_ms < credential.ask_again_at_ms:
            return False
        pause_ms = max(SHARE_EVERY_MS, LEAST_REST * credential.share_took_ms)
        is_fresh = now_ms - credential.shared_at_ms < pause_ms
        if not at_once and (is_fresh or credential.sharing.locked()):
            return True
        begun = credential.shares_begun
        # One call at a time: answers that are on their way are neither unshared any
        # more nor in `letters` yet, and a judgement now would miss them.
        async with credential.sharing:
            # Checked again after the wait. One that failed meanwhile had all the
            # patience there is; one that began meanwhile took our answers along.
            if now_ms < credential.ask_again_at_ms:
                return False
            if credential.shares_begun > begun:
                return True
            credential.shares_begun += 1
            return await self._share(credential, now_ms)

    async def _share(self, credential: CredentialState, now_ms: int) -> bool:
        letters, delivered = credential.take_unshared()
        if self._verdicts is None:
            credential.keep_own(letters)
            return True
        name = (credential.provider, credential.integration)
        begun_s = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                shared = await self._verdicts.note(*name, letters, delivered=delivered)
            credential.share_took_ms = int(1000 * (time.monotonic() - begun_s))
            credential.shared_at_ms = now_ms
            credential.adopt(shared)
            # Shared now: a fault below must not put them back, to be counted twice.
            letters = ""
            if now_ms - credential.suspects_at_ms >= LOOK_AT_SUSPECTS_EVERY_MS:
                credential.suspects_at_ms = now_ms
                credential.suspects = await self._verdicts.fetch_suspects(
                    *name, limit=MOST_SUSPECTS
                )
        except Exception as error:  # noqa: BLE001 - a registry that is away must not stop the sending
            credential.put_back(letters)
            credential.ask_again_at_ms = now_ms + ASK_AGAIN_AFTER_MS
            _log.warning(
                "what other workers know of a credential cannot be read; no device"
                " is removed meanwhile",
                provider=credential.provider,
                integration=credential.integration,
                error=str(error) or f"no answer within {PATIENCE_S:g} s",
            )
            return False
        return True

    async def remove(
        self, credential: CredentialState, dead: Sequence[DeadToken]
    ) -> None:
        """Soft-remove for definite verdicts; a failure is logged, not raised."""
        if self._devices is None or not dead:
            return
        try:
            done = await self._devices.remove_dead(dead, guard=self._guard(credential))
        except ApiError as error:
            self._outages.note(
                error, doing="remove dead tokens; the next send finds them"
            )
            return
        except Exception as error:  # noqa: BLE001 - a registry that is away must not stop the sending
            _log.warning(
                "dead tokens not removed; the next send will find them again",
                count=len(dead),
                error=str(error),
            )
            return
        self._outages.fine(DATABASE)
        tokens = {each.device_id: each.token for each in dead}
        gone = [*done.removed, *done.held]
        credential.note_removed({id: tokens[id] for id in gone})
        self._count_removed(dead, done.removed)
        self._report_held(credential, dead, done)

    async def suspect(
        self, credential: CredentialState, accused: Sequence[DeadToken]
    ) -> int:
        """Mark devices for believed guarded verdicts, remove those marked before.

        Returns how many were removed.
        """
        if self._devices is None or self._verdicts is None or not accused:
            return 0
        try:
            done = await self._verdicts.suspect(
                accused,
                delivered=credential.delivered,
                proof=ENOUGH,
                guard=self._guard(credential),
            )
        except Exception as error:  # noqa: BLE001 - a registry that is away must not stop the sending
            _log.warning(
                "suspected tokens not noted; the next send will find them again",
                count=len(accused),
                error=str(error),
            )
            return 0
        credential.suspects.update(token.device_id for token in accused)
        credential.suspects.difference_update(done.removed)
        self._count_removed(accused, done.removed)
        self._report_held(credential, accused, done)
        return len(done.removed)

    async def acquit(self, credential: CredentialState, ids: Collection[str]) -> None:
        """Take the marks from these devices: deliveries show that their tokens live."""
        cleared = credential.suspects.intersection(ids)
        if self._verdicts is None or not cleared:
            return
        # Before the await, so that two batches do not clear the same marks.
        credential.suspects -= cleared
        try:
            await self._verdicts.acquit(cleared)
        except Exception as error:  # noqa: BLE001 - a registry that is away must not stop the sending
            credential.suspects |= cleared
            _log.warning("marks of suspected devices not taken away", error=str(error))

    async def hold(self, credential: CredentialState, codes: Sequence[str]) -> None:
        """Count guarded verdicts that remove nothing; report the credential once."""
        self._count_held(credential, codes)
        if credential.is_suspicious() and not credential.reported:
            credential.reported = True
            _log.error(
                "so many tokens look wrong that the credential is suspected; no such"
                " device is removed until this ends. Check the project, the key and"
                " the environment of this integration",
                provider=credential.provider,
                integration=credential.integration,
            )
            await self._acquit_all(credential)

    async def hold_flood(
        self, credential: CredentialState, codes: Sequence[str], origin: str = ""
    ) -> int:
        """Count definite verdicts of a flood, and bring back the devices of its start.

        Returns how many came back. `origin` is the push service that gave the
        verdicts, if the credential has several.
        """
        self._count_held(credential, codes)
        restored = await self._restore(credential.take_removed_in_flood(origin))
        if restored or not credential.flood_reported:
            credential.flood_reported = True
            _log.error(
                "the provider calls nearly every token dead, which is not believed:"
                " no device is removed until it delivers again, and those that went"
                " when it began are back. See `tocsin devices removed`",
                provider=credential.provider,
                integration=credential.integration,
                service=origin,
                restored=restored,
            )
        return restored

    def _guard(self, credential: CredentialState) -> RemovalGuard:
        return RemovalGuard(credential.provider, credential.integration, self._limit)

    def _report_held(
        self, credential: CredentialState, said: Sequence[DeadToken], done: Removal
    ) -> None:
        """Remember what waits for a person, since a delivery can end that; tell him."""
        if not done.held:
            return
        reasons = {token.device_id: token.reason for token in said}
        codes = [reasons[id].partition(": ")[2] for id in done.held]
        credential.suspects.update(done.held)
        if done.is_alarm:
            _log.error(
                "so many devices of an integration are called dead that a person has to"
                " decide; they stay until then. See `tocsin devices removals list`",
                provider=credential.provider,
                integration=credential.integration,
                code=codes[0],
                held_now=len(done.held),
            )

    def _count_held(self, credential: CredentialState, codes: Sequence[str]) -> None:
        for code, count in Counter(codes).items():
            self._metrics.push_removals_held.add(count, credential.provider, code)

    async def _restore(self, ids: Sequence[str]) -> int:
        if self._devices is None or not ids:
            return 0
        them = RemovedFilter(ids=tuple(ids))
        try:
            back = await self._devices.restore_removed(them, limit=len(ids))
            freed = await self._devices.release_held(them, limit=len(ids))
            return len(back) + len(freed)
        except Exception as error:  # noqa: BLE001 - a registry that is away must not stop the sending
            _log.warning(
                "devices not restored; `tocsin devices restore` does it",
                count=len(ids),
                error=str(error),
            )
            return 0

    async def _acquit_all(self, credential: CredentialState) -> None:
        """Take all marks back: they were made before the credential was suspected."""
        credential.suspects.clear()
        if self._verdicts is None:
            return
        try:
            await self._verdicts.acquit_all(credential.provider, credential.integration)
        except Exception as error:  # noqa: BLE001 - a registry that is away must not stop the sending
            _log.warning("marks of suspected devices not taken away", error=str(error))

    def _count_removed(self, said: Sequence[DeadToken], removed: Sequence[str]) -> None:
        reasons = {token.device_id: token.reason for token in said}
        for device_id in removed:
            provider, _, code = reasons[device_id].partition(": ")
            self._metrics.push_devices_removed.add(1, provider, code)
            _log.debug("device removed", device_id=device_id, reason=reasons[device_id])
