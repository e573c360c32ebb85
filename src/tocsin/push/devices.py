"""Push room: the device registry as callers use it.

Checks requests, completes them, and hands them to the store. It keeps no state, and
changes nothing when a check fails.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import structlog

from tocsin.core.device import (
    Device,
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    Page,
    Registration,
)
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.integrations import Integrations
from tocsin.core.ports.devices import DeviceStore
from tocsin.core.push_services import SERVICES
from tocsin.push import checks
from tocsin.push.checks import DeviceLimits, Paging

NO_DATABASE = (
    "a database is needed: set database.postgresql.dsn or database.sqlite.path"
)

_log = structlog.get_logger(__name__)


class DeviceService:
    """Registers, changes, removes and lists devices.

    Every method raises `BadRequest` naming the field, `NotAvailable` where no
    database is configured, and the errors that `DeviceStore` names.
    """

    def __init__(
        self,
        devices: DeviceStore | None,
        limits: DeviceLimits,
        *,
        enabled_providers: Collection[str] = (),
        integrations: Integrations | None = None,
        switch_user_topics: bool = True,
    ) -> None:
        self._devices = devices
        self._limits = limits
        self._integrations = integrations or Integrations.of_providers(
            enabled_providers
        )
        self._switch_user_topics = switch_user_topics

    async def register(self, registration: Registration) -> str:
        """Create or overwrite a device; returns its id.

        A provider that is not enabled is accepted, so that devices can be
        collected before its credentials are there.
        """
        store = self._store()
        checked = self._check_registration(registration)
        id = await store.register(checked)
        if checked.provider not in self._integrations.providers:
            _log.warning(
                "device registered for a provider that is not enabled; it gets no"
                " pushes until push_notifications.enabled_providers names it",
                device_id=id,
                provider=checked.provider,
            )
        return id

    async def update(self, selector: DeviceSelector, change: DeviceChange) -> int:
        """Change all selected devices; returns how many there were."""
        store = self._store()
        selector = self._check_selector(selector)
        change = self._check_change(change)
        if change == DeviceChange():
            return 0  # nothing to set, so `updated_at` must not move either
        return await store.update(
            selector, change, switch_user_topics=self._switch_user_topics
        )

    async def remove(self, selector: DeviceSelector) -> int:
        """Delete all selected devices; returns how many there were."""
        store = self._store()
        return await store.remove(self._check_selector(selector))

    async def fetch_page(
        self,
        filter: DeviceFilter,
        paging: Paging,
        *,
        flat: DeviceFilter | None = None,
        include_topics: bool = False,
    ) -> Page[Device]:
        """One page of devices; an empty filter is everything.

        `flat` are the lists beside the filter, as older callers send them; each
        is joined with the filter's list of the same name.
        """
        store = self._store()
        page = checks.check_page(paging, self._limits)
        joined = checks.check_device_filter(filter, self._limits, prefix="filter.")
        if flat is not None:
            joined = _join(
                joined, checks.check_device_filter(flat, self._limits, prefix="")
            )
        return await store.fetch_page(joined, page, include_topics=include_topics)

    def _store(self) -> DeviceStore:
        if self._devices is None:
            raise NotAvailable(NO_DATABASE)
        return self._devices

    def _check_registration(self, registration: Registration) -> Registration:
        checks.check_provider("provider", registration.provider)
        platform = checks.read_platform("platform", registration.platform)
        # The integration first: where its name is wrong, what it would say about the
        # token is beside the point.
        registration = self._name_integration(replace(registration, platform=platform))
        token, keys = self._read_token(registration)
        if registration.id:
            checks.check_id("id", registration.id)
        checks.check_text("user", registration.user, checks.NAME_LENGTH, required=False)
        checks.check_meta("meta", registration.meta)
        checks.check_tags("tags", registration.tags)
        return replace(
            registration,
            token=token,
            webpush_keys=keys,
            timezone=checks.read_timezone("timezone", registration.timezone),
            locale=checks.read_locale("locale", registration.locale),
            topics=checks.check_topics("topics", registration.topics, self._limits),
        )

    def _read_token(self, registration: Registration) -> tuple[str, str]:
        """Token and keys as the registry keeps them."""
        provider, text = registration.provider, registration.token
        checks.check_text("token", text, checks.token_limit(provider, self._limits))
        rules = self._integrations.rules_for(provider, registration.integration)
        try:
            return SERVICES[provider].tokens.register(text, rules)
        except ValueError as error:
            raise BadRequest("token", str(error)) from None

    def _name_integration(self, registration: Registration) -> Registration:
        """Replace an empty integration by the newest one of the provider.

        An integration that is not active is accepted too, so that devices can be
        collected for it.
        """
        provider, name = registration.provider, registration.integration
        checks.check_integration(
            "integration", name, self._integrations.names_of(provider)
        )
        newest = self._integrations.newest(provider)
        if name or newest is None:
            return registration
        return replace(registration, integration=newest.job_name)

    def _check_selector(self, selector: DeviceSelector) -> DeviceSelector:
        if selector.is_empty():
            raise BadRequest("ids", "one of ids, users, provider_tokens must be set")
        return DeviceSelector(
            ids=checks.check_texts("ids", selector.ids, checks.NAME_LENGTH),
            # An empty user is refused: it would select all devices that are logged
            # out, while the caller most likely lost a value.
            users=checks.check_texts("users", selector.users, checks.NAME_LENGTH),
            provider_tokens=checks.check_provider_tokens(
                "provider_tokens", selector.provider_tokens, self._limits
            ),
        )

    def _check_change(self, change: DeviceChange) -> DeviceChange:
        if change.user is not None:
            checks.check_text(
                "user_update.user", change.user, checks.NAME_LENGTH, required=False
            )
        if change.meta is not None:
            checks.check_meta("meta_update.meta", change.meta)
        if change.tags is not None:
            checks.check_tags("tags_update.tags", change.tags.tags)
        if change.timezone is not None:
            zone = checks.read_timezone("timezone_update.timezone", change.timezone)
            change = replace(change, timezone=zone)
        if change.locale is not None:
            locale = checks.read_locale("locale_update.locale", change.locale)
            change = replace(change, locale=locale)
        if change.topics is None:
            return change
        topics = checks.check_topics_change(
            "topics_update.topics", change.topics, self._limits
        )
        return replace(change, topics=topics)


def _join(first: DeviceFilter, second: DeviceFilter) -> DeviceFilter:
    return DeviceFilter(
        ids=checks.merge(first.ids, second.ids),
        users=checks.merge(first.users, second.users),
        topics=checks.merge(first.topics, second.topics),
        providers=checks.merge(first.providers, second.providers),
        platforms=checks.merge(first.platforms, second.platforms),
        provider_tokens=first.provider_tokens + second.provider_tokens,
        # A tag that both name is the filter's: the lists beside it are the old form.
        tags={**second.tags, **first.tags},
        integrations=checks.merge(first.integrations, second.integrations),
    )
