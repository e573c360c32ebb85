"""What a process takes of a changed configuration while it runs; the rest is told.

It reads no file of the configuration: the new one comes in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from tocsin.app.faults import Unusable
from tocsin.app.renewal import ProviderSet, Renewal, find_other_keys
from tocsin.config import Config
from tocsin.config.integrations import PATH, SECTIONS
from tocsin.config.root import built
from tocsin.telemetry.logs import configure_logging
from tocsin.telemetry.metrics import Metrics

_PERSONAL = "client.subscribe_to_user_personal_channel"
CLIENT_LIMITS = (
    "client.channel_limit",
    "client.connection_limit",
    "client.connection_rate_limit",
    "client.history_max_publication_limit",
    "client.queue_max_size",
    "client.recovery_max_publication_limit",
    "client.user_connection_limit",
)
_DOORS = ("http_server", "grpc_api", "uni_grpc")
_SWITCHED = tuple(f"{door}.tls.client_ca_pem" for door in _DOORS)
"""Keys that may change, but neither come nor go."""
RELOADED = (
    *(f"http_api.{key}" for key in ("key", "keys", "insecure")),
    *(f"grpc_api.{key}" for key in ("key", "keys", "insecure")),
    "admin.key",
    *(f"{door}.tls.{key}" for door in _DOORS for key in ("cert_pem", "key_pem")),
    *_SWITCHED,
    "log",
    "reload",
    "channel",
    "client.token",
    "client.subscription_token",
    f"{_PERSONAL}.enabled",
    f"{_PERSONAL}.personal_channel_namespace",
    *CLIENT_LIMITS,
    "push_notifications.limits",
)
"""Keys, and sections of keys, that take effect without a restart."""
CREDENTIALS = (*SECTIONS.values(), PATH)
"""Sections whose keys a worker reloads, where only its adapters know them."""

_log = structlog.get_logger(__name__)

Part = Callable[[Config], Callable[[], None]]
"""Gets ready to take its keys of a configuration, and returns what does it.

Raises `ValueError`, best an `Unusable`; then nothing has changed. What it returns
raises nothing.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration comes from.

    `path` is its file, if any; `reread` reads all anew and gives `None` for a wrong
    one, having said why.
    """

    path: str | None
    reread: Callable[[], Config | None]


class Reloader:
    """Takes a new configuration as a whole, or nothing of it; see `Source`."""

    def __init__(
        self,
        config: Config,
        reread: Callable[[], Config | None],
        *,
        parts: Sequence[Part] = (),
        providers: ProviderSet | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._started = config
        self._reread = reread
        self._parts = parts
        self._providers = providers
        self._metrics = metrics
        self.current = config
        """The one that was taken last."""
        self.wanted = config
        """The one that was read last, taken or not."""

    def reload(self) -> None:
        """Read and take it; faults are lines of the log, and never raised."""
        try:
            is_taken = self._reload()
        except Exception:  # noqa: BLE001 - a border: a signal must not end who is at work
            _log.exception("nothing was reloaded")
            is_taken = False
        if self._metrics is not None:
            result = "taken" if is_taken else "refused"
            self._metrics.config_reloads.add(1, result)
            self._metrics.config_reloaded_at.set(time.time(), result)

    def _reload(self) -> bool:
        config = self._reread()
        if config is None:
            _log.error("the configuration is wrong; everything stays as it was")
            return False
        self.wanted = config
        try:
            renewed = self._take(config)
        except Unusable as error:
            for fault in error.faults:
                _log.error("nothing was reloaded", reason=fault)
            return False
        if self._providers is not None:
            _log.info("credentials of providers are read anew", changed=renewed)
        taken = find_taken_keys(self.current, config)
        self.current = config
        _log.info("the configuration was read anew", changed=taken)
        if changed := find_restart_keys(self._started, config):
            _log.warning(f"need a restart to take effect: {', '.join(changed)}")
        return True

    def _take(self, config: Config) -> list[str]:
        """Take all of it; returns the integrations whose credentials are new.

        Raises `Unusable` with the faults of all parts.
        """
        # Prepared first: all parts must be good before any is taken.
        faults: list[str] = []
        ready: list[Callable[[], None]] = []
        renewal: Renewal | None = None
        for part in self._parts:
            try:
                ready.append(part(config))
            except ValueError as error:
                faults += _faults_of(error)
        try:
            if self._providers is not None:
                renewal = self._providers.prepare(config)
        except ValueError as error:
            faults += _faults_of(error)
        if faults:
            if renewal is not None:
                renewal.discard()  # built, and not used
            raise Unusable(faults)
        for take in ready:
            take()
        if config.log != self.current.log:
            configure_logging(config.log.level, rooms=config.log.by_room())
        return [] if renewal is None else renewal.apply()


def find_taken_keys(running: Config, fresh: Config) -> list[str]:
    """Keys that differ and that a reload takes; of credentials only their sections."""
    changed = [
        path
        for path in built()
        if _is_below(path, RELOADED) and _value(running, path) != _value(fresh, path)
    ]
    old = {each.identifier: each for each in running.push_notifications.credentials}
    for each in fresh.push_notifications.credentials:
        known = old.get(each.identifier)
        if known is not None and known.settings != each.settings:
            changed.append(each.path)
    return changed


def find_restart_keys(running: Config, fresh: Config) -> list[str]:
    """Keys that differ and that no reload takes."""
    changed = [
        path
        for path in built()
        if not _is_below(path, (*RELOADED, *CREDENTIALS))
        and _value(running, path) != _value(fresh, path)
    ]
    switched = [
        path
        for path in _SWITCHED
        if bool(_value(running, path)) != bool(_value(fresh, path))
    ]
    return [*changed, *switched, *find_other_keys(running, fresh)]


def _is_below(path: str, known: Sequence[str]) -> bool:
    return any(f"{path}.".startswith(f"{each}.") for each in known)


def _faults_of(error: ValueError) -> list[str]:
    return error.faults if isinstance(error, Unusable) else [str(error)]


def _value(config: Config, path: str) -> object:
    value: object = config
    for name in path.split("."):
        value = getattr(value, name)
    return value
