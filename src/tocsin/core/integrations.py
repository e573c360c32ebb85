"""Which credentials there are, and which of them a device or a send goes through.

Pure values; what a credential holds, and how it is used, is not known here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tocsin.core.device import DeviceFilter
from tocsin.core.endpoints import EndpointRules

DEFAULT_BATCH = 500


@dataclass(frozen=True, slots=True)
class Integration:
    """One credential of a push service.

    `batch_size` is recipients per job. `endpoint_rules` say which URLs it may send to,
    `None` where targets are none.
    """

    identifier: str
    provider: str
    active: bool = True
    batch_size: int = DEFAULT_BATCH
    endpoint_rules: EndpointRules | None = None

    @property
    def is_section(self) -> bool:
        """Whether it is the one that bears its provider's name."""
        return self.identifier == self.provider

    @property
    def job_name(self) -> str:
        """How a job names it; empty for the one that bears the provider's name."""
        return "" if self.is_section else self.identifier


class Integrations:
    """All credentials in the order of their creation, each under its identifier.

    A device keeps the identifier that it was registered with. A device without one
    belongs to the credential that bears its provider's name. `endpoint_rules`, by
    provider, are for devices that are registered before there is a credential.
    """

    def __init__(
        self,
        given: Iterable[Integration] = (),
        *,
        endpoint_rules: Mapping[str, EndpointRules] = MappingProxyType({}),
    ) -> None:
        self._endpoint_rules = endpoint_rules
        self._plain_rules = EndpointRules.of()
        self._by_name = {each.identifier: each for each in given}
        self._active: dict[str, list[Integration]] = {}
        for each in self._by_name.values():
            if each.active:
                self._active.setdefault(each.provider, []).append(each)
        # Providers with further integrations: their devices have to be told
        # apart.
        self._divided = {
            each.provider for each in self._by_name.values() if not each.is_section
        }

    @classmethod
    def of_providers(
        cls, providers: Iterable[str], batch_sizes: Mapping[str, int] | None = None
    ) -> Integrations:
        """One for each provider, under its name."""
        sizes = batch_sizes or {}
        return cls(
            Integration(name, name, batch_size=sizes.get(name, DEFAULT_BATCH))
            for name in providers
        )

    @property
    def providers(self) -> Collection[str]:
        """Providers with an active integration."""
        return self._active.keys()

    def get(self, identifier: str) -> Integration | None:
        """The one of that name, active or not."""
        return self._by_name.get(identifier)

    def names_of(self, provider: str) -> set[str]:
        """Identifiers that a device of this provider may name, and the provider's."""
        names = {
            each.identifier
            for each in self._by_name.values()
            if each.provider == provider
        }
        return names | {provider}

    def newest(self, provider: str) -> Integration | None:
        """The active integration created last; an empty name means this one."""
        active = self._active.get(provider)
        return active[-1] if active else None

    def choose(self, provider: str, identifier: str) -> Integration | None:
        """The provider's active one of that name; empty means `newest`."""
        if not identifier:
            return self.newest(provider)
        active = self._active.get(provider, ())
        return next((each for each in active if each.identifier == identifier), None)

    def rules_for(self, provider: str, identifier: str) -> EndpointRules:
        """The rules for the URL of a device that names this integration.

        An empty `identifier` means that the device names none.
        """
        chosen = self.get(identifier) if identifier else self.newest(provider)
        if chosen is not None and chosen.endpoint_rules is not None:
            return chosen.endpoint_rules
        return self._endpoint_rules.get(provider, self._plain_rules)

    def walks(
        self, provider: str, filter: DeviceFilter, *, only: str = ""
    ) -> list[tuple[Integration, DeviceFilter]]:
        """The active integrations for the devices of a filter, each with its own part.

        With `only`, just that one is used.
        """
        chosen = [
            each
            for each in self._active.get(provider, ())
            if only in {"", each.identifier}
            and (not filter.integrations or each.identifier in filter.integrations)
        ]
        # Only the section exists: all devices are its own, and the filter stays
        # short.
        if provider not in self._divided:
            return [(each, filter) for each in chosen]
        return [
            (each, replace(filter, integrations=self._stored(each))) for each in chosen
        ]

    def _stored(self, integration: Integration) -> tuple[str, ...]:
        """The identifiers in the rows of this integration's devices.

        A row without one was registered before there were several integrations. Such
        devices belong to the section; where there is none, to the newest integration,
        as a new registration would.
        """
        names = (integration.identifier,)
        orphaned = integration.provider not in self._by_name
        if orphaned and integration == self.newest(integration.provider):
            return (*names, "")
        return names
