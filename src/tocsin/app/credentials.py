"""From the configuration's credentials to what the services know of them."""

from __future__ import annotations

import structlog

from tocsin.config.push import PushNotifications
from tocsin.config.webpush import WebPush
from tocsin.core.endpoints import EndpointRules
from tocsin.core.integrations import Integration, Integrations

_log = structlog.get_logger(__name__)


def configured_integrations(push: PushNotifications) -> Integrations:
    """Every integration of the sections and the list, in their order."""
    return Integrations(
        Integration(
            identifier=each.identifier,
            provider=each.provider,
            active=each.active,
            batch_size=each.batch_size,
            endpoint_rules=endpoint_rules(each.settings)
            if isinstance(each.settings, WebPush)
            else None,
        )
        for each in push.credentials
    )


def endpoint_rules(webpush: WebPush) -> EndpointRules:
    """Which Web Push endpoints may be registered; the same hold when sending."""
    return EndpointRules.configured(
        webpush.allowed_endpoint_origins,
        webpush.extra_allowed_endpoint_origins,
        allow_private=webpush.allow_private_addresses,
    )


def warn_of_private_addresses(push: PushNotifications) -> None:
    """Log every credential, and the section, that may send to private addresses."""
    found = {"push_notifications.webpush": push.webpush}
    for each in push.credentials:
        if isinstance(each.settings, WebPush):
            found[each.path] = each.settings
    for path, webpush in found.items():
        if webpush.allow_private_addresses:
            _log.warning(
                "Web Push endpoints may have private addresses; unset"
                f" {path}.allow_private_addresses outside of tests"
            )
