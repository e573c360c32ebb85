"""What the realtime corridor takes of a changed configuration while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog

from tocsin.app.faults import Unusable
from tocsin.app.realtime import Realtime
from tocsin.app.realtime_settings import (
    client_limits,
    find_realtime_faults,
    namespace_settings,
    token_settings,
)
from tocsin.config import Config

_log = structlog.get_logger(__name__)


def prepare_realtime(realtime: Realtime, config: Config) -> Callable[[], None]:
    """Get ready to take channel options, token keys and limits of clients.

    The call that it returns takes them. Raises `Unusable` with all faults; then nothing
    has changed. Everything else stays as it was at the start.
    """
    if faults := list(find_realtime_faults(config)):
        raise Unusable(faults)
    connection, subscription = token_settings(config)
    limits = client_limits(config)

    def take() -> None:
        realtime.verifier.replace(connection, subscription)
        realtime.namespaces.replace(namespace_settings(config))
        context = realtime.context
        context.settings = replace(context.settings, **limits)
        realtime.admission.replace(
            limits["connection_limit"], limits["connection_rate_limit"]
        )
        _log.info(
            "channel options and token keys are read anew",
            namespaces=len(config.channel.namespaces),
        )

    return take
