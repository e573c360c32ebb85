"""Removes devices whose tokens are dead; whether they are is decided by others.

It must not let a registry that is away stop the sending.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from tocsin.core.device import DeadToken
from tocsin.core.errors import ApiError
from tocsin.core.ports import DeviceStore
from tocsin.delivery.outages import DATABASE, Outages
from tocsin.telemetry.metrics import Metrics

_log = structlog.get_logger("tocsin.delivery")


class DeviceRemoval:
    """Applies dead tokens to the registry, where there is one, and counts them.

    The reason of a token is `provider: code`.
    """

    def __init__(
        self,
        devices: DeviceStore | None,
        metrics: Metrics,
        outages: Outages | None = None,
    ) -> None:
        self._outages = outages or Outages()
        self._devices = devices
        self._metrics = metrics

    async def remove(self, dead: Sequence[DeadToken]) -> None:
        """Soft-remove by the rule of `DeadToken`; a failure is logged, not raised."""
        if self._devices is None or not dead:
            return
        try:
            removed = await self._devices.remove_dead(dead)
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
        reasons = {token.device_id: token.reason for token in dead}
        for device_id in removed:
            provider, _, code = reasons[device_id].partition(": ")
            self._metrics.push_devices_removed.add(1, provider, code)
            _log.debug("device removed", device_id=device_id, reason=reasons[device_id])
