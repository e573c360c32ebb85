"""What both FCM providers check of their settings before anything is sent.

It must not connect anywhere: a worker starts while FCM is away.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tocsin.http2 import build_ssl_context
from tocsin.providers.errors import ProviderSetupError

SECTION = "push_notifications.fcm"
CREDENTIALS_KEY = f"{SECTION}.credentials_file"


def check_endpoint(endpoint: str) -> str:
    """The endpoint as an origin; raises `ProviderSetupError` where it is none."""
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/"):
        raise ProviderSetupError(
            f"{SECTION}.endpoint",
            f"{endpoint!r} is no origin such as https://fcm.googleapis.com",
        )
    return f"https://{parts.netloc}"


def check_ca_file(ca_file: str) -> str:
    """The file as it is; raises `ProviderSetupError` where it holds no certificate."""
    try:
        build_ssl_context(ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ProviderSetupError(
            f"{SECTION}.ca_file", f"cannot use {ca_file}: {error}"
        ) from None
    return ca_file
