"""What can be wrong with a provider before it has sent anything.

Faults met while sending are outcomes and must never be raised.
"""

from __future__ import annotations


class ProviderSetupError(ValueError):
    """A configured provider cannot be built; the text names the key and the cure."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"{key}: {reason}")


def relocate(error: ProviderSetupError, path: str) -> ProviderSetupError:
    """The same fault of an adapter whose keys stand below `path`."""
    return ProviderSetupError(f"{path}.{error.key.split('.')[-1]}", error.reason)


def check_settings(section: str, **values: str) -> None:
    """Raise `ProviderSetupError` for the first one that is empty."""
    for name, value in values.items():
        if not value:
            raise ProviderSetupError(f"{section}.{name}", "must be set")
