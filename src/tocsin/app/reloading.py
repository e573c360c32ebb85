"""What SIGHUP does: channel options, token keys and credentials anew, the rest is told.

It reads no file of the configuration: the new one comes in.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from tocsin.app.realtime import Realtime
from tocsin.app.renewal import ProviderSet, find_other_keys
from tocsin.config import Config
from tocsin.config.integrations import PATH, SECTIONS
from tocsin.config.root import built

_PERSONAL = "client.subscribe_to_user_personal_channel"
RELOADED = (
    "channel",
    "client.token",
    "client.subscription_token",
    f"{_PERSONAL}.enabled",
    f"{_PERSONAL}.personal_channel_namespace",
)
"""Keys, and sections of keys, that take effect without a restart."""
CREDENTIALS = (*SECTIONS.values(), PATH)
"""Sections whose keys a worker reloads, where only its adapters know them."""

_log = structlog.get_logger(__name__)


class Reloader:
    """Takes a new configuration as a whole, or nothing of it.

    `reread` gives `None` for a wrong one, and has said why.
    """

    def __init__(
        self,
        config: Config,
        reread: Callable[[], Config | None],
        *,
        realtime: Realtime | None = None,
        providers: ProviderSet | None = None,
    ) -> None:
        self._running = config
        self._reread = reread
        self._realtime = realtime
        self._providers = providers

    def reload(self) -> None:
        """Read and take it; faults are lines of the log, and never raised."""
        try:
            config = self._reread()
            if config is None:
                _log.error("the configuration is wrong; everything stays as it was")
                return
            renewed = self._take(config)
        except ValueError as error:
            _log.error("nothing was reloaded", reason=str(error))
            return
        except Exception:  # noqa: BLE001 - a border: a signal must not end who is at work
            _log.exception("nothing was reloaded")
            return
        if self._providers is not None:
            _log.info("credentials of providers are read anew", changed=renewed)
        if changed := find_restart_keys(self._running, config):
            _log.warning(f"need a restart to take effect: {', '.join(changed)}")

    def _take(self, config: Config) -> list[str]:
        """Take all of it; returns the integrations whose credentials are new."""
        # Prepared first: both parts must be good before either is taken.
        renewal = None if self._providers is None else self._providers.prepare(config)
        try:
            if self._realtime is not None:
                self._realtime.reload(config)
        except BaseException:
            # What was built must be closed, since it will not be used.
            if renewal is not None:
                renewal.discard()
            raise
        return [] if renewal is None else renewal.apply()


def find_restart_keys(running: Config, fresh: Config) -> list[str]:
    """Keys that differ and that no reload takes."""
    changed = [
        path
        for path in built()
        if not any(
            f"{path}.".startswith(f"{known}.") for known in (*RELOADED, *CREDENTIALS)
        )
        and _value(running, path) != _value(fresh, path)
    ]
    return [*changed, *find_other_keys(running, fresh)]


def _value(config: Config, path: str) -> object:
    value: object = config
    for name in path.split("."):
        value = getattr(value, name)
    return value
