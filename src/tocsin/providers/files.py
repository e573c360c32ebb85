"""Files that a provider's keys name, read with an error that names key and file.

It must not connect anywhere, nor say what a file holds.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from tocsin.config.showing import show_path
from tocsin.http2 import build_ssl_context, trust_file
from tocsin.providers.errors import ProviderSetupError


def read_file(key: str, file: str) -> bytes:
    """The content; raises `ProviderSetupError` if the file cannot be read."""
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        raise ProviderSetupError(
            key, f"cannot read {show_path(file)}: {_why(error)}"
        ) from None


def load_trust(section: str, ca_file: str) -> ssl.SSLContext:
    """For HTTP/2: the system's roots and `ca_file`; see `add_trust`."""
    context = build_ssl_context()
    add_trust(context, section, ca_file)
    return context


def add_trust(context: ssl.SSLContext, section: str, ca_file: str) -> None:
    """Trust the authorities of `ca_file` too, where it is set.

    Raises `ProviderSetupError` where it is no PEM.
    """
    if not ca_file:
        return
    try:
        trust_file(context, ca_file)
    except ssl.SSLError as error:
        raise _cannot_use(section, ca_file, str(error)) from None
    except (OSError, ValueError) as error:
        raise _cannot_use(section, ca_file, _why(error)) from None


def _cannot_use(section: str, ca_file: str, reason: str) -> ProviderSetupError:
    return ProviderSetupError(
        f"{section}.ca_file", f"cannot use {show_path(ca_file)}: {reason}"
    )


def _why(error: OSError | ValueError) -> str:
    """Not the error's whole text, which repeats the name of the file."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "not a path"
