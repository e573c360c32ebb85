"""Which configured credentials cannot be used, found without sending anything.

Each is built by the adapter that a worker would use, and closed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tocsin.config import Config, PemError
from tocsin.config.apns import Apns
from tocsin.config.fcm import Fcm
from tocsin.config.integrations import Credential
from tocsin.config.showing import show_path


async def find_provider_faults(config: Config) -> list[str]:
    """What is wrong with the active credentials and their files, with the keys.

    Makes no connection, and quotes no secret.
    """
    faults: list[str] = []
    for credential in config.push_notifications.active_credentials:
        missing = list(_find_missing_files(credential))
        faults += missing or await _try_to_build(credential)
    return faults


async def _try_to_build(credential: Credential) -> list[str]:
    from tocsin.providers.errors import ProviderSetupError
    from tocsin.providers.table import build_provider

    try:
        provider = build_provider(
            credential.provider,
            credential.settings,
            integration=credential.identifier,
        )
    except (ProviderSetupError, PemError) as error:
        return [str(error)]
    await provider.close()
    return []


def _find_missing_files(credential: Credential) -> Iterator[str]:
    for key, name in _files_of(credential.settings):
        if name and not _is_there(name):
            where = f"{show_path(name)} is not there, seen from {Path.cwd()}"
            yield f"{credential.path}.{key}: {where}"


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # longer than any path may be, or none at all
        return False


def _files_of(settings: object) -> Iterator[tuple[str, str]]:
    yield "ca_file", str(getattr(settings, "ca_file", ""))
    if isinstance(settings, Fcm):
        yield "credentials_file", settings.credentials_file
    elif isinstance(settings, Apns):
        if settings.resolved_auth_type == "cert":
            yield "cert_p12_file", settings.cert_p12_file
        else:
            yield "token_key_file", settings.token_key_file
