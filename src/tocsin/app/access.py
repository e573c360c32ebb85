"""Who comes in by the doors of a server, and how: their keys and certificates."""

from __future__ import annotations

from collections.abc import Callable

from tocsin.app.door_keys import DoorKeys
from tocsin.app.door_tls import DoorCertificates
from tocsin.config import Config
from tocsin.telemetry.metrics import Metrics


class Access:
    """Keys and certificates of the open doors; both may be replaced at any time."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self.keys = DoorKeys(config)
        self.certificates = DoorCertificates(metrics)

    def prepare(self, config: Config) -> Callable[[], None]:
        """Get ready to take those of another configuration; the call returned does it.

        Raises `Unusable`, and nothing has changed then.
        """
        serve = self.certificates.prepare(config)

        def take() -> None:
            self.keys.take(config)
            serve()

        return take
