"""Push room: all checks of a send that need no store.

It queues nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tocsin.core.device import DeviceFilter
from tocsin.core.endpoints import EndpointRules
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.integrations import Integrations
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.online import OnlinePublisher
from tocsin.core.push import RawRecipient, SendRequest, TargetKind
from tocsin.core.push_services import SERVICES
from tocsin.push import checks
from tocsin.push.bodies import body_field, check_body
from tocsin.push.checks import DeviceLimits
from tocsin.push.devices import NO_DATABASE
from tocsin.push.first_jobs import check_wait, find_routes
from tocsin.push.options import check_rate, check_templating

_TOPIC_LENGTH = 1024
_CONDITION_LENGTH = 4096
_LAST_SECOND = 253_402_300_799
"""The end of the year 9999; a larger time cannot be meant as Unix seconds."""
_LOCALIZATIONS_PER_BODY = 4
"""Localizations may be this many times as long as one body."""


class SendChecks:
    """Checks send requests."""

    def __init__(
        self,
        integrations: Integrations,
        *,
        clock: Clock,
        has_database: bool,
        limits: DeviceLimits,
        online: OnlinePublisher | None,
    ) -> None:
        self._integrations = integrations
        self._enabled = integrations.providers
        self._clock = clock
        self._has_database = has_database
        self._limits = limits
        self._online = online

    def check(
        self, request: SendRequest, spelled: Mapping[str, str] | None
    ) -> SendRequest:
        """The request with doubled values merged.

        Raises `BadRequest` naming the field, and `NotAvailable`.
        """
        length = checks.NAME_LENGTH
        checks.check_text("uid", request.uid, length, required=False)
        checks.check_text(
            "analytics_uid", request.analytics_uid, length, required=False
        )
        self._check_times(request)
        self._check_integration("integration", request.integration)
        recipient: DeviceFilter | RawRecipient
        if isinstance(request.recipient, DeviceFilter):
            recipient = self._check_filter(request.recipient, spelled)
        else:
            recipient = self._check_raw(request.recipient, request.integration)
        for provider, body in request.bodies.items():
            if provider not in self._enabled:
                raise _not_enabled(body_field(provider)[0], provider)
            check_body(provider, body, self._limits.payload_size)
        request = replace(request, recipient=recipient)
        self._check_bodies_fit(request)
        return self._check_options(request)

    def _check_integration(self, field: str, name: str) -> None:
        """Check that `name` is empty or names an active integration."""
        checks.check_text(field, name, checks.NAME_LENGTH, required=False)
        found = self._integrations.get(name)
        if name and found is None:
            raise BadRequest(field, checks.NO_INTEGRATION)
        if found is not None and not found.active:
            raise BadRequest(field, "that integration is not active")

    def _check_times(self, request: SendRequest) -> None:
        check_seconds("notification.expire_at", request.expire_at_ms // 1000)
        check_seconds("send_at", request.send_at_ms // 1000)
        now_ms = self._clock.now_ms()
        if (
            now_ms < request.send_at_ms
            and 0 < request.expire_at_ms <= request.send_at_ms
        ):
            reason = "must be after send_at, else nothing could ever be sent"
            raise BadRequest("notification.expire_at", reason)
        check_wait(request, now_ms)

    def _check_options(self, request: SendRequest) -> SendRequest:
        """Limits and templates, with the key of the rate limit as a template."""
        if isinstance(request.recipient, RawRecipient):
            _refuse_for_raw(request)
            return request
        if request.templating is not None:
            size = _LOCALIZATIONS_PER_BODY * self._limits.payload_size
            check_templating(request.templating, request.bodies, size)
        if request.rate is not None:
            request = replace(request, rate=check_rate(request.rate))
        if request.online_first is not None:
            if self._online is None:
                raise NotAvailable("online_first")
            self._online.check(request.online_first)
        return request

    def _check_bodies_fit(self, request: SendRequest) -> None:
        recipient = request.recipient
        if isinstance(recipient, RawRecipient):
            if request.integration and not find_routes(self._integrations, request):
                raise BadRequest(
                    "integration", f"is none of provider {recipient.provider}"
                )
            if recipient.provider not in request.bodies:
                raise BadRequest(
                    body_field(recipient.provider)[0],
                    f"is needed for recipient.{_field_of(recipient)}",
                )
        elif not request.bodies:
            raise BadRequest("notification", "needs the body of at least one provider")
        elif not find_routes(self._integrations, request):
            raise BadRequest(
                "notification",
                "has no body for the providers that the recipient is limited to",
            )

    def _check_filter(
        self, filter: DeviceFilter, spelled: Mapping[str, str] | None
    ) -> DeviceFilter:
        if not self._has_database:
            raise NotAvailable(NO_DATABASE)
        if filter.is_empty():
            raise BadRequest("recipient.filter", "must select something")
        for index, name in enumerate(filter.integrations):
            path = f"recipient.filter.integrations[{index}]"
            checks.check_text(path, name, checks.NAME_LENGTH)
            if self._integrations.get(name) is None:
                raise BadRequest(path, checks.NO_INTEGRATION)
        return checks.check_device_filter(
            filter,
            self._limits,
            prefix="recipient.filter.",
            spelled=spelled,
            users_required=True,
        )

    def _check_raw(self, recipient: RawRecipient, integration: str) -> RawRecipient:
        field = f"recipient.{_field_of(recipient)}"
        if recipient.provider not in self._enabled:
            raise _not_enabled(field, recipient.provider)
        if not recipient.targets:
            raise BadRequest(field, "must not be empty")
        if recipient.kind is TargetKind.TOKEN:
            limit = checks.token_limit(recipient.provider, self._limits)
            targets = checks.check_texts(field, recipient.targets, limit)
            rules = self._integrations.rules_for(recipient.provider, integration)
            targets = _read_targets(field, recipient.provider, targets, rules)
            return replace(recipient, targets=targets)
        limit = _CONDITION_LENGTH
        if recipient.kind is TargetKind.TOPIC:
            limit = _TOPIC_LENGTH
        checks.check_text(field, recipient.targets[0], limit)
        return recipient


def check_seconds(field: str, value: int) -> None:
    """Check a time in Unix seconds; one in milliseconds is recognized and refused."""
    if value < 0:
        raise BadRequest(field, "must not be negative")
    if value > _LAST_SECOND:
        raise BadRequest(field, "must be Unix seconds; this looks like milliseconds")


def _refuse_for_raw(request: SendRequest) -> None:
    """Refuse options that need a device row: raw recipients have none."""
    given = {
        "online_first": request.online_first is not None,
        "limit_strategy": request.rate is not None or request.window is not None,
        "localizations": bool(request.templating and request.templating.localizations),
        "use_templating": request.templating is not None,
    }
    for field, is_given in given.items():
        if is_given:
            raise BadRequest(field, "is only for devices chosen by a filter")


def _read_targets(
    field: str, provider: str, texts: tuple[str, ...], rules: EndpointRules
) -> tuple[str, ...]:
    """Targets as they are sent; two spellings of one target are merged."""
    read = SERVICES[provider].tokens.read_target
    targets = []
    for index, text in enumerate(texts):
        try:
            targets.append(read(text, rules))
        except ValueError as error:
            raise BadRequest(f"{field}[{index}]", str(error)) from None
    return tuple(dict.fromkeys(targets))


def _field_of(recipient: RawRecipient) -> str:
    raw_targets = SERVICES[recipient.provider].raw_targets
    return next(raw.name for raw in raw_targets if raw.kind is recipient.kind)


def _not_enabled(field: str, provider: str) -> NotAvailable:
    return NotAvailable(f"{field}: provider {provider} is not enabled")
