"""Which faults at start a person can mend, in one line each. Composition room."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explained:
    """What to tell; `is_configuration` decides between exit codes 2 and 1."""

    message: str
    is_configuration: bool


def explain(error: Exception) -> Explained | None:
    """The line for a known fault, or `None` for one that should not happen."""
    from tocsin.api.listening import ListenError
    from tocsin.app.client_doors import DemoError
    from tocsin.broker.redis_clients import AddressError as EngineAddressError
    from tocsin.config import PemError
    from tocsin.core.errors import ApiError, QueueUnavailable
    from tocsin.providers.errors import ProviderSetupError
    from tocsin.queue.redis_connection import AddressError
    from tocsin.storage.migrations import MigrationError

    if isinstance(
        error, ProviderSetupError | PemError | EngineAddressError | DemoError
    ):
        return Explained(str(error), is_configuration=True)
    if isinstance(error, AddressError):
        key = "push_notifications.queue.redis.address"
        return Explained(f"{key}: {error}", is_configuration=True)
    if isinstance(error, ListenError | MigrationError):
        return Explained(str(error), is_configuration=False)
    if isinstance(error, QueueUnavailable):
        why = f": {error.reason}" if error.reason else ""
        return Explained(
            f"cannot start: the push queue cannot be reached{why}; check that it runs"
            " and that push_notifications.queue leads to it",
            is_configuration=False,
        )
    if isinstance(error, ApiError):
        return Explained(f"cannot start: {error.message}", is_configuration=False)
    return None
