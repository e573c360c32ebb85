"""What SIGHUP does: channel options and token keys anew, the rest is told.

It reads no file: the new configuration comes in.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from tocsin.app.realtime import Realtime
from tocsin.config import Config
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

_log = structlog.get_logger("tocsin.app")


def reload_at_sighup(
    realtime: Realtime, reread: Callable[[], Config | None], stack: AsyncExitStack
) -> None:
    """From now on until `stack` is left; `reread` gives `None` for a wrong one."""

    def reload() -> None:
        config = reread()
        if config is None:
            _log.error("the configuration is wrong; everything stays as it was")
            return
        try:
            realtime.reload(config)
        except ValueError as error:
            _log.error("nothing was reloaded", reason=str(error))
            return
        if changed := find_restart_keys(realtime.config, config):
            _log.warning(f"need a restart to take effect: {', '.join(changed)}")

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    stack.callback(loop.remove_signal_handler, signal.SIGHUP)


def find_restart_keys(running: Config, fresh: Config) -> list[str]:
    """Keys that differ and that `Realtime.reload` does not take."""
    return [
        path
        for path in built()
        if not any(f"{path}.".startswith(f"{known}.") for known in RELOADED)
        and _value(running, path) != _value(fresh, path)
    ]


def _value(config: Config, path: str) -> object:
    value: object = config
    for name in path.split("."):
        value = getattr(value, name)
    return value
