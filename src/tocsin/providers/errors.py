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
    """The same fault, with its key below `path`, where the adapter's keys stand."""
    return ProviderSetupError(f"{path}.{error.key.split('.')[-1]}", error.reason)


def check_settings(section: str, **values: str) -> None:
    """Raise `ProviderSetupError` for the first one that is empty, or no one line."""
    for name, value in values.items():
        if not value:
            raise ProviderSetupError(f"{section}.{name}", "must be set")
        if not (value.isascii() and value.isprintable()) and name != "secret":
            raise ProviderSetupError(
                f"{section}.{name}",
                "holds a line end, or a character that none has: paste it anew",
            )


def explain_trust(detail: str, key: str = "the provider's ca_file") -> str:
    """A fault's text, and what to do where a certificate was not trusted.

    `key` is the configuration key of further authorities.
    """
    if "CERTIFICATE_VERIFY_FAILED" not in detail:
        return detail
    return f"{detail}; if it is the right server, name its authority in {key}"
