"""Which faults at start a person can mend, in one line each. Composition room."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tocsin.core.errors import InternalError


class Unusable(ValueError):
    """What cannot be taken while the process runs: every fault, with its key."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(faults))


class CannotOpen(Exception):
    """What a key names cannot be used at the start; one line says why.

    `is_configuration` decides between exit codes 2 and 1.
    """

    def __init__(
        self, key: str, place: str, reason: str, *, is_configuration: bool = False
    ) -> None:
        from tocsin.config.root import mask_passwords
        from tocsin.config.showing import scrub_text

        self.is_configuration = is_configuration
        told = f"{mask_passwords(place)}: {scrub_text(mask_passwords(reason))}"
        super().__init__(f"cannot start: {key}: {told}")


@contextmanager
def opening(
    key: str, place: str, *, find_cause: Callable[[], str] = lambda: ""
) -> Iterator[None]:
    """Raise `CannotOpen` for what fails of our own while something is opened.

    `find_cause` looks at the place anew, where the driver's words tell too little.
    """
    try:
        yield
    except InternalError as error:
        words = _words_of(error)
        cause = find_cause()
        reason = f"{words} ({cause})" if cause else words
        raise CannotOpen(key, place, reason) from error


def _words_of(error: InternalError) -> str:
    """Ours, and the driver's where they say more."""
    words = error.reason or error.detail
    driver = str(error.__cause__ or "").strip().split("\n", 1)[0][:300]
    if not driver or driver in words or _is_wrapped(error.__cause__):
        return words
    return f"{words}: {driver}"


def _is_wrapped(cause: BaseException | None) -> bool:
    """Whether the text comes from a library around the driver."""
    return hasattr(cause, "orig")


@dataclass(frozen=True, slots=True)
class Explained:
    """What to tell; `is_configuration` decides between exit codes 2 and 1."""

    message: str
    is_configuration: bool


def explain(error: Exception) -> Explained | None:
    """The line for a known fault, or `None` for one that should not happen."""
    from tocsin.api.listening import ListenError
    from tocsin.app.client_doors import DemoPageError
    from tocsin.broker.redis_clients import EngineAddressError
    from tocsin.config import PemError
    from tocsin.core.errors import ApiError, QueueUnavailable
    from tocsin.providers.errors import ProviderSetupError
    from tocsin.queue.redis_connection import AddressError
    from tocsin.sql_access.schema import MigrationError

    if isinstance(error, CannotOpen):
        return Explained(str(error), is_configuration=error.is_configuration)
    if isinstance(
        error, ProviderSetupError | PemError | EngineAddressError | DemoPageError
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
        reason = error.reason if isinstance(error, InternalError) else ""
        why = f": {reason}" if reason else ""
        return Explained(f"cannot start: {error.message}{why}", is_configuration=False)
    return None
