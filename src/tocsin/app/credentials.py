"""From the configuration's credentials to what services and workers have of them."""

from __future__ import annotations

import structlog

from tocsin.admin.credentials import CredentialName
from tocsin.app.renewal import digest_of
from tocsin.config.integrations import Credential
from tocsin.config.push import PushNotifications
from tocsin.core.integrations import Integration, Integrations
from tocsin.core.ports.providers import PushProvider, TokenStore
from tocsin.core.push_services import SERVICES, Setup

_log = structlog.get_logger(__name__)


def configured_integrations(push: PushNotifications) -> Integrations:
    """Every integration of the sections and the list, in their order."""
    rules = {name: each.endpoint_rules() for name, each in push.sections.items()}
    return Integrations(
        (
            Integration(
                identifier=each.identifier,
                provider=each.provider,
                active=each.active,
                batch_size=each.batch_size,
                endpoint_rules=each.settings.endpoint_rules(),
            )
            for each in push.credentials
        ),
        endpoint_rules={name: each for name, each in rules.items() if each},
    )


def build_provider(
    credential: Credential, tokens: TokenStore | None = None
) -> PushProvider:
    """The adapter of a credential.

    `tokens` is where all workers agree on tokens; without it each has its own.
    Call it in the event loop that will send. Raises `ProviderSetupError` naming the
    configuration key at fault.
    """
    from tocsin.providers.errors import ProviderSetupError, relocate

    service = SERVICES[credential.provider]
    try:
        return service.build(credential.settings, Setup(credential.identifier, tokens))
    except ProviderSetupError as error:
        raise relocate(error, credential.path) from None


def credential_names(push: PushNotifications) -> list[CredentialName]:
    """The active credentials as workers share them, in their order."""
    return [
        CredentialName(each.provider, each.identifier, digest_of(each))
        for each in push.active_credentials
    ]


def warn_of_dangers(push: PushNotifications) -> None:
    """Log what every section and credential allows that only tests should."""
    for path, settings in push.all_settings.items():
        for danger in settings.find_dangers(path):
            _log.warning(danger)
