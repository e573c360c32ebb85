"""Which configured credentials cannot be used, found without sending anything.

Each is built by the adapter that a worker would use, and closed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tocsin.app.credentials import build_provider
from tocsin.config import Config, PemError
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

    try:
        provider = build_provider(credential)
    except (ProviderSetupError, PemError) as error:
        return [str(error)]
    await provider.close()
    return []


def _find_missing_files(credential: Credential) -> Iterator[str]:
    for key, name in credential.settings.used_files():
        if not _is_there(name):
            where = f"{show_path(name)} is not there, seen from {Path.cwd()}"
            yield f"{credential.path}.{key}: {where}"


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # longer than any path may be, or none at all
        return False
