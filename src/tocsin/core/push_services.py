"""What a push service is to every room, and the table of those that there are.

Each service is declared once, in `app/push_services.py`. Pure: a declaration imports
what its service sends with only when that is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tocsin.core.target_kind import TargetKind
from tocsin.core.tokens import Tokens

if TYPE_CHECKING:  # who reads the table needs nothing that sends
    from tocsin.core.ports.providers import PushProvider, TokenStore


class InvalidHeader(ValueError):
    """A header of a message that its service would refuse.

    `place` is where it stands below the body's `headers`, as a path says it; `text` is
    name and reason in one, for a log.
    """

    def __init__(self, name: str, reason: str, *, place: str, text: str) -> None:
        self.name = name
        self.reason = reason
        self.place = place
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class BodyField:
    """A service's message: its field of `notification`, and what it has to look like.

    `content` is the field in it that holds the JSON, which is an object unless
    `any_json`. With `headers` there is a field of that name too: `size_limit` gives by
    them the bytes that the service takes, and `check_headers` raises `InvalidHeader`.
    """

    name: str
    content: str = "message"
    headers: bool = False
    any_json: bool = False
    size_limit: Callable[[Mapping[str, str]], int] | None = None
    check_headers: Callable[[Mapping[str, str]], object] | None = None


@dataclass(frozen=True, slots=True)
class RawField:
    """A field of `recipient` that names targets without any device, and what these are.

    It is repeated for tokens, and a single text for any other kind.
    """

    name: str
    kind: TargetKind = TargetKind.TOKEN


@dataclass(frozen=True, slots=True)
class Setup:
    """What an adapter is built with beside its settings.

    `integration` is the credential's identifier. `tokens` is where all workers agree on
    the tokens that they present; `None` where each has its own.
    """

    integration: str
    tokens: TokenStore | None = None


class PushService(ABC):
    """One push service, as it is declared.

    `name` stands in the API, in the queue's streams, in metrics and in
    `enabled_providers`; once devices are registered under it, it stays. `title` is
    what people call it. `id_letter` marks ids of its devices, one letter of the
    alphabet of `core/ids.py` that no other service has. `raw_targets` are its own
    fields of `recipient`.

    No retry comes earlier than `least_retry_s`, which is the service's own guidance,
    and the first one at most `first_retry_s` later. `further_files` are beginnings of
    the names of files in `providers/` that are its own and not named after it.
    `has_own_port` says that its imitation listens by itself.
    """

    name: str
    title: str
    id_letter: str
    tokens: Tokens = Tokens()
    body: BodyField
    raw_targets: tuple[RawField, ...] = ()
    first_retry_s: float = 1.0
    least_retry_s: float = 0.0
    further_files: tuple[str, ...] = ()
    has_own_port: bool = False

    @property
    def section(self) -> str:
        """The name of its section below `push_notifications`."""
        return self.name.replace("-", "_")

    @abstractmethod
    def settings(self) -> type[Any]:
        """The class of its section, a `config.service_section.ServiceSection`."""

    @abstractmethod
    def build(self, settings: Any, setup: Setup) -> PushProvider:
        """The adapter for one credential, made of that section or an item like it.

        Called in the event loop that will send; connects to nothing. Raises
        `ProviderSetupError` naming the key at fault.
        """

    @abstractmethod
    async def imitate(self, place: Any) -> Any:
        """Start its local server, for trying out and for tests.

        `place` is a `simulator.imitation.Place`, the answer an `Imitation`. Raises
        `OSError` where it cannot listen, or write its files.
        """


class PushServices(Mapping[str, PushService]):
    """The declared services by name, in the order of the documents.

    The first read declares them, so that no room depends on the order of imports.
    From then on the table stays as it is.
    """

    def __init__(self) -> None:
        self._source: Callable[[], Iterable[PushService]] = tuple
        self._declared: dict[str, PushService] | None = None
        self._is_reading = False

    def declared_by(self, source: Callable[[], Iterable[PushService]]) -> None:
        """Name what declares the services, in place of what was named before.

        Raises `RuntimeError` where the table has been read already.
        """
        if self._declared is not None:
            raise RuntimeError("the push services have been read already")
        self._source = source

    def __getitem__(self, name: str) -> PushService:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __contains__(self, name: object) -> bool:
        return name in self._read()

    def tokens_of(self, name: str) -> Tokens:
        """The rules for tokens of that service; of an unknown one they stay as is."""
        service = self._read().get(name)
        return _ANY_TOKENS if service is None else service.tokens

    def _read(self) -> dict[str, PushService]:
        if self._declared is None:
            # A declaration that reads the table would find it half made.
            if self._is_reading:
                raise RuntimeError(
                    "push services are read while they are declared: what imports"
                    " `tocsin.config` belongs into `settings`, `build` and `imitate`"
                )
            self._is_reading = True
            try:
                self._declared = _joined(self._source())
            finally:
                self._is_reading = False
        return self._declared


_ANY_TOKENS = Tokens()


def _joined(services: Iterable[PushService]) -> dict[str, PushService]:
    """By name; raises `ValueError` for what two services cannot share."""
    declared: dict[str, PushService] = {}
    taken: dict[tuple[str, str], str] = {}
    for service in services:
        shared = (
            ("name", service.name),
            ("section", service.section),
            ("id letter", service.id_letter),
            ("field of notification", service.body.name),
            *(("field of recipient", raw.name) for raw in service.raw_targets),
        )
        for key in shared:
            if key in taken:
                what, value = key
                raise ValueError(
                    f"push services {taken[key]} and {service.name} have the same"
                    f" {what}, {value}"
                )
            taken[key] = service.name
        declared[service.name] = service
    return declared


SERVICES = PushServices()
"""Every push service of this program."""
